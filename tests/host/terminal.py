#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A person at a terminal of a test host: types keys, reads the screen as text.

Terminal opens a new pty of the host's own devpts and runs a program on its far end as a new session leader, exactly as a
getty or sshd does; this process holds the master. login() logs a user in through PAM with login(1), so that logind has
a real session whose Leader is that login process. The screen is what a terminal emulator makes of the output.
"""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

TIOCGPTPEER, TIOCSPTLCK = 0x5441, 0x40045431  # ioctl_tty(2)
ROWS, COLUMNS = 24, 80


class TerminalError(Exception):
    pass


class Terminal:
    def __init__(self, host, arguments, rows=ROWS, columns=COLUMNS):
        self.host = host
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""  # everything that was ever shown
        self.ended = False
        # the instance of devpts that is mounted inside, reached through the leader's root
        self.master = os.open(f"/proc/{host.leader}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(self.master, TIOCSPTLCK, struct.pack("i", 0))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        slave = fcntl.ioctl(self.master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
        try:
            self.process = subprocess.Popen(
                host.command(["setsid", "--ctty", "--wait", *arguments]), stdin=slave, stdout=slave, stderr=slave,
                env={"TERM": "linux", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
                preexec_fn=host.enter)
        finally:
            os.close(slave)

    @classmethod
    def login(cls, host, user, password=None, timeout=20):
        """Log in as a person does: name, password, and then the prompt of the shell."""
        terminal = cls(host, ["login"])
        terminal.wait_for(r"login:", timeout)
        terminal.type(user + "\n")
        terminal.wait_for(r"Password:", timeout)
        terminal.type((password or user) + "\n")
        terminal.wait_for(r"[$#] ?$", timeout)
        return terminal

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read(self, wait):
        """Take what is there; False when nothing came within `wait` seconds."""
        if self.ended or not select.select([self.master], [], [], max(0, wait))[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: the last slave was closed
            data = b""
        if not data:
            self.ended = True
            return False
        self.raw += data
        self.stream.feed(data)
        return True

    def type(self, keys):
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def text(self):
        """The screen now, without trailing blanks."""
        while self._read(0):
            pass
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def settle(self, quiet=0.3, timeout=10):
        """Read until nothing more has come for `quiet` seconds."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._read(quiet):
            pass
        return self.text()

    def settle_on(self, wanted, timeout=60):
        """Read until the screen is just that; what it is at last."""
        end = time.monotonic() + timeout
        while self.text() != wanted and not self.ended and time.monotonic() < end:
            self._read(0.3)
        return self.settle(0.3)

    def wait_for(self, pattern, timeout=60):
        """Read until the screen matches a regular expression ($ is the end of a line); the match."""
        end = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.text(), re.MULTILINE)
            if found:
                return found
            if self.ended or time.monotonic() > end:
                why = "the terminal was closed" if self.ended else f"{timeout} s have passed"
                raise TerminalError(f"terminal: waited for /{pattern}/ until {why}; the screen:\n{self.text()}")
            self._read(min(1, end - time.monotonic()))

    def wait_end(self, timeout=60):
        """Wait until the far end is closed and its program has ended; the program's status."""
        end = time.monotonic() + timeout
        while not self.ended and time.monotonic() < end:
            self._read(end - time.monotonic())
        return self.process.wait(max(0.1, end - time.monotonic()))

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def close(self):
        if self.master >= 0:
            os.close(self.master)  # hangs the far end up
            self.master = -1
            self.ended = True
        if self.process.poll() is None:
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
