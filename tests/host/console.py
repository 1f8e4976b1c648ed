# SPDX-License-Identifier: LGPL-2.1-or-later
"""A person at a virtual console of this machine, which the test host is given.

The kernel is the terminal here: keys are put into the console's own queue (ioctl_tty(2), TIOCSTI), as those of the keyboard are,
and the screen is read from /dev/vcsN (vcs(4)). login(1) hangs the console up before it asks for a name, so that nothing of
ours can stay open.
"""

import contextlib
import fcntl
import os
import stat
import subprocess
import time

from terminal import Terminal

VT_OPENQRY, VT_DISALLOCATE = 0x5600, 0x5608  # linux/vt.h
TIOCSTI, TIOCVHANGUP = 0x5412, 0x5437  # ioctl_tty(2)
MAJOR = 4  # devices.txt


def no_console():
    """Why there is none to be had; empty when there is."""
    try:
        os.stat(f"/dev/tty{free_console()}")
    except OSError as error:
        return f"no virtual console: {error.strerror or error}"
    return ""


@contextlib.contextmanager
def opened(name):
    tty = os.open(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield tty
    finally:
        os.close(tty)


def free_console():
    number = bytearray(4)
    with opened("tty0") as active:
        fcntl.ioctl(active, VT_OPENQRY, number)
    number = int.from_bytes(number, "little", signed=True)
    if number < 1:
        raise OSError("all are in use")
    return number


class Console(Terminal):
    def __init__(self, host, arguments):  # pylint: disable=super-init-not-called
        self.host = host
        self.number = free_console()
        self.name = f"tty{self.number}"
        self.raw = b""
        self.ended = False
        inside = host.path(f"dev/{self.name}")
        os.mknod(inside, stat.S_IFCHR | 0o600, os.makedev(MAJOR, self.number))
        with opened(self.name) as slave:
            os.write(slave, b"\x1bc")  # reset: as when the machine has started
            self.rows, self.columns = os.get_terminal_size(slave)[::-1]
            self.process = subprocess.Popen(host.command(["setsid", "--ctty", "--wait", *arguments]), stdin=slave, stdout=slave,
                                            stderr=slave, env={"TERM": "linux", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
                                            preexec_fn=host.enter)

    def _read(self, wait):
        self.ended = self.process.poll() is not None
        time.sleep(0 if self.ended else min(max(wait, 0), 0.05))
        return False

    def type(self, keys):
        with opened(self.name) as tty:
            for key in keys.encode() if isinstance(keys, str) else keys:
                fcntl.ioctl(tty, TIOCSTI, bytes([key]))

    def text(self):
        with open(f"/dev/vcs{self.number}", "rb") as screen:
            cells = screen.read().decode("ascii", "replace")
        lines = [cells[at:at + self.columns].rstrip() for at in range(0, len(cells), self.columns)]
        return "\n".join(lines).rstrip()

    def wait_end(self, timeout=60):
        return self.process.wait(timeout)

    def close(self):
        if self.process.poll() is None:
            with opened(self.name) as tty:
                fcntl.ioctl(tty, TIOCVHANGUP)
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.host.path(f"dev/{self.name}").unlink(missing_ok=True)
        # not while somebody inside still has it open, until the test host ends
        with opened("tty0") as active, contextlib.suppress(OSError):
            fcntl.ioctl(active, VT_DISALLOCATE, self.number)
