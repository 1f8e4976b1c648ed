#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must hold of sessions besides the story of demo.py: session_test.py --build DIR faults|refusals|again

faults    the worker is killed, or its job canceled, in the middle of a checkpoint: the session runs on, unharmed
refusals  who may not, and what cannot be: one clear line, a status that is not zero, and nothing has happened
again     suspended with --keep-running, suspended, resumed, suspended and resumed again, with a power failure in between
"""

import argparse
import os
import select
import shutil
import subprocess
import sys
import time

from adas_session import (UNSAVED, AdasSession, abeyctl, complaint, descriptors_of, json_of,
                          restored_session, sessions_of, still_alive, wait_until)
from checks import Checks, StepFailed, first_line
from host import Host, HostError
from observe import Log
from terminal import Terminal, TerminalError

FAULTS = ("frozen", "captured", "memory")
CANCELS = ("frozen", "captured", "rescued", "memory")
WORKER = "abeyance-suspend@.service"
RESUME = "abeyance-resume@.service"


def set_fault(host, point, worker=WORKER):
    """The worker's unit gets, or loses, the request to kill itself at a point."""
    folder = host.path(f"run/systemd/system/{worker}.d")
    if point:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fault.conf").write_text(f"[Service]\nEnvironment=ABEY_FAULT={point}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    host.run(["systemctl", "daemon-reload"], check=True)


def workers_killed(host):
    """How often systemd has seen a worker end by SIGKILL since the boot."""
    host.run(["journalctl", "--sync"])
    return host.run(["journalctl", "-b", "-o", "cat", "-u", WORKER.replace("@", "@*")]).stdout.count("status=9/KILL")


def worker_stands_still(host):
    """It has stopped itself where ABEY_FAULT says."""
    pid = host.run(["systemctl", "show", "--property=MainPID", "--value", WORKER.replace("@", "@*")]).stdout.strip()
    try:
        return pid not in ("", "0") and host.path(f"proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except FileNotFoundError:
        return False


def cancel(host):
    """The one job that there is, by its user."""
    listed = host.run(["busctl", "call", "org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager", "ListJobs"], check=True).stdout
    host.run(["busctl", "call", "org.abeyance1", listed.split('"')[1], "org.abeyance1.Job", "Cancel"], user="ada", check=True)


def process_state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def traced(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("TracerPid:"))


class Unharmed:
    """A session as it was, to compare with what it is after something should not have happened to it."""

    def __init__(self, session):
        self.session = session
        self.processes = session.processes()
        self.watched = session.watch()
        self.descriptors = descriptors_of(self.processes)
        self.mappings = {process.inner: process.mappings() for process in self.processes}
        self.report = session.ask(session.counter(self.processes))
        self.screen = session.terminal.settle(0.2)
        self.names = set(session.home())

    def differences(self, checkpoint=False):
        """What is not as it was; an empty list when all is well."""
        session, found = self.session, []
        for process, fd in self.watched:
            if select.select([fd], [], [], 0)[0]:
                found.append(f"{process.name} ({process.inner}) has ended")
            elif process_state(process.pid) in "Tt" or traced(process):
                found.append(f"{process.name} ({process.inner}) stands still")
        if found:
            return found
        with open(f"{session.scope()}/cgroup.events", encoding="ascii") as events:
            if "frozen 1" in events.read():
                return ["the cgroup is frozen"]
        if session.id not in sessions_of(session.host):
            found.append("loginctl does not list the session")
        counter = session.counter()
        count = session.log().counts[-1]
        try:
            wait_until(lambda: session.log().counts[-1] > count + 3, "the counter's going on")
            report = session.ask(counter)
        except HostError as error:
            return found + [first_line(error)]
        log = session.log()
        for numbers in (log.counts, log.beats):
            if Log.gap(numbers):
                found.append(f"the log has a gap: {Log.gap(numbers)}")
        found += log.broken[:2]
        for part in ("pid", "threads", "scratch", "mapped", "state"):
            if report[part] != self.report[part]:
                found.append(f"{part} was {self.report[part]}, is {report[part]}")
        now = session.processes()
        if descriptors_of(now) != self.descriptors:
            found.append(f"descriptors were {self.descriptors}, are {descriptors_of(now)}")
        for process in now:
            # the kernel moves boundaries of stacks and heaps, and python maps more when it works: only what is new by name counts
            new = {name for _, name in process.mappings()} - {name for _, name in self.mappings.get(process.inner, [])}
            if new:
                found.append(f"{process.name} has new mappings: {new}")
        if session.terminal.settle_on(self.screen) != self.screen:
            found.append("the terminal shows something else")
        # a checkpoint that is there keeps files in its dedicated area
        strangers = {name for name in set(session.home()) - self.names
                     if not (checkpoint and name.split("/")[0] == ".abeyance")}
        if strangers:
            found.append(f"new in the home: {', '.join(sorted(strangers))}")
        return found

    def close(self):
        for _, fd in self.watched:
            os.close(fd)


def terminal_works(session):
    """Vim takes keys: one more word, and away with it again."""
    session.terminal.type("A Indeed.")
    session.terminal.wait_for("Indeed")
    session.terminal.type("\x1bu")
    wait_until(lambda: "Indeed" not in session.terminal.settle(0.2), "vim's undo")
    return "vim takes keys"


def refused(result, naming):
    """Failed as it should: one line of abeyctl's own that names the thing."""
    lines = result.stderr.strip().splitlines()
    return result.returncode != 0 and len(lines) == 1 and lines[0].startswith("abeyctl") and naming in lines[0]


def subvolumes(host):
    return sorted(line.split(" path ", 1)[1] for line in
                  host.run(["btrfs", "subvolume", "list", "/home"], check=True).stdout.splitlines())


def faults(host, checks):
    session = AdasSession(host)
    session.start_programs()
    volumes = subvolumes(host)
    for point in FAULTS:
        unharmed = Unharmed(session)
        set_fault(host, point)
        killed = workers_killed(host)
        result = abeyctl(host, "suspend", session.id)
        checks.check(f"{point}: suspend says that it failed", "one line, status not 0", complaint(result),
                     refused(result, ""))
        checks.attempt(f"{point}: the worker was killed", "once more", lambda: "once more" if workers_killed(host) > killed
                       else "no")
        set_fault(host, None)
        checks.attempt(f"{point}: the session runs on unharmed", [], unharmed.differences)
        checks.attempt(f"{point}: its terminal works", "vim takes keys", lambda: terminal_works(session))
        # what a killed worker could not clean up itself is cleaned at the latest when the service starts again
        host.run(["systemctl", "restart", "abeyd.service"])
        listed = json_of(abeyctl(host, "list", "--json"))
        checks.check(f"{point}: there is no checkpoint", [], listed.get("list", listed.get("checkpoints", listed)))
        checks.check(f"{point}: no snapshot is left", volumes, subvolumes(host))
        unharmed.close()
    for point in CANCELS:
        unharmed = Unharmed(session)
        set_fault(host, f"stop:{point}")
        client = subprocess.Popen(host.command(["abeyctl", "suspend", session.id], user="ada"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  stdin=subprocess.DEVNULL, text=True, preexec_fn=host.enter)
        wait_until(lambda: worker_stands_still(host), f"the worker's coming to \"{point}\"")
        cancel(host)
        _, said = client.communicate(timeout=60)
        checks.check(f"canceled at {point}: its client is told", (1, "canceled"), (client.returncode, said.strip()), client.returncode == 1 and "canceled" in said)
        set_fault(host, None)
        checks.attempt(f"canceled at {point}: the session runs on unharmed", [], unharmed.differences)
        listed = json_of(abeyctl(host, "list", "--json"))
        checks.check(f"canceled at {point}: nothing is left", ([], volumes, []), (
            listed.get("list"), subvolumes(host), sorted(path.name for path in host.path("var/lib/abeyance").iterdir())))
        unharmed.close()
    result = abeyctl(host, "suspend", session.id)
    checks.check("after all this it can be suspended", "status 0", "status 0" if result.returncode == 0 else complaint(result))


FAULTS_PLAN = [f"{point}: {what}" for point in FAULTS for what in (
    "suspend says that it failed", "the worker was killed", "the session runs on unharmed", "its terminal works",
    "there is no checkpoint", "no snapshot is left")] + [f"canceled at {point}: {what}" for point in CANCELS for what in (
    "its client is told", "the session runs on unharmed", "nothing is left")] + ["after all this it can be suspended"]


def refusals(host, checks):
    session = AdasSession(host)
    session.start_programs()
    unharmed = Unharmed(session)

    def try_in_vain(name, naming, *arguments, user=None):
        result = abeyctl(host, *arguments, user=user)
        checks.check(name, f"one line that names '{naming}', status not 0", complaint(result), refused(result, naming))

    try_in_vain("no such session", "no-such-session", "suspend", "no-such-session")
    try_in_vain("no such checkpoint", "no-such-checkpoint", "resume", "no-such-checkpoint")
    try_in_vain("somebody else's session", session.id, "suspend", session.id, user="bob")
    try_in_vain("check of somebody else's session", session.id, "check", session.id, user="bob")
    with GraphicalSession(host) as graphical:
        for verb in ("check", "suspend"):
            try_in_vain(f"{verb} of a graphical session", f"session {graphical.id} is graphical (x11)", verb, graphical.id)
        checks.check("the graphical session runs on", "active", sessions_of(host).get(graphical.id, {}).get("State"),
                     sessions_of(host).get(graphical.id, {}).get("State") in ("active", "online"))
    with UnderDebugger(session):
        try_in_vain("a process under a debugger", "sleep", "suspend", session.id)
    checks.attempt("the session runs on unharmed", [], unharmed.differences)
    unharmed.close()
    result = abeyctl(host, "check", session.id, user="ada")
    checks.check("ada may check her own session", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    result = abeyctl(host, "suspend", session.id, "--json", user="ada")
    checks.check("ada may suspend her own session", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    if result.returncode != 0:
        raise StepFailed("no checkpoint, so nobody can be refused it")
    checkpoint = json_of(result).get("checkpoint", "")
    listed = abeyctl(host, "list", "--json", user="bob")
    checks.check("bob does not see her checkpoint", "not listed", "listed" if not checkpoint or checkpoint in listed.stdout
                 else "not listed")
    try_in_vain("bob cannot resume it", checkpoint, "resume", checkpoint, user="bob")
    try_in_vain("bob cannot remove it", checkpoint, "remove", checkpoint, user="bob")
    checks.check("ada sees it", "listed", "listed" if checkpoint and checkpoint in
                 abeyctl(host, "list", "--json", user="ada").stdout else "not listed")
    checks.check("the store is root's alone", "0o40700", oct(host.path("var/lib/abeyance").stat().st_mode))


REFUSALS_PLAN = ["no such session", "no such checkpoint", "somebody else's session", "check of somebody else's session",
                 "check of a graphical session", "suspend of a graphical session", "the graphical session runs on",
                 "a process under a debugger", "the session runs on unharmed", "ada may check her own session",
                 "ada may suspend her own session", "bob does not see her checkpoint", "bob cannot resume it",
                 "bob cannot remove it", "ada sees it", "the store is root's alone"]


class GraphicalSession:
    """A session of ada that calls itself one on a display server, while this lasts."""

    UNIT = "test-graphical.service"

    def __init__(self, host):
        self.host = host

    def __enter__(self):
        before = set(sessions_of(self.host))
        self.host.run(["systemd-run", "--quiet", f"--unit={self.UNIT}", "--uid=ada", "--property=PAMName=login",
                       "--setenv=XDG_SESSION_TYPE=x11", "--setenv=XDG_SESSION_CLASS=user", "sleep", "1000"], check=True)
        self.id = wait_until(lambda: next((session for session, properties in sessions_of(self.host).items()
                                           if session not in before and properties["Type"] == "x11"), None),
                             "the graphical session", 60)
        return self

    def __exit__(self, *_):
        self.host.run(["systemctl", "stop", self.UNIT])


class UnderDebugger:
    """Something traces one process of the session while this lasts."""

    TRACER = ("import ctypes, sys, time; libc = ctypes.CDLL(None, use_errno=True); "
              "sys.exit('ptrace: errno %d' % ctypes.get_errno()) if libc.ptrace(0x4206, int(sys.argv[1]), 0, 0) else None; "
              "print('tracing', flush=True); time.sleep(600)")  # PTRACE_SEIZE

    def __init__(self, session):
        self.session = session

    def __enter__(self):
        victim = next(process for process in self.session.processes() if process.name == "sleep")
        self.tracer = subprocess.Popen(
            self.session.host.command(["/usr/bin/python3", "-c", self.TRACER, str(victim.inner)]),
            stdout=subprocess.PIPE, preexec_fn=self.session.host.enter)
        if self.tracer.stdout.readline() != b"tracing\n":
            raise HostError("the tracer of the test could not begin")

    def __exit__(self, *_):
        victim = next(process for process in self.session.processes() if process.name == "sleep")
        os.kill(traced(victim), 9)  # the process inside; nsenter, which waits for it, ends with it
        self.tracer.wait()
        self.tracer.stdout.close()


def resume_by_login(host, count):
    """ada logs in; her session goes on from where it had counted to. (terminal, restored session's id, its processes)."""
    terminal = Terminal.login(host, "ada")
    logins = [session for session, properties in sessions_of(host).items()
              if host.path(f"proc/{properties['Leader']}/comm").read_text() == "login\n"]
    session_id, _, processes = wait_until(lambda: restored_session(host, logins, count), "the resumed session", 60)
    return terminal, session_id, processes


def attached(terminal, screen):
    terminal.type("clear; abeyctl attach\n")
    terminal.wait_for(UNSAVED[:30])
    return terminal.settle_on(screen)


def detached(session):
    session.terminal.type("\x1c\x04")  # Ctrl-\\ Ctrl-D
    session.terminal.wait_for(r"ada@testhost:.*\$ ?$")
    count = session.log().counts[-1]
    wait_until(lambda: session.log().counts[-1] > count, "the counter's going on")
    session.terminal.type("clear; echo own-$((1+1))\n")
    session.terminal.wait_for("^own-2$")
    return "the login's own shell"


def again(host, checks):
    session = AdasSession(host)
    session.start_programs()
    unharmed = Unharmed(session)
    result = abeyctl(host, "suspend", session.id, "--keep-running", "--json")
    checks.check("suspend --keep-running", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checks.attempt("the session runs on", [], lambda: unharmed.differences(checkpoint=True))
    checkpoint = json_of(result).get("checkpoint", "")
    result = abeyctl(host, "remove", checkpoint)
    checks.check("that checkpoint can be removed", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checks.attempt("nothing of it is left", [], unharmed.differences)
    report = unharmed.report
    unharmed.close()
    session_id = session.id
    for turn, boot in enumerate(("none", "reboot", "power failure"), 1):
        name = f"turn {turn}, {boot}"
        watched = [(process, os.pidfd_open(process.pid)) for process in session.processes()]
        result = abeyctl(host, "suspend", session_id, "--json")
        if not checks.check(f"{name}: suspend", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
            raise StepFailed("no checkpoint to go on with")
        checks.check(f"{name}: nothing is left", "none", ", ".join(still_alive(watched)) or "none")
        session.terminal.close()
        count = session.log().counts[-1]
        if boot == "reboot":
            host.reboot()
        elif boot == "power failure":
            host.reset()
        session.terminal, session_id, processes = resume_by_login(host, count)
        session.id = session_id
        time.sleep(0.3)
        now = session.ask(session.counter(processes))
        log = session.log()
        checks.check(f"{name}: counted on", (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))
        checks.check(f"{name}: holds what it held", {part: report[part] for part in ("pid", "threads", "scratch", "mapped", "state")},
                     {part: now[part] for part in ("pid", "threads", "scratch", "mapped", "state")})
        screen = session.screen
        checks.attempt(f"{name}: attached, vim is as it was", screen, lambda: attached(session.terminal, screen))
        checks.attempt(f"{name}: detached, it runs on", "the login's own shell", lambda: detached(session))


AGAIN_PLAN = ["suspend --keep-running", "the session runs on", "that checkpoint can be removed",
              "nothing of it is left"] + [
    f"turn {turn}, {boot}: {what}" for turn, boot in ((1, "none"), (2, "reboot"), (3, "power failure"))
    for what in ("suspend", "nothing is left", "counted on", "holds what it held", "attached, vim is as it was",
                 "detached, it runs on")]

TESTS = {"faults": (faults, FAULTS_PLAN), "refusals": (refusals, REFUSALS_PLAN), "again": (again, AGAIN_PLAN)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("test", choices=TESTS)
    options = parser.parse_args()
    function, plan = TESTS[options.test]
    checks = Checks(plan, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                function(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(plan) or not all(checks.results.values()):
                journal = host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40", "-u", "abey*"])
                checks.say(journal.stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"{options.test}: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
