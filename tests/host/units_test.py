#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Scopes of a user's own service manager as sessions: a terminal multiplexer that `systemd-run --user --scope` has started is suspended
while the login beside it runs on, and resumed; before a sleep it is checkpointed, when the policy says so. Everything is real, the engine too."""

import sys
import time

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from service_test import MANAGER, main_of
from session_test import GraphicalSession
from terminal import Terminal

UNIT = "mux-1.scope"
PLAN = ["check finds the scope", "nobody else's scope is found", "another user may not suspend it", "a pattern that nothing is like", "a socket is not taken",
        "it is suspended", "nothing of it is left", "the login runs on", "it waits, under its name", "resumed", "it is a session of ada's", "its programs go on",
        "a checkpoint of it, while it runs on", "before a sleep it is checkpointed as sessions are",
        "a pattern for all means no services", "a service that restarts is suspended", "nothing of the service is left", "its manager neither restarts it nor calls it failed",
        "its ExecStop= was not run", "no drop-in stays", "the service is resumed", "and counts on", "a service that a socket starts is refused by name", "and runs on", "so is one with a name on the bus",
        "a suspend of a service that fails leaves its Restart= as it was",
        "two are suspended by one command", "check looks at both", "explain, too", "one that fails does not keep the others from being tried",
        "of a graphical session the scope is suspended", "which runs on itself", "and the scope is resumed", "her sessions on terminals, when the policy says so",
        "the lock of a desktop makes checkpoints of them", "so does the hourly timer", "and a sleep",
        "not an idleness that is over", "nor does it take a session that stands for itself", "but one that lasts does", "nobody else is told what they are", "that none of it runs is told"]


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
    refused(checks, "a socket is not taken", abeyctl(host, "suspend", "5001/dbus.socket"), "not the id of a session")
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
    policy.write_text("")
    tmux(host, "kill-server")
    services(host, checks)
    for name in ("one", "two"):
        terminal.type(f"clear; systemd-run --user --scope --quiet --unit=mux-{name}.scope setsid -f sleep 1000; echo {name}-$((1+1))\n")
        terminal.wait_for(f"^{name}-2$")
    several(host, checks)
    result = abeyctl(host, "suspend", "--unit", "mux*.scope", user="ada")
    checks.check("two are suspended by one command", (0, ["5001/mux-one.scope", "5001/mux-two.scope"]), (result.returncode, kept(host)))
    with GraphicalSession(host) as desktop:
        in_place_of(host, checks, desktop.id, terminal)
    terminal.close()


def several(host, checks):
    both = ["5001/mux-one.scope", "5001/mux-two.scope"]
    result = abeyctl(host, "check", "--unit", "mux-*.scope", "--json", user="ada")
    checks.check("check looks at both", (0, [(one, True) for one in both]), (
        result.returncode, [(one["session"], one.get("ok")) for one in json_of(result).get("list", [])]))
    result = abeyctl(host, "explain", "--unit", "mux-*.scope", user="ada")
    checks.check("explain, too", (0, [f"Session {one}:" for one in both]), (
        result.returncode, [line for line in result.stdout.splitlines() if line.startswith("Session ")]))
    host.path("etc/abeyance/policy.toml").write_text('[[hook]]\nat = "pre-suspend"\nrun = ["/usr/local/bin/refuses"]\n')
    script = host.path("usr/local/bin/refuses")
    script.write_text("#!/bin/bash\ncase $ABEYANCE_SESSION in *one*) exit 1; esac\n")
    script.chmod(0o755)
    result = abeyctl(host, "suspend", "--unit", "mux-*.scope", "--keep-running", "--json", user="ada")
    host.path("etc/abeyance/policy.toml").write_text("")
    checks.check("one that fails does not keep the others from being tried", (1, [(both[0], False), (both[1], True)], both[1:]), (
        result.returncode, [(one["session"], one["ok"]) for one in json_of(result).get("list", [])], kept(host)))


SERVICE = "work.service"
COUNT = "home/ada/work.count"


def units(host, *arguments):
    """systemctl --user, as ada's."""
    return host.run(["systemctl", "--user", *arguments], user="ada", env={"XDG_RUNTIME_DIR": "/run/user/5001"})


def write_unit(host, name, text):
    folder = "/run/user/5001/systemd/user"
    host.run(["sh", "-c", f"mkdir -p {folder} && cat > {folder}/{name}"], user="ada", check=True, input=text)
    units(host, "daemon-reload")


def work_count(host):
    try:
        return int(host.path(COUNT).read_text().split()[-1])
    except (FileNotFoundError, IndexError, ValueError):
        return 0


def drop_ins(host):
    return [path.name for path in host.path("run/user/5001/systemd/user").glob("*.d/*")]


def services(host, checks):
    for one in json_of(abeyctl(host, "list", "--json"))["list"]:
        abeyctl(host, "remove", one["id"])
    script = host.path("usr/local/bin/work")
    script.write_text("#!/bin/bash\necho $$ >> /home/ada/work.starts\ni=0\nwhile sleep 0.1; do i=$((i+1)); echo $i > /home/ada/work.count.new; "
                      "mv /home/ada/work.count.new /home/ada/work.count; done\n")
    script.chmod(0o755)
    write_unit(host, SERVICE, "[Service]\nExecStart=/usr/local/bin/work\nExecStop=/bin/touch /home/ada/work.stopped\nRestart=always\nRestartSec=100ms\n")
    units(host, "start", SERVICE)
    wait_until(lambda: work_count(host) > 2, "the service", 30)
    refused(checks, "a pattern for all means no services", abeyctl(host, "check", "--unit", "wor*", user="ada"), "nor a service")
    starts = host.path("home/ada/work.starts").read_text()
    result = abeyctl(host, "suspend", "--unit", SERVICE, "--json", user="ada")
    checks.check("a service that restarts is suspended", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checkpoint, count = json_of(result).get("checkpoint", ""), work_count(host)
    checks.check("nothing of the service is left", "", host.run(["pgrep", "-u", "ada", "-af", "/usr/local/bin/work"]).stdout)
    time.sleep(1)  # ten times RestartSec=
    state = units(host, "show", "--property=ActiveState,NRestarts,Result", SERVICE).stdout.split()
    checks.check("its manager neither restarts it nor calls it failed", (["ActiveState=inactive", "NRestarts=0", "Result=success"], starts, count),
                 (sorted(state), host.path("home/ada/work.starts").read_text(), work_count(host)))
    checks.check("its ExecStop= was not run", False, host.path("home/ada/work.stopped").exists())
    checks.check("no drop-in stays", ([], "Restart=always"), (drop_ins(host), units(host, "show", "--property=Restart", SERVICE).stdout.strip()))
    result = abeyctl(host, "resume", checkpoint, "--json", user="ada")
    checks.check("the service is resumed", ("status 0", starts), (
        "status 0" if result.returncode == 0 else complaint(result), host.path("home/ada/work.starts").read_text()))
    checks.attempt("and counts on", "on", lambda: wait_until(lambda: work_count(host) > count + 3, "the counter", 30) and "on")
    host.run(["loginctl", "terminate-session", json_of(result).get("session", "")])

    write_unit(host, "heard.socket", "[Socket]\nListenStream=%t/heard\n")
    write_unit(host, "heard.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    units(host, "start", "heard.socket", "heard.service")
    refused(checks, "a service that a socket starts is refused by name", abeyctl(host, "suspend", "--unit", "heard.service", user="ada"), "heard.socket", "heard.service")
    checks.check("and runs on", "active", units(host, "is-active", "heard.service").stdout.strip())
    units(host, "start", "dbus.service")
    refused(checks, "so is one with a name on the bus", abeyctl(host, "suspend", "--unit", "dbus.service", user="ada"), "dbus.service", "would start it again")
    units(host, "start", SERVICE)
    wait_until(lambda: host.path("home/ada/work.starts").read_text() != starts, "the service", 30)
    host.path("run/abeyance/worker.env").write_text("ABEY_FAULT=memory\n")
    result = abeyctl(host, "suspend", "--unit", SERVICE, user="ada")
    host.path("run/abeyance/worker.env").unlink()
    checks.check("a suspend of a service that fails leaves its Restart= as it was", (1, [], "Restart=always", "active"), (
        result.returncode, wait_until(lambda: not drop_ins(host) and "none", "the drop-in's end", 20) and [],
        units(host, "show", "--property=Restart", SERVICE).stdout.strip(), units(host, "is-active", SERVICE).stdout.strip()))


def kept(host):
    """The sessions and units that there are checkpoints of when nothing is at work any more. They are removed."""
    wait_until(lambda: host.run(["busctl", "get-property", *MANAGER, "Busy"]).stdout.strip() == "b false", "the end of all jobs", 60)
    found = json_of(abeyctl(host, "list", "--json"))["list"]
    for one in found:
        abeyctl(host, "remove", one["id"])
    return sorted(one["session"] for one in found)


def rule(host, scope):
    host.path("etc/abeyance/policy.toml").write_text(f'[graphical]\nscope = "{scope}"\nunits = ["mux*.scope"]\n[triggers]\non-lock = "checkpoint"\n')


def idle(host, checks, desktop, tty, mux):
    """Screen savers say so to logind, both when it begins and when it ends."""
    path = "/org/freedesktop/login1/session/" + (f"_3{desktop}" if desktop[0].isdigit() else desktop)

    def hint(value):
        host.run(["busctl", "call", "org.freedesktop.login1", path, "org.freedesktop.login1.Session", "SetIdleHint", "b", value], check=True)

    def policy(scope):
        host.path("etc/abeyance/policy.toml").write_text(
            f'[graphical]\nscope = "{scope}"\nunits = ["mux*.scope"]\n[triggers]\non-idle = "checkpoint"\nidle-after = "2 s"\n'
            f'[[session]]\nttys = "{tty}"\ntriggers.on-idle = "nothing"\n')
        host.run(["systemctl", "reload", "abeyd"], check=True)
        time.sleep(5)  # at least two looks

    hint("true")
    hint("false")
    policy("units")
    checks.check("not an idleness that is over", [], kept(host))
    policy("terminal-sessions")
    hint("true")
    time.sleep(5)
    checks.check("nor does it take a session that stands for itself", [], kept(host))
    host.path("etc/abeyance/policy.toml").write_text("")
    hint("false")
    hint("true")
    policy("units")
    checks.attempt("but one that lasts does", [mux], lambda: wait_until(lambda: kept(host), "a checkpoint", 30))


def in_place_of(host, checks, desktop, terminal):
    """What the policy takes in place of a graphical session."""
    kept(host)
    mux = f"5001/{UNIT}"
    login = next(one for one, properties in sessions_of(host).items() if properties["Service"] == "login" and properties["Type"] == "tty")
    rule(host, "units")
    start(host, terminal)
    result = abeyctl(host, "suspend", desktop, "--json", user="ada")
    checks.check("of a graphical session the scope is suspended", ("status 0", [mux]), (
        "status 0" if result.returncode == 0 else complaint(result), [one["session"] for one in json_of(abeyctl(host, "list", "--json"))["list"]]))
    checks.check("which runs on itself", True, desktop in sessions_of(host))
    result = abeyctl(host, "resume", json_of(result).get("checkpoint", ""), "--json", user="ada")
    checks.attempt("and the scope is resumed", "it counts on", lambda: wait_until(lambda: counted(host) > 0, "the counter", 30) and "it counts on")
    host.run(["loginctl", "terminate-session", json_of(result).get("session", "")])
    wait_until(lambda: tmux(host, "has-session", "-t", "work").returncode != 0, "its end", 30)
    kept(host)
    start(host, terminal)

    rule(host, "terminal-sessions")
    result = abeyctl(host, "suspend", desktop, "--keep-running", "--json", user="ada")
    checks.check("her sessions on terminals, when the policy says so", (0, [login]), (result.returncode, kept(host)))

    rule(host, "units")
    host.run(["loginctl", "lock-session", desktop], check=True)
    checks.attempt("the lock of a desktop makes checkpoints of them", [mux], lambda: wait_until(lambda: kept(host), "a checkpoint", 30))
    result = abeyctl(host, "checkpoint", "ada", "--json")
    checks.check("so does the hourly timer", (0, sorted([login, mux]), {desktop: "it is graphical (x11)"}), (
        result.returncode, kept(host), {one["session"]: one["skipped"] for one in json_of(result)["list"] if one["skipped"]}))
    host.run(["busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Suspend", "b", "false"], check=True)
    checks.attempt("and a sleep", sorted([login, mux]), lambda: wait_until(lambda: len(json_of(abeyctl(host, "list", "--json"))["list"]) == 2 and kept(host), "two checkpoints", 60))
    idle(host, checks, desktop, sessions_of(host)[login]["TTY"], mux)
    refused(checks, "nobody else is told what they are", abeyctl(host, "suspend", desktop, user="bob"), "is not yours")
    tmux(host, "kill-server")
    refused(checks, "that none of it runs is told", abeyctl(host, "suspend", desktop, user="ada"), "is graphical", "[graphical]", "nothing runs")
    host.path("etc/abeyance/policy.toml").write_text("")


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
