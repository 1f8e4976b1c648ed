#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A test host: a real systemd with logind, D-Bus, polkit and PAM, booted in namespaces of this machine.

Its root is a throw-away overlay over the machine's own; /home is a btrfs file system on a loop image. Both outlive a
reboot of the host. CLOCK_MONOTONIC, CLOCK_BOOTTIME and the pids start over at each boot. It has no network but its own
loopback. What `meson install` of a build directory makes is a layer of the overlay. Users: ada, whose home is a btrfs subvolume,
and bob; their passwords are their names.

    host.py up DIR [--build BUILD]       boot; DIR holds the overlay and the home, and is made when missing
    host.py run DIR COMMAND...           run a command inside, as root
    host.py shell DIR [USER]             an interactive shell inside, of a user through login(1)
    host.py reboot DIR                   shut down and boot again
    host.py reset DIR                    as if the power had failed: no shutdown, boot again
    host.py down DIR [--remove]          shut down; with --remove, delete DIR

As a module: `with Host(build=...) as host: host.run(["loginctl"])`. Such a host ends, and is cleared away, with the
process that made it, however that ends. Needs root and the packages systemd-container, btrfs-progs, dbus, libpam-systemd.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

import supervisor

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "LANG": "C.UTF-8", "TERM": "linux"}


class HostError(Exception):
    pass


def install(build, destination):
    """The real install step, into an empty tree."""
    shutil.rmtree(destination, ignore_errors=True)
    pathlib.Path(destination).mkdir(parents=True)
    done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], capture_output=True, text=True,
                          env=dict(os.environ, DESTDIR=str(destination)), check=False)
    if done.returncode != 0:
        raise HostError(f"meson install of {build}: {(done.stderr or done.stdout).strip()[-500:]}")


class Host:
    """directory=None: a directory of its own, removed at the end, and the host ends with this process."""

    def __init__(self, directory=None, build=None, keep=False, home="btrfs"):
        self.throw_away = directory is None
        self.keep = keep
        if self.throw_away:
            directory = tempfile.mkdtemp(prefix="abeyance-host-", dir=supervisor.THROW_AWAY_FOLDER)
        self.directory = pathlib.Path(directory).resolve()
        self.build = build
        self.home = home  # the file system of /home: btrfs, ext4, xfs, nilfs2, tmpfs (gone with each boot); btrfs-mounted: of ada's alone
        self.leader = 0
        self.cgroup = ""
        self.boots = 0

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    def _ask(self, verb, timeout=90):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            try:
                connection.connect(supervisor.control_address(self.directory))
            except (ConnectionRefusedError, FileNotFoundError):
                raise HostError(f"host {self.directory}: not up (host.py up {self.directory})") from None
            connection.sendall(verb.encode() + b"\n")
            reply = b""
            while data := connection.recv(4096):
                reply += data
        if not reply:
            raise HostError(f"host {self.directory}: ended before it answered '{verb}'")
        answer = json.loads(reply)
        if "error" in answer:
            raise HostError(f"host {self.directory}: {answer['error']}")
        if "leader" in answer:
            self.leader, self.cgroup, self.boots = answer["leader"], answer["cgroup"], answer["boots"]
        elif verb != "down":
            console = (self.directory / "console.log")
            tail = console.read_text(errors="replace")[-800:] if console.exists() else ""
            raise HostError(f"host {self.directory}: did not boot, the end of {console}:\n{tail}")
        return answer

    def is_up(self):
        try:
            self._ask("status")
            return True
        except (HostError, FileNotFoundError):
            return False

    def up(self):
        if os.geteuid() != 0:
            raise HostError("a test host needs root: it mounts, and makes namespaces")
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.is_up():
            raise HostError(f"host {self.directory}: already up")
        package = None
        if self.build:
            package = str(self.directory / "package")
            install(self.build, package)
        options = {"package": package, "throw_away": self.throw_away and not self.keep,
                   "owner": os.getpid() if self.throw_away else None, "home": self.home}
        log = open(self.directory / "supervisor.log", "ab")
        process = subprocess.Popen(
            [sys.executable, supervisor.__file__, "supervise", str(self.directory), json.dumps(options)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        while True:  # the control socket is there a moment after the start
            try:
                self._ask("status")
                break
            except HostError as error:
                try:
                    process.wait(0.02)
                except subprocess.TimeoutExpired:
                    if "not up" in str(error):
                        continue
                raise
        self.process = process

    def down(self):
        try:
            self._ask("down")
        except (HostError, FileNotFoundError):
            pass  # gone already
        if getattr(self, "process", None):
            self.process.wait(30)

    def reboot(self):
        self._ask("reboot")

    def reset(self):
        self._ask("reset")

    def refresh(self):
        self._ask("status")

    def enter(self):
        """For preexec_fn: the command counts to the host, not to the machine, in the host's cgroup tree too. It heeds what is
        ignored here where the tests run under nohup(1), or in the background."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.makedirs(f"{self.cgroup}/hand.slice", exist_ok=True)
        with open(f"{self.cgroup}/hand.slice/cgroup.procs", "w") as procs:
            procs.write("0")

    def command(self, arguments, user=None):
        """The machine's command line that runs a command inside."""
        inside = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--net",
                  "--time", "--root", "--wdns=/", "--"]
        if user:
            inside += ["runuser", "--user", user, "--"]
        return inside + [str(argument) for argument in arguments]

    def run(self, arguments, user=None, check=False, timeout=120, input=None, env=None):
        """Run a command inside and wait for it; stdout and stderr as text."""
        result = subprocess.run(self.command(arguments, user), capture_output=True, text=True, errors="replace",
                                timeout=timeout, input=input, env={**ENVIRONMENT, **(env or {})}, preexec_fn=self.enter,
                                **({} if input is not None else {"stdin": subprocess.DEVNULL}))
        if check and result.returncode != 0:
            raise HostError(f"{' '.join(map(str, arguments))}: status {result.returncode}: "
                            f"{(result.stderr or result.stdout).strip()[-500:]}")
        return result

    def path(self, inside):
        """A path of the host as the machine sees it."""
        return pathlib.Path(f"/proc/{self.leader}/root/{str(inside).lstrip('/')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["up", "run", "shell", "reboot", "reset", "down"])
    parser.add_argument("directory")
    parser.add_argument("--build")
    parser.add_argument("--remove", action="store_true")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # REMAINDER swallows the options after DIR
    if options.verb in ("up", "down"):
        late = argparse.ArgumentParser()
        late.add_argument("--build", default=options.build)
        late.add_argument("--remove", action="store_true", default=options.remove)
        late.parse_args(options.rest, namespace=options)
    host = Host(options.directory, build=options.build)
    try:
        if options.verb == "up":
            host.up()
            return 0
        if options.verb == "down":
            host.down()
            if options.remove:
                shutil.rmtree(host.directory, ignore_errors=True)
            return 0
        host.refresh()
        if options.verb in ("reboot", "reset"):
            getattr(host, options.verb)()
            return 0
        if options.verb == "shell":
            # script(1) gives the shell a terminal of the host's own
            inner = f"login -f {options.rest[0]}" if options.rest else "bash -l"
            command = ["script", "--quiet", "--command", inner, "/dev/null"]
        else:
            command = options.rest
            if not command:
                parser.error("run: a command is needed")
        return subprocess.run(host.command(command), preexec_fn=host.enter,
                              env={**ENVIRONMENT, "TERM": os.environ.get("TERM", "linux")}, check=False).returncode
    except (HostError, FileNotFoundError) as error:
        print(f"host.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
