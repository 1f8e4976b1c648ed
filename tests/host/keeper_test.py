#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The keeper and attach alone: keeper_test.py --build DIR [--tap]

The real keeper opens a real login session of ada; what a resume would bring back is a fresh bash on a new terminal
(fake_keeper.cpp).
"""

import argparse
import itertools
import re
import shutil
import subprocess
import sys
import time

from adas_session import sessions_of, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from observe import cgroup_processes
from terminal import Terminal, TerminalError

KEEPER = "/usr/local/lib/abeyance-test/fake-keeper"
UNIT = "test-keeper.service"
marks = itertools.count(1000)

PLAN = [
    "loginctl lists the session", "its leader is the keeper", "keeper and shell are in its scope", "runtime directory is there",
    "login uid is the user's",
    "shell is the keeper's child", "attach shows the terminal", "keys and output go both ways", "a new size arrives",
    "attach from within is refused", "somebody else is refused", "detach leaves it running",
    "own terminal is as it was", "modes that a program has set are taken back", "the title is taken back", "second attach takes over", "watching shows it", "who watches types nothing", "who watches changes nothing", "a watcher's Ctrl-C is for itself", "logout of the client leaves it running",
    "output without a reader does not wait", "terminals are served with the user's rights",
    "attach redraws for a program that does not", "any output is taken", "an orphan becomes the keeper's", "its shell's end ends the session",
    "the keeper ends with status 0", "its socket is gone", "a failed resume says why", "a failed resume leaves nothing",
    "a killed worker leaves nothing", "a resume that is stopped leaves nothing", "stopping the unit ends the session",
    "loginctl ends the session, and the keeper with status 0", "a killed keeper leaves no session", "the next one removes its socket",
]


class Kept:
    """A keeper, started as the service starts it."""

    def __init__(self, host, *command):
        self.host = host
        host.run(["systemctl", "reset-failed", UNIT])
        before = set(sessions_of(host))
        host.run(["systemd-run", "--quiet", f"--unit={UNIT}", "--service-type=exec", "--property=KillMode=mixed",
                  "--property=RemainAfterExit=yes", KEEPER, "5001", "5001", *command], check=True)
        self.before = before

    def session(self):
        """(id, properties) of the session that it has opened, when it serves it."""
        def found():
            for session, properties in sessions_of(self.host).items():
                if session not in self.before and properties.get("Service") == "abeyance" and "terminal" in self.said():
                    return session, properties
            return None
        return wait_until(found, "the keeper's session", 30)

    def said(self):
        self.host.run(["journalctl", "--sync"])
        # Not by the unit: on a busy machine the journal has noticed by then that the keeper went into its session's scope
        process = self.property("ExecMainPID")
        return self.host.run(["journalctl", "-b", "-o", "cat", f"_PID={process}"]).stdout

    def property(self, name):
        return self.host.run(["systemctl", "show", "--value", "-p", name, UNIT], check=True).stdout.strip()

    def wait_end(self):
        wait_until(lambda: self.property("SubState") in ("exited", "failed"), "the keeper's end", 30)
        return self.property("ExecMainStatus")

    def forget(self):
        self.host.run(["systemctl", "stop", UNIT])


def scope_of(host, properties):
    return f"{host.cgroup}/user.slice/user-5001.slice/{properties['Scope']}"


def parent_of(host, pid):
    return int(host.path(f"proc/{pid}/status").read_text().split("PPid:")[1].split()[0])


def shells_in(host, session):
    """What of the session's processes is left, its keeper aside."""
    scope = f"{host.cgroup}/user.slice/user-5001.slice/session-{session}.scope"
    try:
        return [process.name for process in cgroup_processes(scope) if process.name != "fake-keeper"]
    except FileNotFoundError:
        return []


def show(terminal, command):
    """What a command prints, in the shell behind a terminal, its lines joined."""
    mark = next(marks)  # a new one each time, and never on the screen before it is printed
    terminal.type(f"clear; echo '<'{mark}; {command}; echo {mark}'>'\n")
    terminal.wait_for(f"^<{mark}$", 30)
    terminal.wait_for(f"{mark}>$", 30)
    return "".join(terminal.text().partition(f"<{mark}")[2].partition(f"{mark}>")[0].splitlines()).strip()


def attach(terminal, session):
    show(terminal, "true")  # her own shell reads again, and nothing of an earlier time is on the screen
    terminal.type(f"clear; abeyctl attach {session}\n")
    terminal.wait_for(r"^shell[$]", 30)
    terminal.settle(0.2)


def turned_away(host, session):
    """What somebody else gets to see instead."""
    with Terminal.login(host, "bob") as stranger:
        show(stranger, "true")
        stranger.type(f"clear; abeyctl attach {session}\n")
        stranger.wait_for(rf"Authentication is required to attach to a terminal of session {session} of user ada\.[^$]*^Password: ?$", 30)
        return "asked for an administrator's password"


def joined(host, checks, session, properties):
    scope = scope_of(host, properties)
    checks.check("loginctl lists the session", ("ada", "user", "tty", "abeyance"),
                 tuple(properties[name] for name in ("Name", "Class", "Type", "Service")))
    processes = {process.name: process for process in cgroup_processes(scope)}
    leader = int(properties["Leader"])
    checks.check("its leader is the keeper", "fake-keeper", host.path(f"proc/{leader}/comm").read_text().strip())
    checks.check("keeper and shell are in its scope", ["bash", "fake-keeper"], sorted(processes))
    checks.check("runtime directory is there", 5001, host.path("run/user/5001").stat().st_uid)
    shell = processes["bash"].inner
    checks.check("login uid is the user's", "5001", host.path(f"proc/{shell}/loginuid").read_text())
    checks.check("shell is the keeper's child", leader, parent_of(host, shell))

    first = Terminal.login(host, "ada")
    modes = show(first, "stty -g")
    attach(first, session)
    checks.check("attach shows the terminal", str(shell), show(first, "echo $$"))
    checks.check("keys and output go both ways", "42", show(first, "variable=kept; echo $((6 * 7))"))
    first.resize(30, 90)
    checks.attempt("a new size arrives", "30 90",
                   lambda: wait_until(lambda: (size := show(first, "stty size")) == "30 90" and size, "the size", 30))
    checks.check("attach from within is refused", True, "in this session already" in show(first, f"abeyctl attach {session}"))
    checks.attempt("somebody else is refused", "asked for an administrator's password", lambda: turned_away(host, session))
    first.type("\x1c\x04")
    first.wait_for("detached", 30)
    checks.check("detach leaves it running", ["bash"], shells_in(host, session))
    checks.check("own terminal is as it was", modes, show(first, "stty -g"))
    left_in_modes(checks, first, session)
    attach(first, session)
    with Terminal.login(host, "ada") as second:
        attach(second, session)
        first.wait_for("attached from elsewhere", 30)
        checks.check("second attach takes over", "kept", show(second, "echo $variable"))
        watched(host, checks, session, second)
    # both of her logins are gone now, one of them in the middle of it
    first.close()
    time.sleep(0.3)
    checks.check("logout of the client leaves it running", (True, ["bash"]),
                 (session in sessions_of(host), shells_in(host, session)))


def left_in_modes(checks, terminal, session):
    def state():
        screen = terminal.screen
        return sorted(screen.mode), screen.charset, screen.g0_charset, screen.cursor.attrs.reverse

    def at_prompt():
        """The login's own shell sets its modes with its prompt, the last of them bracketed paste (pyte's number)."""
        terminal.settle(0.3)
        return 2004 << 5 in terminal.screen.mode

    terminal.stream.use_utf8 = False  # else pyte does not look at character sets
    wait_until(at_prompt, "the prompt")
    before = state()
    attach(terminal, session)
    # insert, no wrap, reverse screen, a region, origin, graphics in G0 and G1, the latter used
    terminal.type("clear; printf '\\033[4h\\033[?7l\\033[?5h\\033[2;9r\\033[?6h\\033(0\\033)0\\016\\033[3 q'; read; printf '\\033c'\n")
    terminal.settle(1)
    within = state()
    begun = len(terminal.raw)
    terminal.type("\x1c\x04")
    terminal.wait_for("detached", 30)
    wait_until(at_prompt, "the prompt")
    checks.check("modes that a program has set are taken back", before, state(), within[:3] != before[:3] and before == state())
    checks.check("the title is taken back", True, b"\x1b[22;2t\x1b]2;" in terminal.raw and b"\x1b[23;2t" in terminal.raw[begun:]
                 and b"\x1b[0 q" in terminal.raw[begun:])
    show(terminal, "true")
    terminal.type(f"abeyctl attach {session}\n")
    terminal.settle(1)
    terminal.type("\n")
    terminal.wait_for(r"^shell[$]", 30)
    terminal.type("\x1c\x04")
    terminal.wait_for("detached", 30)
    terminal.stream.use_utf8 = True


def watched(host, checks, session, user):
    size = show(user, "stty size")
    with Terminal.login(host, "ada") as watcher:
        show(watcher, "true")
        watcher.resize(20, 60)
        watcher.type(f"clear; abeyctl attach --watch {session}\n")
        watcher.wait_for(r"^shell[$]", 60)
        user.type("echo seen by 'both'\n")
        user.wait_for("^seen by both", 60)
        checks.attempt("watching shows it", "seen by both", lambda: watcher.wait_for("^seen by both", 60).group(0))
        watcher.type("touch /tmp/typed\n")
        watcher.settle(1)
        checks.check("who watches types nothing", (False, "attached"),
                     (host.path("tmp/typed").exists(), show(user, "echo attached")))
        checks.check("who watches changes nothing", size, show(user, "stty size"))
        watcher.type("\x03")
        watcher.wait_for("detached", 60)
        checks.check("a watcher's Ctrl-C is for itself", "still", show(user, "echo still"))


def redrawn(host, checks, terminal, session, properties):
    servers = [process.inner for process in cgroup_processes(scope_of(host, properties))
               if process.name == "fake-keeper" and process.inner != int(properties["Leader"])]
    rights = [re.findall(r"^(?:Uid|Gid|CapEff|CapPrm|NoNewPrivs):\t(.*)$", host.path(f"proc/{pid}/status").read_text(), re.M)
              for pid in servers]
    nobody = "0" * 16
    checks.check("terminals are served with the user's rights",
                 [["\t".join(["5001"] * 4), "\t".join(["5001"] * 4), nobody, nobody, "1"]], rights)

    # sleep knows nothing of SIGWINCH; the colour and the place are part of what is shown
    terminal.type("clear; printf '\\033[7;20H\\033[31mdrawn o''nce\\033[m'; sleep 1000\n")  # not as the echo shows it
    terminal.wait_for("drawn once", 30)
    terminal.type("\x1c\x04")
    terminal.wait_for("detached", 30)
    show(terminal, "true")
    terminal.type(f"abeyctl attach {session}\n")
    terminal.wait_for("drawn once", 30)
    places = [(row, line.index("drawn once")) for row, line in enumerate(terminal.text().splitlines()) if "drawn once" in line]
    checks.check("attach redraws for a program that does not", [(6, 19)], places)
    terminal.type("\x03")
    terminal.settle(0.5)
    terminal.type("head -c 300000 /dev/urandom; printf '\\033c'; touch /tmp/noise\n")
    wait_until(lambda: host.path("tmp/noise").exists(), "the noise's end", 30)
    terminal.type("\x1c\x04")
    terminal.settle(1)
    # What the noise has done to her own terminal, nobody knows: another login looks.
    with Terminal.login(host, "ada") as other:
        attach(other, session)
        checks.check("any output is taken", "still here", show(other, "echo still here"))
        other.type("\x1c\x04")
        other.wait_for("detached", 30)
    terminal.close()


def worked_in(host, checks, kept, session, properties):
    with Terminal.login(host, "ada") as terminal:
        attach(terminal, session)
        terminal.type("(sleep 0.5; yes | head -n 3000000; touch /tmp/written)&\n")
        terminal.settle(0.1)
        terminal.type("\x1c\x04")
        terminal.wait_for("detached", 30)
        checks.attempt("output without a reader does not wait", "written",
                       lambda: wait_until(lambda: host.path("tmp/written").exists(), "its end", 60) and "written")
        attach(terminal, session)
        redrawn(host, checks, terminal, session, properties)
    with Terminal.login(host, "ada") as terminal:
        attach(terminal, session)
        show(terminal, "(setsid sleep 1000 &)")

        def orphan():
            for process in cgroup_processes(scope_of(host, properties)):
                if process.name == "sleep" and parent_of(host, process.inner) == int(properties["Leader"]):
                    return process.inner
            return None

        sleeper = wait_until(orphan, "the orphan", 30)
        checks.check("an orphan becomes the keeper's", int(properties["Leader"]), parent_of(host, sleeper))
        terminal.type("exit 3\n")
        terminal.wait_for("has ended", 30)
        wait_until(lambda: sessions_of(host).get(session, {}).get("State") in (None, "closing"), "the session's end", 30)
        checks.check("its shell's end ends the session", ["sleep"], shells_in(host, session))
        checks.check("the keeper ends with status 0", "0", kept.wait_end())
        checks.check("its socket is gone", [], list(host.path("run/abeyance/sessions").iterdir()))
        host.run(["kill", str(sleeper)])


def left_over(host, kept):
    sessions = [session for session in sessions_of(host) if session not in kept.before]
    keepers = [process.name for session in sessions for process in cgroup_processes(
        f"{host.cgroup}/user.slice/user-5001.slice/session-{session}.scope")]
    return keepers or [session for session in sessions if sessions_of(host).get(session, {}).get("State") == "active"]


def gone(host, kept):
    wait_until(lambda: not left_over(host, kept), "the end of the session", 30)
    sockets = list(host.path("run/abeyance/sessions").iterdir())
    return "nothing" if not sockets else f"{sockets}"


def test(host, checks):
    inside = host.path(KEEPER)
    inside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(f"{host.build}/tests/host/fake-keeper", inside)
    shell = ["env", "PS1=shell$ ", "TERM=linux", "bash", "--norc", "--noprofile", "-i"]
    kept = Kept(host, *shell)
    session, properties = kept.session()
    joined(host, checks, session, properties)
    worked_in(host, checks, kept, session, properties)
    kept.forget()

    kept = Kept(host, "fail")
    status = kept.wait_end()
    said = kept.said()
    checks.check("a failed resume says why", "status 1, the reason", (status, said.splitlines()[-1:]),
                 status == "1" and "told to fail" in said)
    checks.attempt("a failed resume leaves nothing", "nothing", lambda: gone(host, kept))
    kept.forget()
    kept = Kept(host, "crash")
    kept.wait_end()
    checks.attempt("a killed worker leaves nothing", "nothing", lambda: gone(host, kept))
    kept.forget()
    kept = Kept(host, "hang")
    wait_until(lambda: left_over(host, kept) == ["fake-keeper"] * 4, "the worker's child", 30)
    kept.forget()
    checks.attempt("a resume that is stopped leaves nothing", "nothing", lambda: gone(host, kept))
    kept = Kept(host, *shell)
    kept.session()
    kept.forget()
    checks.attempt("stopping the unit ends the session", "nothing", lambda: gone(host, kept))
    kept = Kept(host, *shell)
    session, properties = kept.session()
    host.run(["loginctl", "terminate-session", session], check=True)
    checks.attempt("loginctl ends the session, and the keeper with status 0", "0 nothing",
                   lambda: kept.wait_end() + " " + gone(host, kept))
    kept.forget()
    kept = Kept(host, *shell)
    session, properties = kept.session()
    host.run(["kill", "-KILL", properties["Leader"]], check=True)
    checks.attempt("a killed keeper leaves no session", [],
                   lambda: wait_until(lambda: not left_over(host, kept), "the end of the session", 30) and [])
    kept.forget()
    kept = Kept(host, *shell)
    session, properties = kept.session()
    checks.check("the next one removes its socket", [f"{session}.sock"],
                 [path.name for path in host.path("run/abeyance/sessions").iterdir()])
    kept.forget()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                test(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"keeper: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
