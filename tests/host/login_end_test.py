#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions whose logins end: what [attach] of the policy makes of each. Everything is real, the engine too."""

import sys
import time

from adas_session import abeyctl, json_of, sessions_of, wait_until
from keeper_test import show
from run_test import join, kept, runs, start
from service_test import main_of
from terminal import Terminal

PLAN = ["stay: it runs on", "end: it ends, too", "not while one of its logins is left", "but with the last", "suspend: it is suspended", "what asked for that is told",
        "its shell comes back", "a login that only waits for its processes has ended", "one that a login resumes by itself goes with that login",
        "sections decide for some sessions", "whoever looks on has no say", "what cannot be suspended stays", "a daemon that was started again knows which logins there are",
        "nothing is left of the lists", "the daemon never died"]
NEVER = '[resume]\non-login = "never"\n'


def policy(host, text):
    path = host.path("etc/abeyance/policy.toml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def waiting(host):
    return [one["id"] for one in json_of(abeyctl(host, "list", "--json")).get("list", []) if one["state"] == "waiting"]


def logins(host):
    """Ada's logins that go on."""
    return {one for one, has in sessions_of(host).items() if has.get("Service") == "login" and has.get("State") != "closing"}


def begun(host):
    """A login of ada's, and the session that she has begun from it."""
    terminal = Terminal.login(host, "ada")
    session, _ = start(host, terminal)
    show(terminal, "PS1='within$ '")
    return terminal, session


def leave(host, terminal):
    """As when a connection is lost."""
    before = len(logins(host))
    terminal.close()
    wait_until(lambda: len(logins(host)) < before, "the login's end", 30)


def end(host, session):
    host.run(["loginctl", "terminate-session", session])
    wait_until(lambda: session not in kept(host), "the end of the session", 30)


def still_there(host, session):
    """Nothing is to happen: there is no event to wait for. The other cases are over in less."""
    time.sleep(2)
    return session in kept(host)


def gone(host, session):
    return wait_until(lambda: session not in kept(host) and "gone", "the session's end", 60)


def stays_or_ends(host, checks):
    policy(host, NEVER)
    terminal, session = begun(host)
    leave(host, terminal)
    checks.check("stay: it runs on", (True, []), (still_there(host, session), waiting(host)))
    end(host, session)

    policy(host, NEVER + '[attach]\non-login-end = "end"\n')
    terminal, session = begun(host)
    leave(host, terminal)
    checks.attempt("end: it ends, too", ["gone", []], lambda: [gone(host, session), waiting(host)])

    first, session = begun(host)
    second = Terminal.login(host, "ada")
    join(second, session)
    first.wait_for("attached from elsewhere", 30)
    leave(host, second)
    checks.check("not while one of its logins is left", True, still_there(host, session))
    leave(host, first)
    checks.attempt("but with the last", "gone", lambda: gone(host, session))


def suspended(host, checks):
    policy(host, NEVER + '[attach]\non-login-end = "suspend"\n')
    terminal, session = begun(host)
    shell = show(terminal, "variable=kept; echo $$")
    leave(host, terminal)
    checks.attempt("suspend: it is suspended", ["gone", 1], lambda: [gone(host, session), len(wait_until(lambda: waiting(host), "the checkpoint"))])
    checkpoint = waiting(host)[0]
    shown = json_of(abeyctl(host, "show", checkpoint, "--json"))["information"]
    checks.check("what asked for that is told", "logout", shown.get("trigger"))
    session = json_of(abeyctl(host, "resume", checkpoint, "--json", user="ada"))["session"]
    terminal = Terminal.login(host, "ada")
    join(terminal, session)
    checks.attempt("its shell comes back", f"kept {shell}", lambda: wait_until(
        lambda: show(terminal, "echo $variable $$") == f"kept {shell}" and f"kept {shell}", "her shell"))
    terminal.type("\x1c\x04")
    terminal.wait_for("detached", 30)
    sleeper = show(terminal, "(setsid sleep 100000 </dev/null >/dev/null 2>&1 & echo $!)")
    leave(host, terminal)
    closing = [has["State"] for one, has in sessions_of(host).items() if has.get("Service") == "login"]
    checks.attempt("a login that only waits for its processes has ended", [["closing"], "gone"], lambda: [closing, gone(host, session)])
    host.run(["kill", sleeper], check=True)
    wait_until(lambda: waiting(host), "the checkpoint")

    policy(host, '[attach]\non-login-end = "suspend"\n')
    terminal = Terminal.login(host, "ada")
    session = wait_until(lambda: kept(host), "the resumed session").pop()
    wait_until(lambda: "has been resumed" in terminal.text().replace("\n", ""), "the message")
    leave(host, terminal)
    checks.attempt("one that a login resumes by itself goes with that login", ["gone", 1], lambda: [
        gone(host, session), len(wait_until(lambda: waiting(host), "the checkpoint"))])
    for one in waiting(host):
        abeyctl(host, "remove", one)


def sections(host, checks):
    policy(host, NEVER + '[[session]]\nservices = ["abeyance-run"]\nattach.on-login-end = "end"\n')
    terminal, session = begun(host)
    leave(host, terminal)
    checks.attempt("sections decide for some sessions", "gone", lambda: gone(host, session))
    terminal, session = begun(host)
    with Terminal.login(host, "ada") as watcher:
        show(watcher, "true")
        watcher.type(f"clear; abeyctl attach --watch {session}\n")
        watcher.wait_for(r"^within[$]", 30)
        leave(host, terminal)
        checks.attempt("whoever looks on has no say", "gone", lambda: gone(host, session))


def refused(host, checks):
    policy(host, NEVER + '[attach]\non-login-end = "suspend"\n[[peer]]\nbus = "system"\naction = "fail"\n')
    terminal, session = begun(host)
    script = "import socket, time; s = socket.socket(socket.AF_UNIX); s.connect('/run/dbus/system_bus_socket'); print('hol' + 'ding', flush=True); time.sleep(100000)"
    terminal.type(f"clear; /usr/bin/python3 -c \"{script}\"\n")
    terminal.wait_for("^holding", 30)
    leave(host, terminal)
    said = wait_until(lambda: [line for line in host.run(["journalctl", "-b", "-u", "abeyd", "-o", "cat"]).stdout.splitlines() if "system_bus_socket" in line],
                      "the refusal", 60)
    checks.check("what cannot be suspended stays", (True, 1, []), (session in runs(host), len(said), waiting(host)))
    end(host, session)


def started_again(host, checks):
    policy(host, NEVER + '[attach]\non-login-end = "end"\n')
    ended, before = begun(host)
    host.run(["systemctl", "stop", "abeyd"], check=True)
    leave(host, ended)  # nobody sees it
    terminal, session = Terminal.login(host, "ada"), None
    host.run(["systemctl", "start", "abeyd"], check=True)
    session, _ = start(host, terminal)
    host.run(["systemctl", "restart", "abeyd"], check=True)
    leave(host, terminal)
    checks.attempt("a daemon that was started again knows which logins there are", ["gone", True], lambda: [gone(host, session), before in kept(host)])
    end(host, before)
    checks.attempt("nothing is left of the lists", [], lambda: wait_until(
        lambda: not list(host.path("run/abeyance/logins").iterdir()) and "none", "the end of the keepers", 30) and [])


def run(host, checks):
    stays_or_ends(host, checks)
    suspended(host, checks)
    sections(host, checks)
    refused(host, checks)
    started_again(host, checks)
    checks.check("the daemon never died", "0", host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip())


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
