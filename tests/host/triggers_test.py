#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service does by itself on a test host: real logind (sleep, lock, idleness), real timers, real delay inhibitors; and
retention, pins, limits and the list of objects on the bus. Two users. The worker is a stand-in."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time

from adas_session import sessions_of, wait_until
from checks import StepFailed
from service_test import HERE, MANAGER, Service, count, finished, main_of, session_of
from terminal import Terminal

PLAN = [
    "inhibitors are held", "sleep makes a checkpoint of each session", "the sessions ran on", "the inhibitors are held again",
    "a second sleep makes new ones", "retention keeps the youngest", "a forged signal does nothing", "started in the middle of a pair it does nothing",
    "what does not fit in the time is canceled", "and its terminal is told", "the sleep came all the same", "first ones come first",
    "who has all of his own wait keeps nobody from being checkpointed", "and waits for a part of the time only",
    "a section is for its user only", "a session's section is for its terminal only", "policy show tells what holds for a user",
    "a lock suspends when the policy says so", "a second lock does nothing", "a policy that is read all the time puts nothing off", "who cancels what a trigger began is told no other reason", "an idle session is checkpointed once",
    "a low battery makes a checkpoint of each session", "told again it makes no more", "charged and low again it does", "it is low already when the service starts",
    "the timer's service checkpoints a user's sessions", "the timer runs", "of a session it is for that one only", "nobody's is a failure", "prune's timer is on",
    "a section for a large group holds", "a dry run removes nothing", "a dry run tells what a pin keeps", "list marks it", "prune removes what it told", "a pinned one is not removed", "bob may not pin hers", "bob prunes his own only", "what is not hers makes no room for ada",
    "the bus lists objects: ada's to ada", "the bus lists objects: none to bob", "a pin is told to those who listen",
    "more than there may be jobs are removed, one after the other",
    "a list is not counted", "nor does a quick one start a job", "nobody may start jobs without end", "the policy's mistakes are on the bus",
    "never tells nothing at the login", "ask tells at the login what waits", "the daemon never died",
    "what a shutdown cannot wait for gives way to it", "it was told why", "what it has to wait for is told",
]


class Watched(Service):
    def policy(self, text):
        path = self.host.path("etc/abeyance/policy.toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def checkpoints(self):
        return [one for one in json.loads(self.ctl("list", "--json").stdout)]

    def property(self, identifier, name):
        listed = json.loads(self.host.run(["busctl", "--json=short", "call", *MANAGER, "ListCheckpoints"], check=True).stdout)
        path = next(one[-1] for one in listed["data"][0] if one[0] == identifier)
        shown = self.host.run(["busctl", "--json=short", "get-property", "org.abeyance1", path, "org.abeyance1.Checkpoint", name],
                              check=True).stdout
        return json.loads(shown)["data"]

    def clear(self):
        for one in self.checkpoints():
            self.ctl("pin", "--off", one["id"])
            self.ctl("remove", one["id"])

    def idle(self):
        wait_until(lambda: self.jobs() == "a(osuss) 0", "the end of all jobs", 30)

    def inhibitors(self):
        shown = self.host.run(["systemd-inhibit", "--list", "--no-legend"]).stdout
        return sorted(re.findall(r"Abeyance +0 .* (sleep|shutdown) ", shown))

    def sleep(self):
        """To sleep and awake again, as logind does it."""
        count = self.host.run(["journalctl", "-b", "-o", "cat", "-u", "systemd-suspend"]).stdout.count("Finished")
        self.host.run(["busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                       "Suspend", "b", "false"], check=True)
        wait_until(lambda: self.host.run(["journalctl", "-b", "-o", "cat", "-u", "systemd-suspend"]).stdout.count("Finished") > count,
                   "the end of the sleep", 60, 0.2)


def suspended(host):
    """The sessions for which suspends were begun, in that order."""
    said = host.run(["journalctl", "-b", "-o", "cat", "-u", "abeyd"]).stdout
    return re.findall(r"suspend of session (\w+) for user", said)


def suspends(host):
    return len(suspended(host))


def sleeps(service, ada, bob, terminal):
    checks = service.checks
    held = ["shutdown", "sleep"]
    checks.attempt("inhibitors are held", held, lambda: wait_until(lambda: service.inhibitors() == held and held, "inhibitors", 20))
    service.sleep()
    made = service.checkpoints()
    checks.check("sleep makes a checkpoint of each session", sorted([(ada, "sleep", True), (bob, "sleep", True)]), sorted(
        (one["session"], service.property(one["id"], "Trigger"), service.property(one["id"], "KeptRunning")) for one in made))
    checks.check("the sessions ran on", (ada, bob), (session_of(service.host, "ada"), session_of(service.host, "bob")))
    checks.attempt("the inhibitors are held again", held, lambda: wait_until(lambda: service.inhibitors() == held and held, "inhibitors", 20))
    before = {one["id"] for one in made}
    service.sleep()
    now = {one["id"] for one in service.checkpoints()}
    checks.check("a second sleep makes new ones", (2, 2), (len(before & now), len(now - before)))
    service.policy("[retention]\ncheckpoints = 1\n")
    service.sleep()
    checks.attempt("retention keeps the youngest", "one for each", lambda: wait_until(
        lambda: len(left := service.checkpoints()) == 2 and not now & {one["id"] for one in left} and "one for each", "removal", 20))
    service.policy("")
    count = suspends(service.host)
    for member, value in (("PrepareForSleep", "true"), ("PrepareForShutdown", "true")):
        service.host.run(["busctl", "emit", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", member, "b", value], check=True)
        # To the service alone: that no match of its own lets through, nor does the bus
        service.host.run(["dbus-send", "--system", "--type=signal", "--dest=org.abeyance1", "/org/freedesktop/login1",
                          f"org.freedesktop.login1.Manager.{member}", f"boolean:{value}"], user="bob")
    service.ctl("list")  # answered after the signals were taken
    checks.check("a forged signal does nothing", count, suspends(service.host))
    service.host.run(["systemctl", "restart", "abeyd"], check=True)  # in the middle of a pair, as far as it can know
    checks.attempt("started in the middle of a pair it does nothing", [held, count], lambda: [
        wait_until(lambda: service.inhibitors() == held and held, "inhibitors", 20), suspends(service.host)])

    service.clear()
    service.policy('[triggers]\nfirst = ["nobody", "bob"]\n')
    service.mode("slow")
    service.sleep()
    service.idle()
    checks.check("what does not fit in the time is canceled", [], service.checkpoints())
    checks.attempt("and its terminal is told", "told", lambda: wait_until(
        lambda: "the time was too short" in terminal.text().replace("\n", "") and "told", "a message", 10))
    service.mode("done")
    checks.check("the sleep came all the same", ada, session_of(service.host, "ada"))
    order = suspended(service.host)[-2:]
    checks.check("first ones come first", [bob, ada], order)
    service.idle()
    inhibited(service, ada)


HOLDS = ("import dbus, sys; bus = dbus.SystemBus(); manager = dbus.Interface(bus.get_object('org.abeyance1', '/org/abeyance1'), "
         "'org.abeyance1.Manager'); held = manager.Inhibit('', 'bob', 'because'); print('held', flush=True); sys.stdin.read()")


def inhibited(service, ada):
    """Bob's sessions come first and are more than are worked on at a time; none of them lets go."""
    checks, host = service.checks, service.host
    service.policy('[triggers]\nfirst = ["bob"]\n')
    with contextlib.ExitStack() as more:
        for _ in range(2):
            more.enter_context(Terminal.login(host, "bob"))
        holder = subprocess.Popen(host.command(["/usr/bin/python3", "-c", HOLDS], user="bob"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, preexec_fn=host.enter)
        holder.stdout.readline()
        service.clear()
        service.sleep()
        service.idle()
        made = [one["session"] for one in service.checkpoints()]
        checks.check("who has all of his own wait keeps nobody from being checkpointed", "ada's is there", made, ada in made)
        checks.check("and waits for a part of the time only", "two of bob's at least", made, len(made) >= 3)
        holder.stdin.close()
        holder.wait(20)
    wait_until(lambda: len(sessions_of(host, "bob")) == 1, "the end of his other sessions", 30)
    service.clear()
    service.policy("")


def sections(service, ada, bob):
    """Of two users who are logged in at once."""
    checks, host = service.checks, service.host
    service.clear()
    service.policy('[triggers]\non-sleep = "nothing"\n[[user]]\nnames = ["ad*"]\ntriggers.on-sleep = "checkpoint"\n')
    service.sleep()
    service.idle()
    checks.check("a section is for its user only", [ada], [one["session"] for one in service.checkpoints()])
    service.clear()
    tty = host.run(["loginctl", "show-session", "--property=TTY", "--value", bob], check=True).stdout.strip()
    service.policy(f'[[user]]\nnames = ["ada", "bob"]\ntriggers.on-sleep = "nothing"\n[[session]]\nttys = "{tty}"\ntriggers.on-sleep = "checkpoint"\n')
    service.sleep()
    service.idle()
    checks.check("a session's section is for its terminal only", [bob], [one["session"] for one in service.checkpoints()])
    shown = [json.loads(service.ctl("policy", "show", "--json", *more).stdout)["triggers"]["on-sleep"]
             for more in ([], ["--user", "ada"], ["--user", "bob", "--tty", tty])]
    checks.check("policy show tells what holds for a user", ["checkpoint", "nothing", "checkpoint"], shown)
    service.policy("")


FLOODS = ("import dbus, time; manager = dbus.Interface(dbus.SystemBus().get_object('org.abeyance1', '/org/abeyance1'), 'org.abeyance1.Manager'); "
          "end = time.monotonic() + 25\nwhile time.monotonic() < end: manager.ReloadPolicy(); time.sleep(0.05)")


def locks(service, ada, bob, his):
    checks, host = service.checks, service.host
    service.policy('[triggers]\non-lock = "suspend"\n')
    service.clear()
    count = suspends(host)
    for _ in range(2):
        host.run(["loginctl", "lock-session", ada], check=True)
    made = wait_until(service.checkpoints, "a checkpoint", 20)
    service.idle()
    checks.check("a lock suspends when the policy says so", (ada, "lock", False), (
        made[0]["session"], service.property(made[0]["id"], "Trigger"), service.property(made[0]["id"], "KeptRunning")))
    checks.check("a second lock does nothing", count + 1, suspends(host))
    service.mode("slow")
    host.run(["loginctl", "lock-session", bob], check=True)
    path = service.job_running()
    his.type("clear\n")
    service.busctl("org.abeyance1", path, "org.abeyance1.Job", "Cancel", user="bob")
    service.idle()
    service.mode("done")
    checks.attempt("who cancels what a trigger began is told no other reason", "canceled", lambda: wait_until(
        lambda: (told := re.search(r"was not suspended: (.*?) *$", his.text(), re.MULTILINE)) and told[1], "a message", 20))

    service.clear()
    service.policy('[triggers]\non-idle = "checkpoint"\nidle-after = "2 s"\n')
    host.run(["systemctl", "restart", "abeyd"], check=True)
    # Whoever has the policy read again and again does not put the look off
    flood = subprocess.Popen(host.command(["/usr/bin/python3", "-c", FLOODS]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             preexec_fn=host.enter)
    try:
        checks.attempt("a policy that is read all the time puts nothing off", "a checkpoint",
                       lambda: wait_until(service.checkpoints, "checkpoints of idle sessions", 20, 0.5) and "a checkpoint")
    finally:
        flood.kill()
        flood.wait(20)
    time.sleep(4)  # two looks more
    service.idle()
    per_session = [one["session"] for one in service.checkpoints()]
    checks.check("an idle session is checkpointed once", "each once", per_session, per_session and len(set(per_session)) == len(per_session))
    service.policy("")
    host.run(["systemctl", "restart", "abeyd"], check=True)


def batteries(service, ada, bob):
    """With a stand-in for UPower on the host's own bus."""
    checks, host = service.checks, service.host
    service.clear()
    host.path("etc/dbus-1/system.d/stand-in-upower.conf").write_text(
        '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" '
        '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n<busconfig><policy user="root"><allow own="org.freedesktop.UPower"/>'
        '</policy><policy context="default"><allow send_destination="org.freedesktop.UPower"/></policy></busconfig>\n')
    host.run(["systemctl", "reload", "dbus"], check=True)
    script = host.path("usr/local/lib/stand_in_upower.py")
    script.write_bytes((HERE / "stand_in_upower.py").read_bytes())
    upower = subprocess.Popen(host.command(["/usr/bin/python3", "/usr/local/lib/stand_in_upower.py", "1"]), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, bufsize=1, preexec_fn=host.enter)
    try:
        if upower.stdout.readline() != "ready\n":
            raise StepFailed("the stand-in for UPower does not start")
        made = sorted([(ada, "battery", True), (bob, "battery", True)])

        def sessions(count):
            service.idle()
            found = service.checkpoints()
            return len(found) == count and sorted((one["session"], service.property(one["id"], "Trigger"), service.property(one["id"], "KeptRunning"))
                                                  for one in found)

        upower.stdin.write("3 3\n")
        checks.attempt("a low battery makes a checkpoint of each session", made, lambda: wait_until(lambda: sessions(2), "its checkpoints", 30))
        upower.stdin.write("4 2\n")
        time.sleep(1)
        service.ctl("list")  # answered after the signals were taken
        checks.check("told again it makes no more", made, sessions(2))
        upower.stdin.write("1 1\n")
        upower.stdin.write("5 1\n")
        checks.attempt("charged and low again it does", sorted(made * 2), lambda: wait_until(lambda: sessions(4), "its checkpoints", 30))
        service.clear()
        host.run(["systemctl", "restart", "abeyd"], check=True)
        checks.attempt("it is low already when the service starts", made, lambda: wait_until(lambda: sessions(2), "its checkpoints", 30))
    finally:
        upower.stdin.close()
        upower.wait(20)


def timers(service, ada):
    checks, host = service.checks, service.host
    service.clear()
    more = Terminal.login(host, "ada")
    try:
        wait_until(lambda: len(sessions_of(host, "ada")) == 2, "a second session of hers", 20)
        started = host.run(["systemctl", "start", f"abeyance-checkpoint@session-{ada}.service"])
        checks.check("of a session it is for that one only", (0, [ada]), (started.returncode, [one["session"] for one in service.checkpoints()]))
    finally:
        more.close()
    wait_until(lambda: len(sessions_of(host, "ada")) == 1, "the end of her second session", 20)
    said = [service.ctl("checkpoint", whose) for whose in ("nosuchuser", "session-9999")]
    checks.check("nobody's is a failure", "no such user, no such session", [f"{one.returncode} {one.stderr.strip()}" for one in said],
                 [one.returncode for one in said] == [1, 1] and "there is no user nosuchuser" in said[0].stderr and "no such session" in said[1].stderr)
    service.clear()
    host.run(["systemctl", "start", "abeyance-checkpoint@ada.service"], check=True)
    made = service.checkpoints()
    checks.check("the timer's service checkpoints a user's sessions", [(ada, "timer")],
                 [(one["session"], service.property(one["id"], "Trigger")) for one in made])
    folder = host.path("run/systemd/system/abeyance-checkpoint@ada.timer.d")
    folder.mkdir(parents=True)
    (folder / "now.conf").write_text("[Timer]\nOnCalendar=\nRandomizedDelaySec=0\nOnActiveSec=1s\nAccuracySec=1ms\n")
    host.run(["systemctl", "daemon-reload"], check=True)
    host.run(["systemctl", "start", "abeyance-checkpoint@ada.timer"], check=True)
    checks.attempt("the timer runs", 2, lambda: wait_until(lambda: len(service.checkpoints()) == 2 and 2, "its checkpoint", 30))
    host.run(["systemctl", "stop", "abeyance-checkpoint@ada.timer"], check=True)
    checks.check("prune's timer is on", "active", host.run(["systemctl", "is-active", "abeyance-prune.timer"]).stdout.strip())


def short_of_room(service):
    """bob's are older, and larger than what is missing."""
    checks, host = service.checks, service.host
    mine = sorted(one["id"] for one in service.checkpoints())
    service.make_checkpoint("his", uid=5002)
    about = host.path("var/lib/abeyance/his/about.json")
    about.write_text(json.dumps({**json.loads(about.read_text()), "kept_running": True}))
    with open(host.path("var/lib/abeyance/his/image/large"), "wb") as large:
        os.posix_fallocate(large.fileno(), 0, 512 << 20)
    free = os.statvfs(host.path("var/lib/abeyance"))
    service.policy(f"[retention]\nmin-free = \"{(free.f_bavail * free.f_frsize >> 20) + 256} MiB\"\n")
    told = json.loads(service.ctl("prune", "--dry-run", "--json", user="ada").stdout)
    checks.check("what is not hers makes no room for ada", mine, sorted(one["id"] for one in told if "are free" in one["reason"]))
    service.policy("")
    service.ctl("remove", "his")


def retention(service):
    checks = service.checks
    service.idle()
    mine = [one["id"] for one in service.checkpoints()]
    short_of_room(service)
    # A group's entry is as long as its list of members
    groups = service.host.path("etc/group")
    before = groups.read_text()
    groups.write_text(before + "crowd:x:54321:" + ",".join(["ada", *(f"member-{i:05}" for i in range(20000))]) + "\n")
    service.policy("[retention]\ncheckpoints = 0\n[[user]]\ngroups = \"crowd\"\nretention.checkpoints = 100\n")
    checks.check("a section for a large group holds", [], json.loads(service.ctl("prune", "--dry-run", "--json").stdout))
    groups.write_text(before)
    service.policy("[retention]\ncheckpoints = 0\n")
    told = service.ctl("prune", "--dry-run", "--json")
    checks.check("a dry run removes nothing", (sorted(mine), sorted(mine)),
                 (sorted(one["id"] for one in json.loads(told.stdout)), sorted(one["id"] for one in service.checkpoints())))
    kept = mine[0]
    path = service.host.run(["busctl", "--json=short", "call", *MANAGER, "ListCheckpoints"]).stdout
    path = next(one[-1] for one in json.loads(path)["data"][0] if one[0] == kept)
    listener, heard = service.listen("ada", path)
    pinned = service.ctl("pin", kept, user="ada")
    if pinned.returncode != 0:
        raise StepFailed(pinned.stderr)
    checks.attempt("a pin is told to those who listen", "told", lambda: wait_until(
        lambda: ("told" if "Pinned" in heard.read_text() else listener.poll() is not None and heard.read_text()), "a signal", 20))
    listener.kill()
    listener.wait()
    dry = service.ctl("prune", "--dry-run", user="ada").stdout
    checks.check("a dry run tells what a pin keeps", f"keeps {kept}: it is pinned", dry.splitlines()[-1])
    line = next(line for line in service.ctl("list", user="ada").stdout.splitlines() if line.startswith(kept))
    marked = [one["id"] for one in service.checkpoints() if one.get("pinned")]
    checks.check("list marks it", (True, [kept], True), (" pinned" in line, marked, "Pinned: yes" in service.ctl("show", kept).stdout))
    denied = service.ctl("remove", kept)
    checks.check("bob may not pin hers", 1, service.ctl("pin", "--off", kept, user="bob").returncode)
    checks.check("bob prunes his own only", "[]", "".join(service.ctl("prune", "--json", user="bob").stdout.split()))
    gone = [one["id"] for one in json.loads(service.ctl("prune", "--json", user="ada").stdout)]
    checks.attempt("prune removes what it told", [kept], lambda: wait_until(
        lambda: [one["id"] for one in service.checkpoints()] == [kept] and sorted(gone) == sorted(mine[1:]) and [kept], "removal", 20))
    checks.check("a pinned one is not removed", (1, "is pinned"), (denied.returncode, "is pinned" if "is pinned" in denied.stderr else denied.stderr))
    for number in range(70):
        service.make_checkpoint(f"many-{number}")
    service.policy('[retention]\nsuspended-max-age = "1 days"\n')
    told = len(json.loads(service.ctl("prune", "--json").stdout))
    checks.attempt("more than there may be jobs are removed, one after the other", [70, kept], lambda: [told, wait_until(
        lambda: [one["id"] for one in service.checkpoints()] == [kept] and kept, "removal", 120)])
    service.policy("")

    def objects(user):
        shown = service.host.run(["busctl", "--json=short", "call", "org.abeyance1", "/org/abeyance1",
                                  "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"], user=user, check=True).stdout
        found = json.loads(shown)["data"][0]
        return [one["org.abeyance1.Checkpoint"]["Id"]["data"] for one in found.values() if "org.abeyance1.Checkpoint" in one]

    checks.check("the bus lists objects: ada's to ada", [kept], objects("ada"))
    checks.check("the bus lists objects: none to bob", [], objects("bob"))


def limits(service, ada):
    checks = service.checks
    service.policy("[limits]\njobs-per-minute = 2\n")
    service.make_checkpoint("measured")
    service.mode("done")
    for _ in range(3):
        service.ctl("list", user="ada")
    counted = service.ctl("check", ada, user="ada")
    checks.check("a list is not counted", (0, ""), (counted.returncode, counted.stderr))
    before = count(service)
    listed = service.ctl("list", "--quick", "--no-legend", user="ada")
    checks.check("nor does a quick one start a job", ("measured", before), (listed.stdout.split(" ")[0], count(service)))
    service.ctl("remove", "measured")
    said = [service.ctl("check", ada, user="ada").stderr.strip() for _ in range(8)]
    checks.check("nobody may start jobs without end", "a refusal", said[-1], "more than 2 jobs a minute" in said[-1] and not said[0])
    service.policy("[triggers]\non-slep = 1\n")
    shown = service.host.run(["busctl", "get-property", "org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager", "PolicyProblem"]).stdout
    checks.check("the policy's mistakes are on the bus", "file, line, key", shown,
                 "policy.toml:2:1" in shown and "did you mean" in shown and "on-sleep" in shown)


def asks(service):
    checks, host = service.checks, service.host
    service.clear()
    service.make_checkpoint("waits")
    service.policy('[resume]\non-login = "never"\n')
    before = set(sessions_of(host))
    with Terminal.login(host, "ada") as terminal:
        service.ctl("list")  # answered after the login was seen
        terminal.type("clear; echo do''ne\n")
        terminal.wait_for("^done$", 20)
        checks.check("never tells nothing at the login", (False, "a(osuss) 0", ["waits"]), (
            "waits as" in terminal.raw.decode(errors="replace"), service.jobs(), [one["id"] for one in service.checkpoints()]))
    wait_until(lambda: set(sessions_of(host)) <= before, "the end of that login", 20)
    service.policy('[resume]\non-login = "ask"\n')
    count = suspends(host)
    terminal = Terminal.login(host, "ada")
    checks.attempt("ask tells at the login what waits", ["told", count], lambda: [
        wait_until(lambda: "waits as checkpoint waits" in terminal.text().replace("\n", "") and "told", "a message", 20),
        suspends(host)])
    terminal.close()


def shutdowns(service, ada, terminal):
    """logind begins them as ever, and systemd refuses them then."""
    checks, host = service.checks, service.host
    folder = host.path("run/systemd/system/poweroff.target.d")
    folder.mkdir(parents=True)
    (folder / "refused.conf").write_text("[Unit]\nRefuseManualStart=yes\n")
    host.run(["systemctl", "daemon-reload"], check=True)

    def shut_down():
        wait_until(lambda: service.inhibitors() == ["shutdown", "sleep"], "inhibitors", 20)
        host.run(["busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PowerOff", "b", "false"],
                 check=True)

    service.clear()
    service.policy('[triggers]\nfirst = ["ada"]\n[[user]]\nnames = "bob"\ntriggers.on-shutdown = "nothing"\n')
    service.mode("slow insurances")
    client = service.in_background("suspend", "--keep-running", ada)
    service.job_running()
    shut_down()
    made = wait_until(service.checkpoints, "a checkpoint", 20)
    service.idle()
    checks.check("what a shutdown cannot wait for gives way to it", [(ada, "shutdown", False)], [
        (one["session"], service.property(one["id"], "Trigger"), service.property(one["id"], "KeptRunning")) for one in made])
    said = finished(client).stderr
    checks.check("it was told why", "made way", said, "it made way for another (shutdown)" in said)
    service.clear()
    service.mode("slow")
    client = service.in_background("suspend", ada)
    service.job_running()
    terminal.type("clear\n")
    shut_down()
    checks.attempt("what it has to wait for is told", "told", lambda: wait_until(
        lambda: "before the shutdown: another job" in terminal.text().replace("\n", "") and "told", "a message", 20))
    service.mode("done")
    finished(client)


class Listener(Watched):
    def listen(self, user, path):
        """A client that asks for the objects once, then prints what it is told."""
        script = ("import sys; import dbus, dbus.mainloop.glib; from gi.repository import GLib; "
                  "dbus.mainloop.glib.DBusGMainLoop(set_as_default=True); bus = dbus.SystemBus(); "
                  "bus.add_signal_receiver(lambda *a: print('heard', a, flush=True), 'PropertiesChanged', "
                  f"'org.freedesktop.DBus.Properties', path='{path}'); "
                  "manager = dbus.Interface(bus.get_object('org.abeyance1', '/org/abeyance1'), 'org.freedesktop.DBus.ObjectManager'); "
                  "print('objects', len(manager.GetManagedObjects()), flush=True); GLib.MainLoop().run()")
        heard = self.host.path("run/heard")
        with open(heard, "w", encoding="utf-8") as output:
            process = subprocess.Popen(self.host.command(["/usr/bin/python3", "-c", script], user=user), stdout=output,
                                       stderr=output, stdin=subprocess.DEVNULL, preexec_fn=self.host.enter)
        wait_until(lambda: "objects" in heard.read_text() or process.poll() is not None, "the listener", 20)
        return process, heard


def run(host, checks):
    service = Listener(host, checks)
    service.prepare()
    service.policy("")
    terminal = Terminal.login(host, "ada")
    other = Terminal.login(host, "bob")
    ada, bob = session_of(host, "ada"), session_of(host, "bob")
    try:
        sleeps(service, ada, bob, terminal)
        sections(service, ada, bob)
        locks(service, ada, bob, other)
        batteries(service, ada, bob)
        timers(service, ada)
        retention(service)
        limits(service, ada)
        asks(service)
        shutdowns(service, ada, terminal)
    finally:
        terminal.close()
        other.close()
    restarts = host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip()
    checks.check("the daemon never died", "0", restarts)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
