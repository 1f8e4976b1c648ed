#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions over ssh: sshd's processes are the frontend, its terminal comes after the session. Everything is real."""

import subprocess
import sys
import time

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import StepFailed
from host import HostError
from keeper_test import show
from service_test import main_of
from run_test import PROFILE, kept
from session_test import GraphicalSession
from terminal import Terminal

SSH = ["ssh", "-o", "StrictHostKeyChecking=no", "ada@127.0.0.1"]
UNSAVED = "This line is not saved."

PLAN = ["sshd is not part of the session", "a checkpoint of all her sessions is one of those that have one", "for a timer, too", "it is suspended", "the connection ends", "logind has let go of the session",
        "a command without a terminal brings nothing back", "a login over ssh brings it back", "its terminal is told",
        "attach shows the editor", "what was not saved is there",
        "a login runs a session by itself", "the next login is in the same session again", "and the one after that", "one session each time", "the service had nothing to complain about"]


def prepare(host):
    host.run(["systemctl", "unmask", "ssh"])  # the host masks what the machine would start
    host.run(["sh", "-ec", "mkdir -p -m 700 /root/.ssh /home/ada/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519;"
              "cp /root/.ssh/id_ed25519.pub /home/ada/.ssh/authorized_keys; chown -R ada: /home/ada/.ssh; systemctl start ssh"], check=True)


def connect(host):
    before = set(sessions_of(host))
    terminal = Terminal(host, SSH[:1] + ["-tt"] + SSH[1:])
    terminal.wait_for(r"[$] ?$")
    return terminal, wait_until(lambda: set(sessions_of(host)) - before, "the session").pop()


def checkpoints(host):
    return {entry["id"]: entry["state"] for entry in json_of(abeyctl(host, "list", "--json"))["list"]}


def all_of_hers(host, checks, session):
    """A desktop, and a connection with nothing but tunnels, are no failure of an hourly checkpoint."""
    tunnel = subprocess.Popen(host.command(SSH[:1] + ["-N"] + SSH[1:]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, preexec_fn=host.enter)
    try:
        with GraphicalSession(host) as desktop:
            idle = wait_until(lambda: set(sessions_of(host)) - {session, desktop.id}, "the session of the tunnels").pop()
            result = abeyctl(host, "checkpoint", "ada", "--json")
            found = {one["session"]: (one["ok"], one["checkpoint"] in checkpoints(host), one.get("skipped"), one["error"])
                     for one in json_of(result)["list"]}
            wanted = {session: (True, True, "", ""), desktop.id: (True, False, "it is graphical (x11)", ""),
                      idle: (True, False, "nothing runs in it but the login itself", "")}
            checks.check("a checkpoint of all her sessions is one of those that have one", (0, wanted), (result.returncode, found))
            result = host.run(["systemctl", "start", "abeyance-checkpoint@ada.service"])
            checks.check("for a timer, too", (0, 2), (result.returncode, len(checkpoints(host))))
    finally:
        tunnel.terminate()
        tunnel.wait(20)
    for name in checkpoints(host):
        abeyctl(host, "remove", name)


def run(host, checks):
    prepare(host)
    terminal, session = connect(host)
    terminal.type("vim notes\n")
    terminal.wait_for(r"0,0-1 +All *$")
    terminal.type("i" + UNSAVED)
    terminal.wait_for(UNSAVED)
    findings = json_of(abeyctl(host, "check", session, "--json"))["findings"]
    checks.check("sshd is not part of the session", [], [one["comm"] for one in findings if "sshd" in one["comm"]])
    all_of_hers(host, checks, session)
    result = abeyctl(host, "suspend", session)
    checks.check("it is suspended", "status 0", result.stderr or "status 0", result.returncode == 0)
    terminal.wait_for("Connection to 127.0.0.1 closed")
    checks.check("the connection ends", True, terminal.wait_end() is not None)
    checks.attempt("logind has let go of the session", "gone",
                   lambda: wait_until(lambda: session not in sessions_of(host) and "gone", "its end"))
    waiting = checkpoints(host)
    if list(waiting.values()) != ["waiting"]:
        raise StepFailed(f"checkpoints: {waiting}")

    # long enough for a terminal to be looked for several times
    with subprocess.Popen(host.command(SSH + ["echo here; sleep 2"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, preexec_fn=host.enter) as command:
        said = command.stdout.read().strip()
    checks.check("a command without a terminal brings nothing back", ("here", waiting), (said, checkpoints(host)))

    again, _ = connect(host)
    checks.attempt("a login over ssh brings it back", "resumed",
                   lambda: wait_until(lambda: not checkpoints(host) and "resumed", "the resume", 30))
    checks.attempt("its terminal is told", "told",
                   lambda: wait_until(lambda: "has been resumed as session" in again.text() and "told", "the message", 30))
    again.type("\nclear; abeyctl attach\n")
    checks.attempt("attach shows the editor", "-- INSERT --", lambda: again.wait_for("-- INSERT --").group(0))
    checks.check("what was not saved is there", UNSAVED, again.text().splitlines()[0])
    again.close()
    for session in kept(host):
        host.run(["loginctl", "terminate-session", session])
    wait_until(lambda: not kept(host), "the end of the session")
    by_itself(host, checks)


def by_itself(host, checks):
    """Each login in the session of the last one, which is suspended as soon as a connection ends."""
    host.path("etc/abeyance").mkdir(exist_ok=True)
    host.path("etc/abeyance/policy.toml").write_text('[attach]\non-login-end = "suspend"\n')
    host.path("home/ada/.bash_profile").write_text(f". /{PROFILE}\n")
    found = []
    for number, step in enumerate(PLAN[-5:-2]):
        terminal = Terminal(host, SSH[:1] + ["-tt"] + SSH[1:])
        wait_until(lambda: kept(host), "the session")
        terminal.wait_for(r"[$] ?$")
        if number == 0:
            wait_until(lambda: show(terminal, "echo $ABEYANCE_RUN") == "1", "her shell")
            shell = show(terminal, "variable=stays; echo $$")
        checks.attempt(step, f"stays {shell}", lambda: wait_until(
            lambda: show(terminal, "echo $variable $$") == f"stays {shell}" and f"stays {shell}", "the shell", 20))
        time.sleep(1)  # the service looks for the terminal several times
        found.append((len(kept(host)), len(checkpoints(host))))
        terminal.close()
        try:
            wait_until(lambda: not kept(host) and len(checkpoints(host)) == 1, "the suspend")
        except HostError as error:
            left = [f"{session}: {each.get('State')}, {each.get('Service')}" for session, each in sessions_of(host).items()]
            running = host.run(["ps", "-u", "ada", "-o", "pid=,comm=,tty="]).stdout.split("\n")
            raise HostError(f"{error}; sessions: {left}, processes: {running}") from error
    checks.check("one session each time", [(1, 0)] * 3, found)
    said = host.run(["journalctl", "-b", "-u", "abeyd", "-o", "cat", "-p", "err"]).stdout
    checks.check("the service had nothing to complain about", "", said)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
