#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A resume without the engine: abeyd, abeyctl, units, keeper, store and home are real; what comes back is a fresh shell
(fake_resume.cpp) instead of the processes that were ended (fake_suspend.cpp)."""

import argparse
import pathlib
import shutil
import subprocess
import sys
import time

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from keeper_test import shells_in, show
from session_test import cancel
from terminal import Terminal, TerminalError
from worker_test import Login, install as install_worker, said, set_fault, subvolumes

KEEPER = "/usr/local/lib/abeyance-test/abey-keeper"
WORKER = "/usr/local/lib/abeyance-test/fake-worker"
UNIT = "abeyance-resume@*.service"
FAULTS = ("error", "rolled-back", "stopped", "canceled at its commit", "keeper killed", "released", "not noted", "power failure")

PLAN = ["a session is suspended"] + [
    f"{fault}: {what}" for fault in FAULTS for what in ("resume fails", "the home is what it was", "the checkpoint waits",
                                                        "no session is left")] + [
    "a resume first gives back the home that another has left", "what was done after a power failure is not undone",
    "resume is done", "the home is rolled back", "the displaced home is kept", "the checkpoint is used up",
    "it cannot be resumed again", "canceled too late: it is resumed", "canceled too late: its session runs on", "attach joins the shell", "the resumed session can be suspended", "its keeper has ended well",
    "a login brings it back", "the login's shell is told",
    "of two that wait a login brings back the younger", "and tells of the other", "the next does not take the home from under it", "but tells why, and how"]


def install(host, build):
    install_worker(host, build)
    shutil.copy(pathlib.Path(build) / "tests/host/fake-resume", host.path(KEEPER))
    folder = host.path("etc/systemd/system/abeyance-resume@.service.d")
    folder.mkdir(parents=True)
    (folder / "fake.conf").write_text(f"[Service]\nExecStart=\nExecStart={KEEPER} %i\nExecStopPost=\nExecStopPost={WORKER} clear %i\n")
    host.run(["systemctl", "daemon-reload"], check=True)


def states(host):
    return {entry["id"]: entry["state"] for entry in json_of(abeyctl(host, "list", "--json"))["list"]}


def home(host):
    return host.path("home/ada/stranger.txt").exists(), host.path("home/ada/hers.txt").exists()


def processes_of_ada(host):
    return host.run(["pgrep", "-x", "-u", "ada", "sleep|bash"]).stdout.split()


def kept(host):
    return [session for session, properties in sessions_of(host).items()
            if properties.get("Service") == "abeyance" and properties.get("State") != "closing"]


def interrupted(host, checkpoint, act):
    """A resume that hangs, and what happens to it then."""
    client = subprocess.Popen(host.command(["abeyctl", "resume", checkpoint]), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, preexec_fn=host.enter)
    wait_until(lambda: kept(host) and not home(host)[0], "the roll-back", 10)
    act()
    out, err = client.communicate(timeout=30)
    return subprocess.CompletedProcess([], client.returncode, out, err)


def canceled(host, checkpoint, point):
    """A resume that stands still there is canceled, and goes on."""
    set_fault(host, f"stop:{point}")
    client = subprocess.Popen(host.command(["abeyctl", "resume", checkpoint, "--json"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, preexec_fn=host.enter)
    keeper = wait_until(lambda: standing_still(host), f"the keeper's coming to \"{point}\"", 20)
    cancel(host)
    host.run(["kill", "-CONT", keeper])
    out, err = client.communicate(timeout=60)
    set_fault(host, None)
    return subprocess.CompletedProcess([], client.returncode, out, err)


def standing_still(host):
    pid = host.run(["systemctl", "show", "--property=MainPID", "--value", UNIT]).stdout.strip()
    state = host.run(["ps", "-o", "state=", "-p", pid]).stdout.strip() if pid not in ("", "0") else ""
    return pid if state == "T" else None


def work_after_a_power_failure(host, checkpoint):
    """Nobody has given the home back before somebody worked in it; then a resume fails before it touches anything."""
    set_fault(host, "hang")
    unit = "etc/systemd/system/abeyance-settle.service"
    host.path(unit).symlink_to("/dev/null")
    interrupted(host, checkpoint, host.reset)
    host.run(["sh", "-c", "echo work >/home/ada/work.txt; chage -E 0 ada"], check=True)
    failed = abeyctl(host, "resume", checkpoint)
    host.run(["chage", "-E", "-1", "ada"], check=True)
    after_failure = failed.returncode, host.path("home/ada/work.txt").exists()
    host.path(unit).unlink()
    host.reboot()
    after_boot = host.path("home/ada/work.txt").exists(), "before is kept in" in host.run(["journalctl", "-b"]).stdout
    host.run(["sh", "-c", "cd /home/ada && rm -f work.txt && touch stranger.txt"], check=True)
    return after_failure, after_boot


def failures(host, checks, checkpoint):
    volumes = subvolumes(host)
    for fault in FAULTS:
        set_fault(host, {"error": "error", "canceled at its commit": None, "rolled-back": "rolled-back", "released": "released", "not noted": None}.get(fault, "hang"))
        if fault == "stopped":
            result = interrupted(host, checkpoint, lambda: host.run(["systemctl", "stop", UNIT]))
        elif fault == "canceled at its commit":
            result = canceled(host, checkpoint, "reported")
        elif fault == "keeper killed":
            result = interrupted(host, checkpoint, lambda: host.run(["systemctl", "kill", "--signal=KILL", UNIT]))
        elif fault == "power failure":
            result = interrupted(host, checkpoint, host.reset)
        elif fault == "not noted":  # a directory has the name of the file by which the store notes that it was resumed
            in_the_way = host.path(f"var/lib/abeyance/{checkpoint}/resumed.new")
            in_the_way.mkdir()
            result = abeyctl(host, "resume", checkpoint)
            in_the_way.rmdir()
        else:
            result = abeyctl(host, "resume", checkpoint)
        expected = -9 if fault == "power failure" else 1  # the client as well
        checks.check(f"{fault}: resume fails", f"status {expected}", said(result), result.returncode == expected)
        checks.attempt(f"{fault}: the home is what it was", ((True, False), volumes), lambda: (
            found := wait_until(lambda: home(host)[0] and (home(host), subvolumes(host)), "the home", 10),
            found == ((True, False), volumes)))
        checks.check(f"{fault}: the checkpoint waits", {checkpoint: "waiting"}, states(host))
        checks.attempt(f"{fault}: no session is left", True, lambda: wait_until(
            lambda: not kept(host) and not processes_of_ada(host), "the end", 10))
    set_fault(host, None)


def after_one_that_was_not_cleared(host, checkpoint):
    """Nobody cleans up after a killed resume; the next one fails in its turn and gives the home back."""
    override = host.path("etc/systemd/system/abeyance-resume@.service.d/not-cleared.conf")
    override.write_text("[Service]\nExecStopPost=\n")
    host.run(["systemctl", "daemon-reload"], check=True)
    set_fault(host, "hang")
    interrupted(host, checkpoint, lambda: host.run(["systemctl", "kill", "--signal=KILL", UNIT]))
    left = home(host)
    override.unlink()
    host.run(["systemctl", "daemon-reload"], check=True)
    set_fault(host, "error")
    abeyctl(host, "resume", checkpoint)
    set_fault(host, None)
    return left, home(host)


def suspended(host, session):
    host.run(["systemctl", "reset-failed"])
    result = abeyctl(host, "suspend", session, "--json")
    return json_of(result).get("checkpoint", ""), result


def run(host, checks):
    login = Login(host)
    login.terminal.type("cd; echo hers >hers.txt\n")
    wait_until(lambda: home(host)[1], "her file", 5)
    checkpoint, result = suspended(host, login.id)
    if not checks.check("a session is suspended", "status 0", said(result), result.returncode == 0):
        raise StepFailed("nothing to resume")
    login.terminal.close()
    host.run(["sh", "-c", "cd /home/ada && rm hers.txt && touch stranger.txt"], check=True)
    failures(host, checks, checkpoint)
    checks.check("a resume first gives back the home that another has left", ((False, True), (True, False)),
                 after_one_that_was_not_cleared(host, checkpoint))
    expected = (1, True), (True, True)
    checks.attempt("what was done after a power failure is not undone", expected, lambda: (
        found := work_after_a_power_failure(host, checkpoint), found == expected))

    result = canceled(host, checkpoint, "marked")
    checks.check("canceled too late: it is resumed", "status 0", said(result), result.returncode == 0)
    answer = json_of(result)
    time.sleep(1)  # a session that is being ended is told first
    checks.check("canceled too late: its session runs on", [answer.get("session")], [one for one in kept(host) if shells_in(host, one)])
    checks.check("resume is done", "status 0, a session", said(result), result.returncode == 0 and [answer["session"]] == kept(host))
    session = answer["session"]
    checks.check("the home is rolled back", (False, True), home(host))
    place = answer["message"].rpartition(" ")[2]
    checks.check("the displaced home is kept", "stranger.txt in it", answer["message"],
                 place.startswith("/") and host.path(f"{place}/stranger.txt").exists())
    checks.check("the checkpoint is used up", True, states(host).get(checkpoint) in (None, "resumed"))
    result = abeyctl(host, "resume", checkpoint)
    checks.check("it cannot be resumed again", "status 1", said(result), result.returncode == 1)
    with Terminal.login(host, "ada") as terminal:
        terminal.type(f"clear; abeyctl attach {session}\n")
        terminal.wait_for(r"^restored[$]", 10)
        checks.check("attach joins the shell", "hers", show(terminal, "cat hers.txt"))
        # the next login is to bring it back, so this one must be over first
        terminal.type("\x1c\x04")
        terminal.wait_for("detached", 5)
    checkpoint, result = suspended(host, session)
    checks.check("the resumed session can be suspended", ("status 0", []), (said(result), shells_in(host, session)),
                 result.returncode == 0 and not shells_in(host, session))
    units = ["systemctl", "list-units", "--all", "--no-legend", UNIT]
    wait_until(lambda: not kept(host), "the keeper's end", 10)
    checks.attempt("its keeper has ended well", "no unit, none failed", lambda: wait_until(
        lambda: not host.run(units).stdout.strip() and "no unit, none failed", "the end of its unit", 5))
    with Terminal.login(host, "ada") as terminal:
        checks.attempt("a login brings it back", True, lambda: wait_until(lambda: len(kept(host)) == 1, "the session", 20))
        checks.attempt("the login's shell is told", "abeyctl attach",
                       lambda: terminal.wait_for("abeyctl attach", 10) and "abeyctl attach")
    two_that_wait(host, checks)


def two_that_wait(host, checks):
    """Both were suspended at the end of a day; then she logs in twice."""
    for session in kept(host):
        host.run(["loginctl", "terminate-session", session])
    wait_until(lambda: not sessions_of(host), "the end of all sessions", 30)
    logins = [Login(host) for _ in range(2)]
    waiting = []
    for login in logins:
        checkpoint, result = suspended(host, login.id)
        if result.returncode != 0:
            raise StepFailed(said(result))
        waiting.append(checkpoint)
        login.terminal.close()
        wait_until(lambda login=login: login.id not in sessions_of(host), "the login's end", 30)
    with Terminal.login(host, "ada") as first:
        checks.attempt("of two that wait a login brings back the younger", [waiting[0]], lambda: wait_until(lambda: kept(host), "the session", 30) and wait_until(
            lambda: (left := [one for one, state in states(host).items() if state == "waiting"]) == waiting[:1] and left, "the other alone", 30))
        checks.attempt("and tells of the other", "told", lambda: wait_until(
            lambda: "And 1 more waits: abeyctl list" in first.text().replace("\n", "") and "told", "the message", 20))
        before = kept(host)
        host.run(["touch", "/home/ada/of-today.txt"], check=True)
        with Terminal.login(host, "ada") as second:
            text = wait_until(lambda: (text := second.text().replace("\n", "")) and "abeyctl resume" in text and text, "a message", 30)
            checks.check("the next does not take the home from under it", (True, before, {waiting[0]: "waiting"}), (
                host.path("home/ada/of-today.txt").exists(), kept(host), {one: state for one, state in states(host).items() if state == "waiting"}))
            checks.check("but tells why, and how", "the session and the command", text,
                         "not taken back beneath" in text and f"abeyctl resume {waiting[0]}" in text and "has changed since then" in text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                install(host, options.build)
                run(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "50"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"resume: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
