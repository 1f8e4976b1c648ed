#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A home that was changed while its session was away, and what each on-divergence makes of it; two checkpoints of one session."""

import argparse
import os
import pathlib
import subprocess
import sys

from adas_session import HOME, LOG, SWAP, AdasSession, abeyctl, complaint, json_of, sessions_of, still_alive, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from observe import Log, cgroup_processes
from session_test import RESUME, set_fault
from terminal import Terminal, TerminalError

PLAN = ["fail: refused", "fail: it waits on", "keep: refused, all changed files are named",
        "keep: the power fails when one of two files is cut", "keep: at the next boot both are as they were",
        "keep: resumed as [[changed]] says", "keep: counted on",
        "keep: the live home stayed", "checkpointed, it runs on", "suspended once more", "private: of one that is killed no copy stays", "private: resumed", "private: counted on in its own home",
        "private: everybody else has the live home", "private: where it lies is told", "private: it cannot be suspended again",
        "private: the copy outlives the session", "the older of two checkpoints is resumed", "another login's files go on in what was displaced",
        "that login finds the home by its name", "it cannot be resumed twice", "it goes on from the older moment",
        "its home is that of the older moment", "what was there by then is kept", "nothing is left on its way",
        "what was displaced is listed", "retention keeps it unless told otherwise", "prune tells what it would remove",
        "another user's call is not about it", "prune removes it"]


def counter_in(host, known):
    """(session, the counter's process) of a session of ada's that is not known."""
    for session, properties in sessions_of(host).items():
        if session in known or properties.get("Leader", "0") == "0":
            continue
        for process in cgroup_processes(f"{host.cgroup}/user.slice/user-5001.slice/{properties.get('Scope', '')}"):
            if "counter.py" in process.command and len(process.threads()) > 1:
                return session, process
    return None


def seen_by(process):
    """The home as a process sees it."""
    return pathlib.Path(f"/proc/{process.pid}/root{HOME}")


def log_of(home):
    return Log((home / LOG).read_text(errors="replace"))


def ok(result):
    return "status 0" if result.returncode == 0 else complaint(result)


def cut_half_way(host, checks, home, checkpoint):
    """The power fails when one of two files is cut: nobody can clear up before the next boot."""
    before = {name: (home / name).read_bytes() for name in (LOG, SWAP)}
    set_fault(host, "stop:cut", RESUME)
    host.run(["busctl", "call", "org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager", "ResumeCheckpoint", "sa{sv}",
              checkpoint, "1", "on-divergence", "s", "keep"], check=True)

    def cut():
        now = {name: (home / name).read_bytes() for name in before}
        return [name for name in before if now[name] != before[name]]

    files = wait_until(cut, "the first file's being cut", 60)
    checks.check("keep: the power fails when one of two files is cut", (1, True),
                 (len(files), all(before[name].startswith((home / name).read_bytes()) for name in before)))
    host.reset()
    host.run(["systemctl", "start", "abeyance-settle.service"], check=True)  # waits for it: each boot starts it
    home = host.path(HOME)
    now = {name: (home / name).read_bytes() for name in before}
    checks.check("keep: at the next boot both are as they were", [], [name for name in before if now[name] != before[name]])


def diverge(host, checks):
    home = host.path(HOME)
    session = AdasSession(host)
    session.start_programs()

    def suspend(name, identifier, *options):
        watched = session.watch() if identifier == session.id and not options else []
        result = abeyctl(host, "suspend", identifier, "--json", *options)
        still_alive(watched, 60)
        if name and not checks.check(name, "status 0", ok(result)) or result.returncode != 0:
            raise StepFailed(f"no checkpoint to go on with: {complaint(result)}")
        return json_of(result)["checkpoint"]

    def resume(checkpoint, how):
        return abeyctl(host, "resume", checkpoint, "--on-divergence", how)

    def runs_on(known, count, where=None):
        """The session that is new, and its counter, once it has counted beyond `count`."""
        identifier, process = wait_until(lambda: counter_in(host, known), "the resumed counter", 60)
        place = where(process) if where else home
        wait_until(lambda: log_of(place).counts[-1] > count + 3, "the counter's going on", 60)
        return identifier, process

    first = suspend("", session.id)
    session.terminal.close()
    count = session.log().counts[-1]
    (home / "stranger.txt").write_text("of another login\n")
    (home / "notes.txt").write_text("of another login\n")
    result = resume(first, "fail")
    checks.check("fail: refused", "has changed since", complaint(result), result.returncode != 0 and "has changed since" in result.stderr)
    states = {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}
    checks.check("fail: it waits on", {first: "waiting"}, states)
    for name in (LOG, SWAP):
        with open(home / name, "ab") as file:
            file.write(b"appended by somebody else\n")
    result = resume(first, "keep")
    checks.check("keep: refused, all changed files are named", "both", complaint(result),
                 result.returncode != 0 and LOG in result.stderr and SWAP in result.stderr)
    policy = host.path("etc/abeyance/policy.d/10-changed.toml")
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(f'[[changed]]\npath = "{HOME}/**"\naction = "restore-size"\n')
    cut_half_way(host, checks, home, first)
    home = host.path(HOME)  # of the new boot
    checks.check("keep: resumed as [[changed]] says", "status 0", ok(resume(first, "keep")))
    kept, _ = runs_on([], count)
    log = log_of(home)
    checks.check("keep: counted on", (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))
    checks.check("keep: the live home stayed", ("of another login\n", True), ((home / "notes.txt").read_text(), (home / "stranger.txt").exists()))

    older = suspend("checkpointed, it runs on", kept, "--keep-running")
    count_then = log_of(home).counts[-1]
    wait_until(lambda: log_of(home).counts[-1] > count_then + 5, "the counter's going on", 60)
    (home / "between.txt").write_text("between the two\n")
    newer = suspend("suspended once more", kept)
    wait_until(lambda: counter_in(host, []) is None, "the end of the session", 60)
    count = log_of(home).counts[-1]
    (home / "later.txt").write_text("while it was away\n")

    set_fault(host, "released", RESUME)
    result = resume(newer, "private")
    checks.check("private: of one that is killed no copy stays", (True, []), (
        "killed" in result.stderr, [entry.name for entry in host.path("/home/.abeyance/displaced").iterdir()]))
    set_fault(host, "", RESUME)
    result = resume(newer, "private")
    checks.check("private: resumed", "status 0", ok(result))
    private, process = runs_on([], count, seen_by)
    own = seen_by(process)
    log = log_of(own)
    checks.check("private: counted on in its own home", (None, None, [], False, True),
                 (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2], (own / "later.txt").exists(), (own / "between.txt").exists()))
    checks.check("private: everybody else has the live home", (True, count), ((home / "later.txt").exists(), log_of(home).counts[-1]))
    copies = [entry for entry in host.path("/home/.abeyance/displaced").iterdir() if "-private-" in entry.name]
    checks.check("private: where it lies is told", 1, len(copies), len(copies) == 1 and copies[0].name in result.stdout + result.stderr)
    result = abeyctl(host, "suspend", private)
    checks.check("private: it cannot be suspended again", "one line, status not 0", complaint(result), result.returncode != 0)
    host.run(["loginctl", "terminate-session", private], check=True)
    wait_until(lambda: counter_in(host, []) is None, "the end of the session", 60)
    checks.check("private: the copy outlives the session", True, bool(copies) and (copies[0] / "between.txt").exists()
                 and log_of(copies[0]).counts[-1] > count)

    with Terminal.login(host, "ada") as other:
        other.type("exec 7>>of_the_other.txt; echo before >&7; echo ready-$((1+1))\n")
        other.wait_for("^ready-2$")
        checks.check("the older of two checkpoints is resumed", "status 0", ok(resume(older, "rollback")))
        other.type("echo after >&7; ls ~/of_the_other.txt; cd ~; ls | wc -l; echo done-$((1+1))\n")
        other.wait_for("^done-2$")
        written = {entry.name: (entry / "of_the_other.txt").read_text() for entry in host.path("/home/.abeyance/displaced").iterdir()
                   if (entry / "of_the_other.txt").exists()}
        checks.check("another login's files go on in what was displaced", ["before\nafter\n"], list(written.values()))
        checks.check("that login finds the home by its name", False, (home / "of_the_other.txt").exists())
        other.type("exit\n")
    result = resume(older, "rollback")
    checks.check("it cannot be resumed twice", "one line, status not 0", complaint(result), result.returncode != 0)
    _, process = runs_on([], count_then)
    log = log_of(home)
    checks.check("it goes on from the older moment", (None, []), (Log.gap(log.counts), log.broken[:2]))
    checks.check("its home is that of the older moment", (False, False, True), tuple(
        (home / name).exists() for name in ("between.txt", "later.txt", "stranger.txt")))
    displaced = [entry for entry in host.path("/home/.abeyance/displaced").iterdir() if "-private-" not in entry.name]
    checks.check("what was there by then is kept", [True], [(entry / "later.txt").exists() for entry in displaced])
    checks.check("nothing is left on its way", [], os.listdir(host.path("/home/.abeyance/incoming")))
    prune(host, checks, displaced[0])


def prune(host, checks, displaced):
    place = "/home/.abeyance/displaced/" + displaced.name
    listed = json_of(abeyctl(host, "list", "--displaced", "--json"))["list"]
    checks.check("what was displaced is listed", [(HOME, place, 5001)], [(one["home"], one["place"], one["uid"]) for one in listed])
    checks.check("retention keeps it unless told otherwise", [], json_of(abeyctl(host, "prune", "--json"))["list"])
    host.path("etc/abeyance/policy.d/20-retention.toml").write_text("[retention]\ndisplaced = 0\n")
    told = json_of(abeyctl(host, "prune", "--dry-run", "--json"))["list"]
    checks.check("prune tells what it would remove", [place], [one["id"] for one in told], displaced.exists())
    theirs = abeyctl(host, "prune", "--json", user="bob")
    checks.check("another user's call is not about it", [], json_of(theirs)["list"], displaced.exists())
    abeyctl(host, "prune")
    wait_until(lambda: not displaced.exists(), "the removal of the displaced home", 60)
    checks.check("prune removes it", [], json_of(abeyctl(host, "list", "--displaced", "--json"))["list"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                diverge(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                journal = host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40", "-u", "abey*"])
                checks.say(journal.stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"divergence: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
