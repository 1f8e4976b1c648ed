#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions over ssh: sshd's processes are the frontend, its terminal comes after the session. Everything is real."""

import subprocess
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import StepFailed
from service_test import main_of
from terminal import Terminal

SSH = ["ssh", "-o", "StrictHostKeyChecking=no", "ada@127.0.0.1"]
UNSAVED = "This line is not saved."

PLAN = ["sshd is not part of the session", "it is suspended", "the connection ends", "logind has let go of the session",
        "a command without a terminal brings nothing back", "a login over ssh brings it back", "its terminal is told",
        "attach shows the editor", "what was not saved is there"]


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


def run(host, checks):
    prepare(host)
    terminal, session = connect(host)
    terminal.type("vim notes\n")
    terminal.wait_for(r"0,0-1 +All *$")
    terminal.type("i" + UNSAVED)
    terminal.wait_for(UNSAVED)
    findings = json_of(abeyctl(host, "check", session, "--json"))["findings"]
    checks.check("sshd is not part of the session", [], [one["comm"] for one in findings if "sshd" in one["comm"]])
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


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
