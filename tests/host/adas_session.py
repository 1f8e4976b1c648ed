# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ada's session: how it is set up on a test host, found again, and what is known of it from outside."""

import json
import os
import pathlib
import re
import select
import shutil
import signal
import time

from host import HostError
from observe import Log, cgroup_processes, home_tree
from terminal import Terminal

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = "/usr/local/lib/abeyance-demo"  # inside
HOME = "/home/ada"
LOG = "counter.log"
SWAP = ".notes.txt.swp"
UNSAVED = "If you can read this, I was never saved, only suspended."
PROMISE = "as if nothing had happened"


def wait_until(probe, what, timeout=60.0, step=0.05):
    """The first true result of probe()."""
    end = time.monotonic() + timeout
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise HostError(f"{what}: not within {timeout:g} s")
        time.sleep(step)


def sessions_of(host, user="ada"):
    """Id -> properties of the user's logind sessions, those of the user's manager left out."""
    found = {}
    listed = host.run(["loginctl", "list-sessions", "--no-legend"], check=True).stdout
    for line in listed.splitlines():
        fields = line.split()
        if len(fields) < 3 or fields[2] != user:
            continue
        shown = host.run(["loginctl", "show-session", fields[0]])
        if shown.returncode != 0:
            continue
        properties = dict(entry.split("=", 1) for entry in shown.stdout.splitlines() if "=" in entry)
        if properties.get("Class", "").startswith("user"):  # since systemd 256 the user's manager has a session, too
            found[fields[0]] = properties
    return found


class AdasSession:
    """Set up by the constructor: ada logs in on a terminal and starts her programs."""

    def __init__(self, host):
        self.host = host
        inside = host.path(PROGRAMS)
        shutil.rmtree(inside, ignore_errors=True)
        shutil.copytree(HERE / "session", inside, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (LOG, "notes.txt"):  # an earlier session's, when the host is used again
            host.path(f"{HOME}/{name}").unlink(missing_ok=True)
        before = set(sessions_of(host))
        self.terminal = Terminal.login(host, "ada")
        new = set(sessions_of(host)) - before
        if len(new) != 1:
            raise HostError(f"login of ada made {len(new)} logind sessions where one was expected")
        self.id = new.pop()
        self.leader = int(sessions_of(host)[self.id]["Leader"])

    def start_programs(self):
        """A bash with a variable and a background job, the counter, and vim with unsaved text in the foreground."""
        type_line = self.terminal.type
        type_line(f"promise='{PROMISE}'\n")
        type_line("printf 'A line that was saved.\\n' >notes.txt; sleep 100000 &\n")
        type_line(f"/usr/bin/python3 {PROGRAMS}/counter.py {HOME} &\n")
        wait_until(lambda: self.host.path(f"{HOME}/{LOG}").exists() and self.log().reports, "the counter's start")
        type_line("clear; vim notes.txt\n")
        self.terminal.wait_for(r"1,1 +All *$")  # vim's ruler: what is typed before that, the shell's terminal shows
        type_line("o" + UNSAVED)
        self.terminal.wait_for(re.escape(UNSAVED))
        type_line("\x1b")
        self.terminal.wait_for(rf"2,{len(UNSAVED)} +All *$")
        # vim may draw it all once more
        self.screen = wait_until(lambda: UNSAVED in (shown := self.terminal.settle(0.5)) and shown, "vim's picture")

    def scope(self):
        return f"{self.host.cgroup}/user.slice/user-5001.slice/session-{self.id}.scope"

    def processes(self):
        """Without the frontend, which is login(1)."""
        return [process for process in cgroup_processes(self.scope()) if process.name != "login"]

    def log(self):
        return Log(self.host.path(f"{HOME}/{LOG}").read_text(errors="replace"))

    def home(self):
        return home_tree(self.host.path(HOME))

    def counter(self, processes=None):
        """The counter's own process: of the two which have its command line, the one with two threads."""
        for process in processes if processes is not None else self.processes():
            if "counter.py" in process.command and len(process.threads()) > 1:
                return process
        raise HostError("the counter's process is not there")

    def ask(self, process):
        """The counter's report about itself, now."""
        count = len(self.log().reports)
        os.kill(process.pid, signal.SIGUSR1)
        wait_until(lambda: len(self.log().reports) > count, "an answer of the counter to SIGUSR1")
        return self.log().reports[-1]

    def watch(self):
        """pidfds of all that is in the scope now: what they name cannot be mistaken for somebody else later."""
        return [(process, os.pidfd_open(process.pid)) for process in cgroup_processes(self.scope())]


def still_alive(watched, timeout=5.0):
    """Of watched processes, those that have not ended; waits a moment for the last to go."""
    end = time.monotonic() + timeout
    alive = []
    for process, fd in watched:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            alive.append(f"{process.name} ({process.inner})")
        os.close(fd)
    return alive


def abeyctl(host, *arguments, user=None, timeout=180):
    return host.run(["abeyctl", *arguments], user=user, timeout=timeout)


def json_of(result):
    """The one JSON document that a command printed; {} when there is none."""
    try:
        value = json.loads(result.stdout)
        return value if isinstance(value, dict) else {"list": value}
    except ValueError:
        return {}


def complaint(result):
    """What a command that failed said, in one line."""
    text = (result.stderr.strip() or result.stdout.strip() or "nothing").splitlines()[-1]
    return f"status {result.returncode}: {text}"


def restored_session(host, known, count):
    """(id, properties, processes) of ada's session that is not known and in which the counter has counted beyond
    `count`; None while there is none."""
    try:
        counts = Log(host.path(f"{HOME}/{LOG}").read_text(errors="replace")).counts
    except FileNotFoundError:
        return None
    if not counts or counts[-1] <= count:
        return None
    for session, properties in sessions_of(host).items():
        if session in known or properties.get("Leader", "0") == "0":
            continue
        scope = f"{host.cgroup}/user.slice/user-5001.slice/{properties.get('Scope', '')}"
        processes = cgroup_processes(scope)
        if any("counter.py" in process.command for process in processes):
            return session, properties, processes
    return None


def descriptors_of(processes):
    """Pid as the process sees itself -> its descriptors."""
    return {process.inner: process.descriptors() for process in processes}


__all__ = ["AdasSession", "HOME", "LOG", "PROGRAMS", "PROMISE", "Process", "SWAP", "UNSAVED", "abeyctl", "complaint",
           "descriptors_of", "json_of", "restored_session", "sessions_of", "still_alive", "wait_until"]
