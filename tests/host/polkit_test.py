#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may have what done, as the real polkit on a test host decides it: own and other people's things, rules of the
administrator's, passwords on the terminal, no polkit at all. The worker is a stand-in."""

import contextlib
import json
import re
import subprocess
import sys
import termios
import xml.etree.ElementTree

from adas_session import sessions_of, wait_until
from checks import first_line
from service_test import CHECKPOINT, MANAGER, Service, main_of, session_of
from terminal import Terminal

PLAN = [
    "polkit knows the actions", "actions are the documented ones", "ada may do as she likes with her own",
    "bob may not with hers", "a password would help, says the error", "root is never asked about", "nobody but an administrator has the policy read again", "a rule lets bob have it read",
    "to check is not to explain, nor to compare",
    "a rule lets bob examine her session", "and nothing else", "a rule takes her own from ada", "rules can be taken back",
    "bob cannot cancel her job", "a rule lets bob cancel it",
    "abeyctl asks for the administrator's password", "a wrong one is refused", "others are served meanwhile",
    "the right one is taken", "the terminal is as it was",
    "ada attaches without being asked about", "bob may not attach to her session", "a session without a keeper is told",
    "a rule lets bob attach", "he types in her shell", "to watch is to attach", "root attaches: polkit would say yes, whatever the rules say",
    "the journal tells who", "nobody is shown the terminal that they sit at",
    "while polkit stands still, others are served", "no more than a few questions for each user", "and then all is answered",
    "at the seat: a rule for such, a password once", "at the seat, but away: no rule, a password each time", "from afar: the same",
    "without polkit: ada may with her own", "without polkit: bob may not with hers", "without polkit: root may",
    "the daemon never died",
]
VERBS = ["suspend", "resume", "check", "explain", "diff", "remove", "cancel", "pin"]
RULE = "etc/polkit-1/rules.d/10-test.rules"
# One program that asks twice: what polkit keeps after a password, it keeps for the process that asked (polkit(8), auth_admin_keep).
ASKS = "usr/local/lib/asks.py"
ASKS_TWICE = """
import os, subprocess, sys
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
there, here = os.pipe()
agent = subprocess.Popen(["pkttyagent", "--process", str(os.getpid()), "--notify-fd", str(here)], pass_fds=[here])
os.close(here)
os.read(there, 1)  # closed when the agent is known to polkit
for _ in range(2):
    try:
        bus.call_sync("org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager", "CheckSession", GLib.Variant("(s)", [sys.argv[1]]),
                      None, Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, -1, None)
        print("allowed")
    except GLib.Error as error:
        print("refused:", error.message)
agent.terminate()
print("that", "was", "all")
"""


class Polkit(Service):
    def error_of(self, *arguments, user=None, interactive=True, target=tuple(MANAGER)):
        """The name of the error that a call is answered with, "" for none."""
        flags = ["--timeout=30", f"--allow-interactive-authorization={'yes' if interactive else 'no'}"]
        result = self.host.run(["busctl", *flags, "call", *target, *arguments], user=user, env={"SYSTEMD_LOG_LEVEL": "debug"})
        if result.returncode == 0:
            return ""
        # busctl shows the text only, and the names to those who debug
        names = re.findall(r"type=error [^\n]*error-name=(\S+)", result.stderr)
        return names[-1].rpartition(".")[2] if names else first_line(result.stderr)

    def rule(self, script):
        """The administrator's rule, in force when this returns."""
        path = self.host.path(RULE)
        path.parent.mkdir(parents=True, exist_ok=True)
        if script:
            path.write_text(f"polkit.addRule(function(action, subject) {{ {script} }});\n")
        else:
            path.unlink(missing_ok=True)
        self.host.run(["systemctl", "reset-failed", "polkit"])  # it may be started only so often
        self.host.run(["systemctl", "restart", "polkit"], check=True)

    def may(self, verb, user, ada):
        """The name of the error, for a call that can be made again and again."""
        call = {"check": ["CheckSession", "s", ada], "suspend": ["SuspendSession", "sa{sv}", ada, "0"],
                "resume": ["ResumeCheckpoint", "sa{sv}", CHECKPOINT, "0"], "remove": ["RemoveCheckpoint", "s", CHECKPOINT]}
        return self.error_of(*call[verb], user=user)


def actions(service):
    known = {line.strip() for line in service.host.run(["pkaction"], check=True).stdout.splitlines()}
    expected = {f"org.abeyance1.{verb}-{whose}" for verb in VERBS for whose in ("own", "other")} | {
        "org.abeyance1.prune-own", "org.abeyance1.run-own", "org.abeyance1.attach-other", "org.abeyance1.reload-policy"}
    service.checks.check("polkit knows the actions", set(), expected - known)
    shown = xml.etree.ElementTree.parse(service.host.path("usr/share/polkit-1/actions/org.abeyance1.policy")).getroot()
    defaults = {action.get("id").removeprefix("org.abeyance1."): tuple(node.text for node in action.find("defaults"))
                for action in shown.iter("action")}
    want = {f"{verb}-{whose}": ("yes",) * 3 if whose == "own" else ("auth_admin", "auth_admin", "auth_admin_keep")
            for verb in VERBS for whose in ("own", "other")} | {
                "prune-own": ("yes",) * 3, "run-own": ("yes",) * 3, **dict.fromkeys(("attach-other", "reload-policy"), ("auth_admin", "auth_admin", "auth_admin_keep"))}
    service.checks.check("actions are the documented ones", [], sorted(set(want.items()) ^ set(defaults.items())))


def defaults(service, ada):
    checks = service.checks
    checks.check("ada may do as she likes with her own", ["", "", ""],
                 [service.may(verb, "ada", ada) for verb in ("check", "suspend", "remove")])
    wait_until(lambda: service.jobs() == "a(osuss) 0", "the end of her job", 20)
    if not service.exists():
        service.make_checkpoint()
    checks.check("bob may not with hers", ["AccessDenied"] * 4,
                 [service.may(verb, "bob", ada) for verb in ("check", "suspend", "resume", "remove")])
    checks.check("a password would help, says the error", "InteractiveAuthorizationRequired",
                 service.error_of("CheckSession", "s", ada, user="bob", interactive=False))


def rules(service, ada):
    checks = service.checks
    service.mode("done")
    service.rule('if (action.id == "org.abeyance1.check-other" && subject.user == "bob") return polkit.Result.YES;')
    checks.check("a rule lets bob examine her session", "", service.may("check", "bob", ada))
    checks.check("to check is not to explain, nor to compare", ["AccessDenied"] * 2, [
        service.error_of("ExplainSession", "s", ada, user="bob"), service.error_of("DiffCheckpoint", "s", CHECKPOINT, user="bob")])
    checks.check("and nothing else", ["AccessDenied"] * 3, [service.may(verb, "bob", ada) for verb in ("suspend", "resume", "remove")])
    checks.check("nobody but an administrator has the policy read again", ["AccessDenied", "InteractiveAuthorizationRequired", ""], [
        service.error_of("ReloadPolicy", user="ada"), service.error_of("ReloadPolicy", user="ada", interactive=False), service.error_of("ReloadPolicy")])
    service.rule('if (action.id == "org.abeyance1.reload-policy" && subject.user == "bob") return polkit.Result.YES;')
    checks.check("a rule lets bob have it read", "", service.error_of("ReloadPolicy", user="bob"))
    service.rule('if (action.id.indexOf("org.abeyance1.") == 0) return polkit.Result.NO;')
    checks.check("a rule takes her own from ada", "AccessDenied", service.may("check", "ada", ada))
    checks.check("root is never asked about", "", service.may("check", None, ada))
    service.rule("")
    checks.check("rules can be taken back", ("", "AccessDenied"), (service.may("check", "ada", ada), service.may("check", "bob", ada)))

    service.mode("slow")
    client = service.in_background("suspend", ada)
    job = ["org.abeyance1", service.job_running(), "org.abeyance1.Job"]
    checks.check("bob cannot cancel her job", "AccessDenied", service.error_of("Cancel", user="bob", target=job))
    service.rule('if (action.id == "org.abeyance1.cancel-other") return polkit.Result.YES;')
    checks.check("a rule lets bob cancel it", ("", 1), (service.error_of("Cancel", user="bob", target=job), client.wait(20)))
    service.mode("done")
    service.rule("")


def type_password(terminal, word):
    """Once nothing is echoed any more: what was typed before that, polkit's agent throws away."""
    wait_until(lambda: not termios.tcgetattr(terminal.master)[3] & termios.ECHO, "an end of the echo", 20)
    terminal.type(word + "\n")


def passwords(service, ada):
    checks = service.checks
    service.host.run(["chpasswd"], input="root:letmein\n", check=True)
    terminal = Terminal.login(service.host, "bob")
    terminal.type(f"clear; abeyctl check {ada}; echo status $?\n")
    asks = rf"Authentication is required to examine session {ada} of user ada\.[^$]*^Password: ?$"
    checks.attempt("abeyctl asks for the administrator's password", "asked", lambda: terminal.wait_for(asks, 30) and "asked")
    checks.check("others are served meanwhile", (0, ""), (service.ctl("list", user="ada").returncode, service.may("check", "ada", ada)))
    type_password(terminal, "wrong")
    checks.attempt("a wrong one is refused", "status 1", lambda: terminal.wait_for(r"^status \d+", 30).group())
    terminal.type("clear; echo cle''ared\n")
    terminal.wait_for(r"\Acleared")
    terminal.type(f"abeyctl check {ada}; echo status $?\n")
    terminal.wait_for(asks, 30)
    type_password(terminal, "letmein")
    checks.attempt("the right one is taken", "status 0", lambda: terminal.wait_for(r"^status \d+", 30).group())
    terminal.type("echo it ec''hoes\n")
    checks.attempt("the terminal is as it was", "it echoes, and what was typed", lambda: terminal.wait_for(r"echo it ec''hoes") and (
        terminal.wait_for(r"^it echoes").group(), True))
    terminal.close()


def attached(people, host, user, *arguments):
    """A terminal of the user's on which `abeyctl attach` runs."""
    return people.enter_context(Terminal(host, ["/usr/sbin/runuser", "--user", user, "--", "abeyctl", "attach", *arguments]))


def attaching(service, ada):
    """To a session of ada's that a real keeper holds; the service has nothing to do with that but to let others in."""
    checks, host = service.checks, service.host
    kept = json.loads(service.ctl("run", "--detach", "--json", "--", "env", "PS1=hers> ", "TERM=linux", "bash", "--norc", user="ada").stdout)["session"]
    no = 'if (action.id.indexOf("org.abeyance1.attach") == 0) return polkit.Result.NO;'
    service.rule(no)
    with contextlib.ExitStack() as people:
        own = attached(people, host, "ada", kept)
        own.wait_for("^hers> ?$", 30)
        checks.check("ada attaches without being asked about", "", service.error_of("AttachSession", "s", kept, user="ada"))
        denied = attached(people, host, "bob", kept)
        checks.attempt("bob may not attach to her session", ["AccessDenied", 1], lambda: [
            service.error_of("AttachSession", "s", kept, user="bob"), denied.wait_for("is not yours, or you may not attach", 30) and denied.wait_end(30)])
        checks.check("a session without a keeper is told", "Failed", service.error_of("AttachSession", "s", ada))
        service.rule('if (action.id == "org.abeyance1.attach-other" && subject.user == "bob") return polkit.Result.YES;')
        own.type("\x1c\x04")
        own.wait_end(30)
        his = attached(people, host, "bob", kept)
        checks.attempt("a rule lets bob attach", "hers>", lambda: his.wait_for("^hers>", 30).group())
        his.type("clear; echo it is $(id -un)\n")
        checks.attempt("he types in her shell", "it is ada", lambda: his.wait_for("^it is .*", 30).group())
        service.rule(no)
        watching = attached(people, host, "bob", "--watch", kept)
        checks.attempt("to watch is to attach", 1, lambda: watching.wait_for("is not yours, or you may not attach", 30) and watching.wait_end(30))
        asked = host.run(["sh", "-c", "pkcheck --action-id org.abeyance1.attach-other --process $$"])
        root = attached(people, host, "root", kept)
        checks.attempt("root attaches: polkit would say yes, whatever the rules say", [0, "hers>"],
                       lambda: [asked.returncode, root.wait_for("^hers>", 30).group()])
        his.wait_end(30)
        wait_until(lambda: "user 0 is let in" in host.run(["journalctl", "-b", "-u", "abeyd", "-o", "cat"]).stdout, "the journal", 20)
        told = re.findall(rf"session {kept} of ada: user (\d+) is let in to its terminals", host.run(["journalctl", "-b", "-u", "abeyd", "-o", "cat"]).stdout)
        checks.check("the journal tells who", ["5002", "0"], told)
        # Somebody else within her session, with no terminal to control: su starts a session of its own
        root.type(f"clear; su -c 'abeyctl attach {kept}'\n")
        root.wait_for("^Password: ?$", 30)
        root.type("letmein\n")
        checks.attempt("nobody is shown the terminal that they sit at", "you are in this session already",
                       lambda: root.wait_for("you are in this session already", 30).group())
    host.run(["loginctl", "terminate-session", kept], check=True)
    service.rule("")


def standstill(service, ada):
    """polkitd is stopped: nobody knows yet whether bob may."""
    checks, host = service.checks, service.host
    pid = host.run(["systemctl", "show", "--property=MainPID", "--value", "polkit"]).stdout.strip()
    host.run(["kill", "-STOP", pid], check=True)
    try:
        asked = [subprocess.Popen(host.command(["busctl", "--timeout=60", "call", *MANAGER, "CheckSession", "s", ada], user="bob"),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                  preexec_fn=host.enter) for _ in range(10)]
        wait_until(lambda: sum(one.poll() is not None for one in asked) >= 2, "a refusal of too many questions", 30)
        checks.check("while polkit stands still, others are served", 0, service.ctl("list", user="ada").returncode)
        early = [one for one in asked if one.poll() is not None]
        said = {first_line(one.stderr.read()) for one in early}
        checks.check("no more than a few questions for each user", "2 of 10 refused", f"{len(early)} refused: {said}",
                     len(early) == 2 and all("too many of your calls" in one for one in said))
    finally:
        host.run(["kill", "-CONT", pid], check=True)
    late = [one for one in asked if one not in early]
    checks.check("and then all is answered", [1] * 8, [one.wait(30) for one in late])


def place(service, ada, seat, options=(), away=False):
    """What polkit makes of bob, who has no other session: where logind says that he sits, may he with his own, may he by the rule, how often is he
    asked for a password, and what comes of it."""
    host = service.host
    wait_until(lambda: not sessions_of(host, "bob"), "the end of bob's other sessions", 30)
    seats = host.path("etc/environment")  # pam_env(8), which login has before pam_systemd(8)
    seats.write_text(f"XDG_SEAT={seat}\n")
    with contextlib.ExitStack() as people:
        # The host's seat has no virtual terminals: who comes last is in front
        terminals = []
        for user in ["bob", "ada"] if away else ["bob"]:
            terminals.append(people.enter_context(Terminal(host, ["login", *options, "-f", user])))
            terminals[-1].wait_for(r"[$#] ?$", 20)
        terminal = terminals[0]
        seats.unlink()

        def status_of(name, command):
            terminal.type(f"clear; {command} >/dev/null 2>&1; echo {name} $?\n")
            return int(terminal.wait_for(rf"^{name} (\d+)$", 30).group(1))

        call = "busctl --timeout=20 --allow-interactive-authorization=no call " + " ".join(MANAGER)
        terminal.type("clear; loginctl show-session $XDG_SESSION_ID -p Seat -p Active -p Remote; echo th''ere\n")
        terminal.wait_for("^there$", 20)
        sits = sorted(re.findall(r"^(?:Seat|Active|Remote)=.*", terminal.text(), re.MULTILINE))
        own, ruled = status_of("own", f"{call} CheckSession s $XDG_SESSION_ID"), status_of("ruled", f"{call} UnpinCheckpoint s {CHECKPOINT}")
        terminal.type(f"clear; /usr/bin/python3 /{ASKS} {ada}\n")
        questions = 0
        while terminal.wait_for(r"Password:\Z|^that was all", 30).group() != "that was all":
            questions += 1
            type_password(terminal, "letmein")
            terminal.wait_for(r"(?s)\A.*(COMPLETE.*){%d}(Password:\Z|that was all)" % questions, 30)
        answers = re.findall(r"^(allowed|refused.*)", terminal.text(), re.MULTILINE)
    return [sits, own, ruled, questions, answers]


def seats(service, ada):
    checks = service.checks
    if not service.exists():
        service.make_checkpoint()
    service.rule('if (action.id == "org.abeyance1.pin-other") return subject.local && subject.active ? polkit.Result.YES : polkit.Result.NO;')
    both = ["allowed"] * 2
    checks.attempt("at the seat: a rule for such, a password once", [["Active=yes", "Remote=no", "Seat=seat0"], 0, 0, 1, both],
                   lambda: place(service, ada, "seat0"))
    checks.attempt("at the seat, but away: no rule, a password each time", [["Active=no", "Remote=no", "Seat=seat0"], 0, 1, 2, both],
                   lambda: place(service, ada, "seat0", away=True))
    checks.attempt("from afar: the same", [["Active=yes", "Remote=yes", "Seat="], 0, 1, 2, both],
                   lambda: place(service, ada, "", ["-h", "far.example"]))
    service.rule("")


def absent(service, ada):
    checks = service.checks
    service.host.run(["systemctl", "mask", "--runtime", "--now", "polkit"], check=True)
    if not service.exists():
        service.make_checkpoint()
    checks.check("without polkit: bob may not with hers", ["AccessDenied"] * 4,
                 [service.may(verb, "bob", ada) for verb in ("check", "suspend", "resume", "remove")])
    checks.check("without polkit: ada may with her own", ["", ""], [service.may(verb, "ada", ada) for verb in ("check", "remove")])
    checks.check("without polkit: root may", "", service.may("check", None, ada))
    service.host.run(["systemctl", "unmask", "--runtime", "polkit"], check=True)


def run(host, checks):
    service = Polkit(host, checks)
    service.prepare()
    terminal = Terminal.login(host, "ada")
    ada = session_of(host, "ada")
    service.make_checkpoint()
    actions(service)
    defaults(service, ada)
    rules(service, ada)
    passwords(service, ada)
    attaching(service, ada)
    standstill(service, ada)
    host.path(ASKS).write_text(ASKS_TWICE)
    seats(service, ada)
    absent(service, ada)
    restarts = host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip()
    checks.check("the daemon never died", "0", restarts)
    terminal.close()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
