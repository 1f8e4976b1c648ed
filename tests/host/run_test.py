#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that begin under the keeper: `abeyctl run`, a lost connection, attach, suspend and resume, and logins that do so by
themselves. Everything is real, the engine too."""

import argparse
import concurrent.futures
import subprocess
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from keeper_test import parent_of, scope_of, show, turned_away
from observe import cgroup_processes
from terminal import Terminal, TerminalError
from worker_test import said

PROFILE = "usr/share/doc/abeyance/abeyance-run.sh"

PLAN = [
    "run starts a session", "loginctl lists it", "it is kept in its own scope", "it has the user's rights and limits", "its terminal is the user's",
    "its environment is the caller's, and its own", "it begins where the caller is", "a command within knows that it is kept",
    "a lost connection leaves it running", "another login joins it again", "somebody else is refused",
    "it is suspended", "its keeper has ended", "it is resumed", "its shell is the one that it was", "its terminal is intact",
    "what a program showed once is shown again",
    "its shell's end ends it", "a command's end ends its session",
    "one that is over before the service has looked", "a command that is none is refused", "nothing of that is left",
    "arguments that are wrong are refused", "a wrong detach key leaves no session behind", "nor is one brought back for it, or without a terminal", "an administrator's rule forbids it", "a killed keeper leaves no session",
    "a login runs a session by itself", "the next login joins that", "its end ends the login",
    "two users at once: each in a session of their own", "both are suspended at the same time", "both are resumed at the same time", "each has their own shell again"]


def runs(host):
    return {session: properties for session, properties in sessions_of(host).items()
            if properties.get("Service") == "abeyance-run" and properties.get("State") != "closing"}


def kept(host):
    return {session for session, properties in sessions_of(host).items()
            if properties.get("Service") in ("abeyance", "abeyance-run") and properties.get("State") != "closing"}


def start(host, terminal, command="abeyctl run"):
    """A shell of a new session on the terminal; its id and properties."""
    before = set(runs(host))
    terminal.type(f"clear; {command}\n")
    new = wait_until(lambda: set(runs(host)) - before, "the session")
    session = new.pop()
    terminal.wait_for(r"[$] ?$")
    wait_until(lambda: show(terminal, "echo $XDG_SESSION_ID") == session, "its shell")
    return session, runs(host)[session]


def join(terminal, session):
    """What is typed before the client reads is lost, as it is at any login."""
    show(terminal, "true")
    terminal.type(f"clear; abeyctl attach {session}\n")
    terminal.wait_for(r"^within[$] ?$")


def begins(host, checks, login):
    show(login, "cd /var/tmp; export fruit=apple SSH_TTY=/dev/pts/99")
    session, properties = start(host, login)
    checks.check("run starts a session", True, session in runs(host))
    checks.check("loginctl lists it", ("ada", "user", "tty"), tuple(properties[name] for name in ("Name", "Class", "Type")))
    leader = int(properties["Leader"])
    processes = {process.name: process for process in cgroup_processes(scope_of(host, properties))}
    checks.check("it is kept in its own scope", (["abey-keeper", "bash"], leader),
                 (sorted(processes), parent_of(host, processes["bash"].inner)))
    asked = "echo $(id -u):$(id -g):$(umask):$(ulimit -u):$(grep -c '^CapEff:.0*$' /proc/self/status)"
    limit = "77"  # of pam_limits, for ada
    checks.check("it has the user's rights and limits", f"5001:5001:0022:{limit}:1", show(login, asked))
    checks.check("its terminal is the user's", "5001:620", show(login, "stat -c %u:%a $(tty)"))
    checks.check("its environment is the caller's, and its own", f"apple::{session}:/run/user/5001:linux:/home/ada",
                 show(login, "echo $fruit:$SSH_TTY:$XDG_SESSION_ID:$XDG_RUNTIME_DIR:$TERM:$HOME"))
    checks.check("it begins where the caller is", "/var/tmp", show(login, "pwd"))
    checks.check("a command within knows that it is kept", "1", show(login, "sh -c 'echo $ABEYANCE_RUN'"))
    return session


def lasts(host, checks, login, session):
    show(login, "variable=kept; PS1='within$ '")
    shell = show(login, "echo $$")
    login.close()  # as when a network connection is lost
    wait_until(lambda: len(sessions_of(host)) == 1, "the end of the login")
    checks.check("a lost connection leaves it running", {session}, set(runs(host)))
    with Terminal.login(host, "ada") as other:
        join(other, session)
        checks.attempt("another login joins it again", f"kept {shell}", lambda: wait_until(
            lambda: show(other, "echo $variable $$") == f"kept {shell}" and f"kept {shell}", "her shell"))
        checks.attempt("somebody else is refused", "asked for an administrator's password", lambda: turned_away(host, session))
        show(other, "stty -echoctl; { /bin/sleep 100000 & }")
        modes = show(other, "stty -g; tty")
        other.type("\x1c\x04")
        other.wait_for("detached")

        result = abeyctl(host, "suspend", session, "--json")
        checks.check("it is suspended", "status 0", said(result), result.returncode == 0)
        checkpoint = json_of(result)["checkpoint"]
        checks.attempt("its keeper has ended", True, lambda: wait_until(
            lambda: not kept(host) and "abey-keeper" not in host.run(["ps", "-A", "-o", "comm="]).stdout, "the keeper's end"))
        result = abeyctl(host, "resume", checkpoint, "--json")
        checks.check("it is resumed", "status 0", said(result), result.returncode == 0)
        session = json_of(result)["session"]
        join(other, session)
        checks.attempt("its shell is the one that it was", f"kept {shell}", lambda: wait_until(
            lambda: show(other, "echo $variable $$") == f"kept {shell}" and f"kept {shell}", "her shell"))
        checks.check("its terminal is intact", modes, show(other, "stty -g; tty"))
        other.type("\x1c\x04")
        other.wait_for("detached")
        shown_once(host, checks, other)
        join(other, session)
        other.type("kill %1; exit\n")
        checks.attempt("its shell's end ends it", True, lambda: wait_until(lambda: not kept(host), "the end of the session"))


def shown_once(host, checks, terminal):
    """By a program that never draws again, whatever happens to its terminal."""
    script = "trap '' WINCH; printf '\\033[2J\\033[5;10Hdrawn \\033[1;31monce\\033[0m and with \\303\\244'; while :; do sleep 1000; done"
    before, sleeping = set(runs(host)), len(host.run(["pgrep", "-u", "ada", "-x", "sleep"]).stdout.split())
    host.run(["abeyctl", "run", "--detach", "--", "bash", "-c", script], user="ada", check=True)
    session = wait_until(lambda: set(runs(host)) - before, "the session").pop()
    wait_until(lambda: len(host.run(["pgrep", "-u", "ada", "-x", "sleep"]).stdout.split()) > sleeping, "its picture")
    result = abeyctl(host, "suspend", session, "--json")
    if result.returncode != 0:
        raise StepFailed(said(result))
    result = abeyctl(host, "resume", json_of(result)["checkpoint"], "--json")
    if result.returncode != 0:
        raise StepFailed(said(result))
    session = json_of(result)["session"]
    show(terminal, "true")
    terminal.type(f"clear; abeyctl attach {session}\n")
    checks.attempt("what a program showed once is shown again", "drawn once and with \u00e4", lambda: terminal.wait_for("drawn once and with \u00e4").group())
    terminal.type("\x1c\x04")
    terminal.wait_for("detached")
    host.run(["loginctl", "terminate-session", session])
    wait_until(lambda: session not in sessions_of(host), "the end of the session")


def over_at_once(host, checks):
    """The service finds the unit of the session stopping: it stands still from the unit's start to its end."""
    drop_in = host.path("run/systemd/system/abeyance-run@.service.d/late.conf")
    drop_in.parent.mkdir(parents=True)
    send = "/bin/sh -c 'kill -{} $$(systemctl show --property=MainPID --value abeyd){}'"
    drop_in.write_text(f"[Service]\nExecStartPre={send.format('STOP', '')}\nExecStopPost={send.format('CONT', '; sleep 1')}\n")
    host.run(["systemctl", "daemon-reload"], check=True)
    try:
        checks.attempt("one that is over before the service has looked", 0, lambda: host.run(
            ["timeout", "20", "abeyctl", "run", "--detach", "--", "true"], user="ada").returncode)
    finally:
        drop_in.unlink()
        host.run(["systemctl", "daemon-reload"], check=True)


def commands(host, checks):
    result = host.run(["abeyctl", "run", "--detach", "--", "touch", "/tmp/was here"], user="ada")
    checks.attempt("a command's end ends its session", True, lambda: result.returncode == 0 and wait_until(
        lambda: host.path("tmp/was here").exists() and not kept(host), "the end of the session"))
    over_at_once(host, checks)
    result = host.run(["abeyctl", "run", "--detach", "--", "/no/such"], user="ada")
    checks.check("a command that is none is refused", "No such file", said(result),
                 result.returncode == 1 and "/no/such" in result.stderr and "No such file" in result.stderr)
    checks.attempt("nothing of that is left", True, lambda: wait_until(lambda: not kept(host), "the end of the session"))
    call = ["busctl", "call", "org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager", "RunSession", "asassqq"]
    wrong = [["1", "", "0", "", "0", "0"], ["0", "1", "noequals", "", "0", "0"], ["0", "0", "tmp", "0", "0"],
             ["0", "2049", *["a=b"] * 2049, "", "0", "0"]]
    checks.check("arguments that are wrong are refused", [1] * len(wrong),
                 [host.run([*call, *each], user="ada").returncode for each in wrong])
    wrong_key(host, checks)
    rules = host.path("etc/polkit-1/rules.d/10-run.rules")
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text("polkit.addRule(function(action, subject) { if (action.id == 'org.abeyance1.run-own') return polkit.Result.NO; });\n")
    host.run(["systemctl", "restart", "polkit"], check=True)
    result = host.run(["abeyctl", "run", "--detach"], user="ada")
    checks.check("an administrator's rule forbids it", "status 1", said(result), result.returncode == 1 and not kept(host))
    rules.unlink()
    host.run(["systemctl", "restart", "polkit"], check=True)
    host.run(["abeyctl", "run", "--detach"], user="ada", check=True)
    session, properties = next(iter(runs(host).items()))
    host.run(["kill", "-KILL", properties["Leader"]], check=True)
    checks.attempt("a killed keeper leaves no session", True, lambda: wait_until(
        lambda: session not in sessions_of(host) and not host.run(["pgrep", "-x", "-u", "ada", "bash"]).stdout, "its end"))


def wrong_key(host, checks):
    before = kept(host)
    found = []
    for arguments in (["--detach-key", "ctrl-ä"], []):
        with Terminal(host, ["/usr/sbin/runuser", "--user", "ada", "--", "env", "ABEYANCE_DETACH_KEY=too,many,keys,by,far", "abeyctl", "run", *arguments]) as terminal:
            found.append((terminal.wait_end(30), "key" in terminal.text()))
    checks.check("a wrong detach key leaves no session behind", ([(1, True)] * 2, before), (found, kept(host)))
    host.run(["abeyctl", "run", "--detach"], user="ada", check=True)
    session = next(iter(kept(host) - before))
    checkpoint = json_of(abeyctl(host, "suspend", session, "--json"))["checkpoint"]
    wait_until(lambda: not kept(host), "its end")
    with Terminal(host, ["abeyctl", "resume", checkpoint, "--attach", "--detach-key", "ctrl-ä"]) as terminal:
        found = [terminal.wait_end(30)]
    found.append(abeyctl(host, "resume", checkpoint, "--attach").returncode)
    checks.check("nor is one brought back for it, or without a terminal", ([1, 1], set(), "waiting"), (
        found, kept(host), next((one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"] if one["id"] == checkpoint), "gone")))
    abeyctl(host, "remove", checkpoint)


def side_by_side(host, checks):
    people = ("ada", "bob")

    def sessions(user):
        return {session for session, properties in sessions_of(host, user).items()
                if properties.get("Service") in ("abeyance", "abeyance-run") and properties.get("State") != "closing"}

    def at_once(work):
        with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
            return dict(zip(people, pool.map(work, people)))

    terminals = {user: Terminal.login(host, user) for user in people}
    for terminal in terminals.values():
        terminal.type("clear; abeyctl run\n")
    begun = {user: wait_until(lambda: sessions(user), f"the session of {user}").pop() for user in people}
    shells = {user: wait_until(lambda: (shown := show(terminals[user], f"mine={user}s; PS1='within$ '; echo $XDG_SESSION_ID $mine $$")).startswith(begun[user])
                               and shown.partition(" ")[2], f"the shell of {user}") for user in people}
    checks.check("two users at once: each in a session of their own", {user: f"{user}s" for user in people},
                 {user: shells[user].split()[0] for user in people})
    results = at_once(lambda user: abeyctl(host, "suspend", begun[user], "--json", user=user))
    checks.check("both are suspended at the same time", {user: 0 for user in people}, {user: one.returncode for user, one in results.items()})
    for user in people:
        wait_until(lambda: not sessions(user), f"the end of the session of {user}")
    waiting = {user: json_of(one)["checkpoint"] for user, one in results.items()}
    results = at_once(lambda user: abeyctl(host, "resume", waiting[user], "--json", user=user))
    checks.check("both are resumed at the same time", {user: 0 for user in people}, {user: one.returncode for user, one in results.items()})
    for user in people:
        join(terminals[user], json_of(results[user])["session"])
    checks.attempt("each has their own shell again", shells, lambda: {user: wait_until(
        lambda: (shown := show(terminals[user], "echo $mine $$")) == shells[user] and shown, f"the shell of {user}") for user in people})
    for user in people:
        terminals[user].type("exit\n")
        wait_until(lambda: not sessions(user), f"the end of the session of {user}")
        terminals[user].close()


def by_itself(host, checks):
    profile = host.path("home/ada/.bash_profile")
    # login(1) is no sshd: it does not say so by itself
    profile.write_text(f"SSH_TTY=$(tty); . /{PROFILE}\n")
    first = Terminal.login(host, "ada", timeout=60)
    checks.attempt("a login runs a session by itself", True, lambda: wait_until(
        lambda: show(first, "echo $XDG_SESSION_ID") in runs(host), "the session"))
    session = show(first, "variable=stays; echo $XDG_SESSION_ID")
    first.close()
    with Terminal.login(host, "ada", timeout=60) as second:
        checks.attempt("the next login joins that", f"stays {session}", lambda: wait_until(
            lambda: show(second, "echo $variable $XDG_SESSION_ID") == f"stays {session}" and f"stays {session}", "the shell"))
        second.type("exit\n")
        checks.attempt("its end ends the login", True, lambda: wait_until(
            lambda: not sessions_of(host), "the end of all her sessions"))
    profile.unlink()


def run(host, checks):
    host.path("etc/security/limits.d").mkdir(parents=True, exist_ok=True)
    host.path("etc/security/limits.d/run.conf").write_text("ada - nproc 77\n")
    login = Terminal.login(host, "ada")
    session = begins(host, checks, login)
    lasts(host, checks, login, session)
    commands(host, checks)
    by_itself(host, checks)
    side_by_side(host, checks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                run(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "60"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"run: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
