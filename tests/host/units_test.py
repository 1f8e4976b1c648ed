#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scopes of a user's own service manager as sessions: a terminal multiplexer that `systemd-run --user --scope` has started is suspended
while the login beside it runs on, and resumed; before a sleep it is checkpointed, when the policy says so. Everything is real, the engine too."""

import sys

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from service_test import main_of
from terminal import Terminal

UNIT = "mux-1.scope"
PLAN = ["check finds the scope", "nobody else's scope is found", "another user may not suspend it", "a pattern that nothing is like", "a service is not taken",
        "it is suspended", "nothing of it is left", "the login runs on", "it waits, under its name", "resumed", "it is a session of ada's", "its programs go on",
        "a checkpoint of it, while it runs on", "before a sleep it is checkpointed as sessions are"]


def tmux(host, *arguments):
    return host.run(["tmux", "-L", "mux", *arguments], user="ada")


def pane(host):
    return tmux(host, "capture-pane", "-p", "-t", "work").stdout


def group(host):
    return host.path(f"sys/fs/cgroup/user.slice/user-5001.slice/user@5001.service/app.slice/{UNIT}")


def start(host, terminal):
    terminal.type(f"clear; systemd-run --user --scope --quiet --unit={UNIT} --slice=app.slice tmux -L mux new-session -d -s work bash\n")
    wait_until(lambda: tmux(host, "has-session", "-t", "work").returncode == 0, "the multiplexer", 30)
    tmux(host, "send-keys", "-t", "work", "PS1='in mux: '; clear; kept=yes; i=0; while sleep 0.1; do i=$((i+1)); echo $kept $i; done", "Enter")
    return wait_until(lambda: counted(host), "its counter", 30)


def counted(host):
    lines = [line.split() for line in pane(host).splitlines() if line.startswith("yes ")]
    return int(lines[-1][1]) if lines else 0


def refused(checks, name, result, *words):
    checks.check(name, words, complaint(result), result.returncode == 1 and all(word in result.stderr for word in words))


def run(host, checks):
    terminal = Terminal.login(host, "ada")
    start(host, terminal)
    result = abeyctl(host, "check", "--unit", "mux*.scope", user="ada")
    checks.check("check finds the scope", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    refused(checks, "nobody else's scope is found", abeyctl(host, "check", "--unit", "mux*.scope", user="bob"), "no scope", "mux*.scope")
    refused(checks, "another user may not suspend it", abeyctl(host, "suspend", f"5001/{UNIT}", user="bob"), "is not yours")
    refused(checks, "a pattern that nothing is like", abeyctl(host, "suspend", "--unit", "none*"), "no scope")
    refused(checks, "a service is not taken", abeyctl(host, "suspend", "5001/dbus.service"), "not the id of a session")
    logins = set(sessions_of(host))
    before = counted(host)
    result = abeyctl(host, "suspend", "--unit", "mux*.scope", "--json", user="ada")
    checks.check("it is suspended", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checkpoint = json_of(result).get("checkpoint", "")
    checks.attempt("nothing of it is left", [], lambda: wait_until(lambda: not group(host).exists() and "gone", "the scope's end", 20) and [
        one for one in host.run(["pgrep", "-u", "ada", "-a", "tmux"]).stdout.splitlines()])
    terminal.type("clear; echo still-$((1+1))\n")
    checks.attempt("the login runs on", "still-2", lambda: terminal.wait_for("^still-2$").group())
    listed = json_of(abeyctl(host, "list", "--json", user="ada"))["list"]
    checks.check("it waits, under its name", [(checkpoint, f"5001/{UNIT}", "waiting")], [(one["id"], one["session"], one["state"]) for one in listed])
    result = abeyctl(host, "resume", checkpoint, "--json", user="ada")
    checks.check("resumed", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    new = {one: properties["Service"] for one, properties in sessions_of(host).items() if one not in logins}
    checks.check("it is a session of ada's", ["abeyance"], list(new.values()))
    checks.attempt("its programs go on", "they count on", lambda: wait_until(lambda: counted(host) > before + 5, "the counter", 30) and "they count on")

    # The resumed one is a session by now; a new scope
    tmux(host, "kill-server")
    wait_until(lambda: not [one for one, properties in sessions_of(host).items() if properties["Service"] == "abeyance"], "its end", 30)
    start(host, terminal)
    result = abeyctl(host, "suspend", "--unit", UNIT, "--keep-running", "--json")
    count = counted(host)
    checks.attempt("a checkpoint of it, while it runs on", "status 0, it counts", lambda: wait_until(
        lambda: counted(host) > count, "the counter", 30) and f"status {result.returncode}, it counts")
    abeyctl(host, "remove", json_of(result).get("checkpoint", ""))
    policy = host.path("etc/abeyance/policy.toml")
    policy.parent.mkdir(exist_ok=True)
    policy.write_text('[triggers]\nunits = ["mux*.scope"]\n')
    host.run(["busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Suspend", "b", "false"],
             check=True)
    checks.attempt("before a sleep it is checkpointed as sessions are", "the scope's and the login's", lambda: wait_until(
        lambda: sorted("/" in one["session"] for one in json_of(abeyctl(host, "list", "--json"))["list"]) == [False, True]
        and "the scope's and the login's", "two checkpoints", 60))
    terminal.close()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
