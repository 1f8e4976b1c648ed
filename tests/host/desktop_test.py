#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a desktop finds: the installed entry, and the samples in Python and JavaScript against the real service and engine."""

import configparser
import re
import shlex
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from keeper_test import show
from run_test import runs
from service_test import main_of
from terminal import Terminal
from worker_test import said

SAMPLES = "/usr/share/doc/abeyance/examples"
LANGUAGES = {"Python": ["/usr/bin/python3", f"{SAMPLES}/suspend_session.py"],
             "JavaScript": ["/usr/bin/gjs", "-m", f"{SAMPLES}/suspend_session.js"]}

PLAN = ["the entry is valid", "its action suspends", "it lists what waits", "its other action starts a session", "a call starts the service"] + [
    f"{language}: {what}" for language in LANGUAGES
    for what in ("a checkpoint is made, the session runs on", "a session that is none is told", "the session is suspended")]


def entry(host, checks):
    path = "/usr/share/applications/org.abeyance1.desktop"
    result = host.run(["desktop-file-validate", path])
    checks.check("the entry is valid", (0, ""), (result.returncode, result.stdout))
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str
    parsed.read_string(host.path(path).read_text())
    with in_terminal(host, parsed["Desktop Action suspend-session"]) as terminal:
        ended = terminal.wait_end(120)
        found = wait_until(lambda: checkpoints(host), "the checkpoint", 60)
        checks.check("its action suspends", ["waiting"], list(found.values()), ended is not None and list(found.values()) == ["waiting"])
    with in_terminal(host, parsed["Desktop Entry"]) as terminal:
        name = next(iter(found))
        checks.attempt("it lists what waits", name, lambda: terminal.wait_for(re.escape(name)).group())
        terminal.type("\n")
        abeyctl(host, "remove", name)
    with in_terminal(host, parsed["Desktop Action run-session"]) as terminal:
        wait_until(lambda: runs(host), "the session", 60)
        checks.attempt("its other action starts a session", "1", lambda: wait_until(
            lambda: show(terminal, "echo $ABEYANCE_RUN") == "1" and "1", "its shell", 30))
        terminal.type("exit\n")
        wait_until(lambda: not runs(host), "its end", 30)


def in_terminal(host, group):
    """As a desktop with Terminal=true starts it: in a terminal of ada's session. Its words are quoted as in a shell."""
    terminal = Terminal.login(host, "ada")
    terminal.type(f"clear; {shlex.join(shlex.split(group['Exec']))}\n")
    return terminal


def activation(host, checks):
    """The bus starts what is asked for, by whoever: a desktop need not know whether it runs."""
    host.run(["systemctl", "stop", "abeyd"], check=True)
    stopped = host.run(["systemctl", "is-active", "abeyd"]).stdout.strip()
    asked = host.run(["abeyctl", "list", "--json"], user="bob")
    checks.check("a call starts the service", ("inactive", 0, "active"), (stopped, asked.returncode, host.run(["systemctl", "is-active", "abeyd"]).stdout.strip()))


def checkpoints(host):
    return {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}


def sample(host, checks, language, command):
    terminal = Terminal.login(host, "ada")
    session = next(iter(sessions_of(host)))
    result = host.run([*command, session, "--keep-running"], user="ada")
    checks.check(f"{language}: a checkpoint is made, the session runs on", "its id", said(result),
                 result.returncode == 0 and checkpoints(host) == {result.stdout.strip(): "waiting"} and session in sessions_of(host))
    result = host.run([*command, "nosuch"], user="ada")
    checks.check(f"{language}: a session that is none is told", "there is no session nosuch", said(result),
                 result.returncode == 1 and "there is no session nosuch" in result.stderr)
    result = host.run([*command, session], user="ada")
    ended = terminal.wait_end()
    checks.check(f"{language}: the session is suspended", "its id, and the login has ended", f"{said(result)}, {ended}",
                 result.returncode == 0 and result.stdout.strip() in checkpoints(host))
    terminal.close()
    for name in checkpoints(host):
        abeyctl(host, "remove", name)


def run(host, checks):
    host.path("etc/abeyance").mkdir(parents=True, exist_ok=True)
    host.path("etc/abeyance/policy.toml").write_text('[resume]\non-login = "never"\n')
    entry(host, checks)
    activation(host, checks)
    for language, command in LANGUAGES.items():
        sample(host, checks, language, command)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
