#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""abeyd and abeyctl on a test host: the bus interface, who may do what, the life of jobs. The worker is a stand-in
(stand_in_worker.py) that touches nothing; everything else, units included, is as installed."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

from adas_session import sessions_of, wait_until
from checks import Checks, StepFailed, first_line
from host import Host, HostError
from terminal import Terminal, TerminalError

HERE = pathlib.Path(__file__).resolve().parent
MANAGER = ["org.abeyance1", "/org/abeyance1", "org.abeyance1.Manager"]
STAND_IN = "/usr/local/lib/stand_in_worker.py"
CHECKPOINT = "20260101-120000-s1"

PLAN = [
    "introspection of the manager is the contract", "introspection of a job is the contract",
    "introspection of a checkpoint is the contract",
    "bob cannot suspend ada's session", "bob cannot check ada's session", "bob cannot resume her checkpoint",
    "bob cannot remove her checkpoint", "bob cannot read her checkpoint", "bob is shown no checkpoints",
    "bob cannot cancel her job", "the bus refuses what the policy does not name", "bob cannot take the name",
    "a session id is validated", "a checkpoint id is validated", "an unknown option is refused", "a wrong type is refused",
    "no such session has a name", "no such checkpoint has a name",
    "a failure is told in JSON, too", "check tells what it found", "check fails when something is refused", "text is fit for a terminal",
    "explain tells that there are more files than it names",
    "suspend succeeds", "its figures arrive", "the job's files are gone", "list shows it to ada", "show", "remove",
    "a failed worker's reason arrives", "a killed worker is a failed job", "progress is on the bus", "with an estimate of the time left", "the manager tells its version, and that it is busy", "and when it is not any more",
    "abeyctl lists ada's job to her", "and not to bob", "abeyctl cancels a job by its number", "one that is not there cannot be canceled",
    "a failure has a name", "a job's failure has one, too", "a mistake in the policy has one", "abeyctl waits as long as the service may take",
    "one job for each session", "a canceled job ends as such", "no canceling at the end", "sessions are suspended side by side", "a second request has an error with a name", "canceling one leaves the other",
    "the daemon is killed, the job goes on", "ada's own session waits for her to leave", "her terminal is told of a failure",
    "a login brings it back", "her terminal is told of that failure", "it is brought back once", "another login is told that it is being brought back", "one that finds no room is no attempt", "a resumed one is removed",
    "another language's client hears of it all", "a policy with a mistake is told at a reload", "a reload that finds nothing wrong",
    "cron's session brings nothing back", "leftovers are removed at the start", "a daemon that nobody has called for long knows the sessions", "units are as restricted as docs/SECURITY.md says",
    "a bus that is started again finds the service again", "a killed one does", "and its triggers",
    "abeyctl is clear when the service is not there", "no unit has failed",
]


class Service:
    def __init__(self, host, checks):
        self.host, self.checks = host, checks

    def prepare(self):
        script = self.host.path(STAND_IN.lstrip("/"))
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_bytes((HERE / "stand_in_worker.py").read_bytes())
        script.chmod(0o755)
        for kind in ("suspend", "resume", "check", "remove"):
            folder = self.host.path(f"run/systemd/system/abeyance-{kind}@.service.d")
            folder.mkdir(parents=True)
            (folder / "stand-in.conf").write_text(f"[Service]\nExecStart=\nExecStart={STAND_IN} {kind} %i\nExecStopPost=\n"
                                                  "NotifyAccess=main\n")
        self.host.run(["systemctl", "daemon-reload"], check=True)
        self.mode("done")
        self.host.path("run/fatal").write_text("")

    def mode(self, mode):
        path = self.host.path("run/stand-in")
        path.with_suffix(".new").write_text(mode)
        path.with_suffix(".new").rename(path)

    def busctl(self, *arguments, user=None):
        return self.host.run(["busctl", "--timeout=20", "call", *arguments], user=user)

    def manager(self, *arguments, user=None):
        return self.busctl(*MANAGER, *arguments, user=user)

    def ctl(self, *arguments, user=None):
        return self.host.run(["abeyctl", *arguments], user=user, timeout=60)

    def make_checkpoint(self, name=CHECKPOINT, uid=5001, created=1, manifest=True):
        place = self.host.path(f"var/lib/abeyance/{name}")
        (place / "image").mkdir(parents=True)
        (place / "about.json").write_text(json.dumps(
            {"id": name, "uid": uid, "user": "ada", "home": "/home/ada", "session": "1", "created": created}))
        if manifest:
            (place / "image/manifest").write_text("x")

    def exists(self, name=CHECKPOINT):
        return self.host.path(f"var/lib/abeyance/{name}").exists()

    def jobs(self):
        return self.manager("ListJobs").stdout.strip()

    def in_background(self, *arguments, user=None):
        return subprocess.Popen(self.host.command(["abeyctl", *arguments], user=user), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, preexec_fn=self.host.enter)

    def job_running(self):
        """Object path of the one job, once it has said how far it is."""
        def look():
            words = self.jobs().split('"')
            if len(words) < 2:
                return None
            path = words[1]
            phase = self.host.run(["busctl", "get-property", "org.abeyance1", path, "org.abeyance1.Job", "Phase"]).stdout
            return path if "freeze" in phase or "end" in phase else None
        return wait_until(look, "a running job", 10)

    # What an object is on the bus, in a form that can be compared
    @staticmethod
    def shape(node, interface):
        found = node.find(f"interface[@name='{interface}']")
        if found is None:
            return {}
        shape = {}
        for member in found:
            if member.tag not in ("method", "signal", "property"):
                continue
            arguments = [(a.get("name"), a.get("type"), a.get("direction", "in" if member.tag == "method" else None))
                         for a in member.findall("arg")]
            if member.tag == "signal":
                arguments = [(name, kind, None) for name, kind, _ in arguments]
            emits = [a.get("value") for a in member.findall("annotation") if a.get("name").endswith("EmitsChangedSignal")]
            shape[member.get("name")] = (member.tag, arguments, member.get("type"), member.get("access"), emits)
        return shape

    def compare(self, what, path, interface):
        contract = xml.etree.ElementTree.parse(self.host.path("usr/share/dbus-1/interfaces/org.abeyance1.xml")).getroot()
        seen = self.host.run(["busctl", "introspect", "--xml-interface", "org.abeyance1", path], check=True).stdout
        expected, found = self.shape(contract, interface), self.shape(xml.etree.ElementTree.fromstring(seen), interface)
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        self.checks.check(f"introspection of {what} is the contract", [], differing, not differing and expected)


def denied(result, word="ccess"):
    """Access denied, in the bus's or our own words."""
    text = result.stderr.strip()
    return text.splitlines()[-1] if text else f"status {result.returncode}", result.returncode != 0 and any(
        phrase in text for phrase in (word, "is not yours", "denied", "not allowed"))


def session_of(host, user):
    return next(iter(sessions_of(host, user)))


def refusals(service, ada, path):
    checks, manager = service.checks, service.manager
    checks.attempt("bob cannot suspend ada's session", "access denied",
                   lambda: denied(manager("SuspendSession", "sa{sv}", ada, "0", user="bob")))
    checks.attempt("bob cannot check ada's session", "access denied",
                   lambda: denied(manager("CheckSession", "s", ada, user="bob")))
    checks.attempt("bob cannot resume her checkpoint", "access denied",
                   lambda: denied(manager("ResumeCheckpoint", "sa{sv}", CHECKPOINT, "0", user="bob")))
    checks.attempt("bob cannot remove her checkpoint", "access denied",
                   lambda: denied(manager("RemoveCheckpoint", "s", CHECKPOINT, user="bob")))
    read = ["org.abeyance1", path, "org.freedesktop.DBus.Properties", "GetAll", "s", "org.abeyance1.Checkpoint"]
    if service.busctl(*read).returncode != 0 or CHECKPOINT not in service.busctl(*read, user="ada").stdout:
        raise StepFailed("root and ada cannot read her checkpoint")
    checks.attempt("bob cannot read her checkpoint", "access denied", lambda: denied(service.busctl(*read, user="bob")))
    checks.check("bob is shown no checkpoints", "a(sussttso) 0", manager("ListCheckpoints", user="bob").stdout.strip())
    checks.attempt("the bus refuses what the policy does not name", "access denied", lambda: denied(service.busctl(
        "org.abeyance1", "/org/abeyance1", "org.freedesktop.DBus.Properties", "Set", "ssv", "org.abeyance1.Manager",
        "Version", "s", "x", user="bob")))
    checks.attempt("bob cannot take the name", "access denied", lambda: denied(service.busctl(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", "org.abeyance1", "6",
        user="bob")))

    def error_of(*arguments):
        """The name of the error. busctl shows its text only, and the name to those who debug."""
        said = service.host.run(["busctl", "call", *MANAGER, *arguments], env={"SYSTEMD_LOG_LEVEL": "debug"}).stderr
        names = [word for word in said.split() if word.startswith("error-name=org.abeyance1.")]
        return names[-1].rpartition(".")[2] if names else first_line(said or "no error")

    checks.check("a session id is validated", "InvalidArgument", error_of("SuspendSession", "sa{sv}", "../1", "0"))
    checks.check("a checkpoint id is validated", "InvalidArgument", error_of("RemoveCheckpoint", "s", "../x"))
    checks.check("an unknown option is refused", "InvalidArgument", error_of("SuspendSession", "sa{sv}", ada, "1", "keep", "b", "true"))
    checks.check("a wrong type is refused", "InvalidArgument", error_of("SuspendSession", "sa{sv}", ada, "1", "keep-running", "i", "1"))
    checks.check("no such session has a name", "NoSuchSession", error_of("SuspendSession", "sa{sv}", "4711", "0"))
    checks.check("no such checkpoint has a name", "NoSuchCheckpoint", error_of("ResumeCheckpoint", "sa{sv}", "none", "0"))


def calls(service, ada):
    checks, ctl = service.checks, service.ctl
    result = ctl("remove", "none", "--json")
    checks.check("a failure is told in JSON, too", (1, False, "there is no checkpoint none"), (
        result.returncode, *(json.loads(result.stdout).get(name) for name in ("ok", "error"))))
    result = ctl("check", ada, "--json", user="ada")
    found = json.loads(result.stdout)
    checks.check("check tells what it found", (0, True, "is a socket"),
                 (result.returncode, found["ok"], found["findings"][0]["reason"]))
    service.host.path("run/fatal").write_text(ada)
    result = ctl("check", ada)
    checks.check("check fails when something is refused", 1, result.returncode)
    checks.check("text is fit for a terminal", "vi\\x07", result.stdout.partition("(")[2].partition(")")[0])
    result = ctl("explain", ada)
    checks.check("explain tells that there are more files than it names", (0, True, True),
                 (result.returncode, "and 4999 more: 1 of 5000 files had room" in result.stdout,
                  "4998 files are found again by their names; 2 are kept, which writes 2.0 KiB" in result.stdout))

    result = ctl("suspend", ada, "--json", user="ada")
    done = json.loads(result.stdout)
    checks.check("suspend succeeds", (0, "done"), (result.returncode, done.get("result")))
    checks.check("its figures arrive", {"frozen_time": 1500, "total_time": 2_000_000}, done.get("figures"))
    # the client may hear of the end a moment before
    checks.attempt("the job's files are gone", ["last"], lambda: wait_until(
        lambda: [path.name for path in service.host.path("run/abeyance/jobs").iterdir()] == ["last"] and ["last"], "their removal", 10))
    listed = json.loads(ctl("list", "--json", user="ada").stdout)
    checks.check("list shows it to ada", [CHECKPOINT, done["checkpoint"]], [one["id"] for one in listed])
    shown = ctl("show", done["checkpoint"], user="ada")
    checks.check("show", "status 0, its user", shown.stdout, shown.returncode == 0 and "ada (5001)" in shown.stdout)
    removed = ctl("remove", done["checkpoint"], user="ada")
    checks.check("remove", (0, False), (removed.returncode, service.exists(done["checkpoint"])))


def ends_with(result, status, *words):
    """For attempt(): one line of complaint that holds these words."""
    lines = result.stderr.strip().splitlines()
    return result.stderr.strip(), result.returncode == status and len(lines) == 1 and all(word in lines[0] for word in words)


def finished(client):
    client.returncode = client.wait(20)
    client.stdout, client.stderr = client.stdout.read(), client.stderr.read()
    return client


def properties(service):
    return [service.host.run(["busctl", "get-property", *MANAGER, name], user="bob").stdout.strip() for name in ("Version", "Busy")]


def jobs(service, ada):
    checks, ctl = service.checks, service.ctl
    service.mode("fail")
    checks.attempt("a failed worker's reason arrives", "one line, printable",
                   lambda: ends_with(ctl("suspend", ada), 1, "evil\\x1b[2J), descriptor 3: no"))
    service.mode("die")
    checks.attempt("a killed worker is a failed job", "status 1, signal", lambda: ends_with(ctl("suspend", ada), 1, "(signal)"))

    service.mode("slow")
    begun = time.monotonic()
    client = service.in_background("suspend", ada)
    path = service.job_running()
    percent = service.host.run(["busctl", "get-property", "org.abeyance1", path, "org.abeyance1.Job", "Percent"]).stdout
    checks.check("progress is on the bus", "u 20", percent.strip())
    left = service.host.run(["busctl", "get-property", "org.abeyance1", path, "org.abeyance1.Job", "TimeLeft"]).stdout
    longest = int((time.monotonic() - begun) * 4e6)  # a fifth is done
    checks.check("with an estimate of the time left", f"up to {longest} microseconds", left.strip(), left.startswith("t ") and 0 < int(left[2:]) <= longest)
    service.compare("a job", path, "org.abeyance1.Job")
    listed = json.loads(ctl("jobs", "--json", user="ada").stdout)
    checks.check("abeyctl lists ada's job to her", [(int(path.rpartition("/")[2]), "suspend", 5001, ada, "freeze", 20)],
                 [tuple(one[name] for name in ("job", "kind", "uid", "session", "phase", "percent")) for one in listed])
    checks.check("and not to bob", "No jobs.", ctl("jobs", user="bob").stdout.strip())
    checks.check("the manager tells its version, and that it is busy", [f's "{ctl("--version").stdout.split()[-1]}"', "b true"], properties(service))
    checks.attempt("one job for each session", "refused", lambda: ends_with(ctl("suspend", ada), 1, "is at work"))
    cancel = ["org.abeyance1", path, "org.abeyance1.Job", "Cancel"]
    checks.attempt("bob cannot cancel her job", "access denied", lambda: denied(service.busctl(*cancel, user="bob")))
    service.busctl(*cancel, user="ada")
    checks.attempt("a canceled job ends as such", "canceled", lambda: ends_with(finished(client), 1, "canceled"))
    checks.check("and when it is not any more", "b false", properties(service)[1])
    client = service.in_background("suspend", ada)
    number = service.job_running().rpartition("/")[2]
    said = ctl("cancel", number)
    checks.attempt("abeyctl cancels a job by its number", "told; canceled", lambda: (
        (said.stdout.strip(), finished(client).stderr.strip()), said.returncode == 0 and client.returncode == 1 and "canceled" in client.stderr))
    checks.attempt("one that is not there cannot be canceled", "status 1, where they are listed", lambda: ends_with(
        ctl("cancel", number), 1, f"job {number} is not canceled", "abeyctl jobs"))
    errors(service, ada)

    service.mode("end")
    client = service.in_background("suspend", ada)
    path = service.job_running()
    wait_until(lambda: "end" in service.host.run(["busctl", "get-property", "org.abeyance1", path, "org.abeyance1.Job",
                                                  "Phase"]).stdout, "its last phase", 10)
    result = service.busctl("org.abeyance1", path, "org.abeyance1.Job", "Cancel")
    service.mode("done")
    finished(client)
    checks.check("no canceling at the end", "refused, and it ends well", f"{result.stderr.strip()}, {client.returncode}",
                 "cannot be canceled any more" in result.stderr and client.returncode == 0)

    side_by_side(service, ada)

    service.mode("slow")
    client = service.in_background("suspend", ada, "--json")
    service.job_running()
    daemon = service.host.run(["systemctl", "show", "--property=MainPID", "--value", "abeyd"]).stdout.strip()
    service.host.run(["kill", "-KILL", daemon], check=True)
    wait_until(lambda: service.host.run(["systemctl", "show", "--property=MainPID", "--value", "abeyd"]).stdout.strip()
               not in (daemon, "0"), "the daemon's return", 10)
    service.job_running()
    service.mode("done")
    finished(client)
    checks.check("the daemon is killed, the job goes on", "status 0, done", client.stdout + client.stderr,
                 client.returncode == 0 and json.loads(client.stdout)["result"] == "done")


LISTENS = ("import dbus, dbus.mainloop.glib; from gi.repository import GLib; dbus.mainloop.glib.DBusGMainLoop(set_as_default=True); "
           "dbus.SystemBus().add_signal_receiver(lambda interface, changed, gone: print(changed['Error'], flush=True) if 'Error' in changed else None, "
           "'PropertiesChanged', 'org.freedesktop.DBus.Properties', arg0='org.abeyance1.Job'); print('listens', flush=True); GLib.MainLoop().run()")


def errors(service, ada):
    checks, host, ctl = service.checks, service.host, service.ctl
    service.mode("quota")

    def error_of(member, *arguments):  # libdbus's client tells the name
        said = host.run(["dbus-send", "--system", "--print-reply", "--dest=org.abeyance1", "/org/abeyance1", f"org.abeyance1.Manager.{member}",
                         *arguments]).stderr
        return said.partition(":")[0].rpartition(".")[2]

    checks.check("a failure has a name", "QuotaExceeded", error_of("CheckSession", f"string:{ada}"))
    listener = subprocess.Popen(host.command(["/usr/bin/python3", "-c", LISTENS]), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                preexec_fn=host.enter)
    listener.stdout.readline()
    ctl("suspend", ada)
    checks.check("a job's failure has one, too", "org.abeyance1.Error.QuotaExceeded", listener.stdout.readline().strip())
    listener.kill()
    listener.wait()
    policy = host.path("etc/abeyance/policy.toml")
    policy.parent.mkdir(exist_ok=True)
    policy.write_text("[triggers]\non-lok = 1\n")
    checks.check("a mistake in the policy has one", ["PolicyInvalid"] * 2, [error_of("ReloadPolicy"), error_of("ListParts", f"string:{ada}")])
    policy.write_text("")
    service.mode("slow")
    client = service.in_background("check", ada)
    time.sleep(27)  # sd-bus itself waits for 25 s
    service.mode("done")
    checks.attempt("abeyctl waits as long as the service may take", "its answer", lambda: (
        f"{finished(client).stdout}{client.stderr}".strip(), "is a socket" in client.stdout))
    service.mode("slow")


def side_by_side(service, ada):
    checks, host = service.checks, service.host
    terminal = Terminal.login(host, "bob")
    bob = session_of(host, "bob")
    service.mode("slow")
    clients = {"ada": service.in_background("suspend", ada, user="ada")}
    hers = service.job_running()
    clients["bob"] = service.in_background("suspend", bob, user="bob")

    def phases():
        paths = re.findall(r'"(/org/abeyance1/job/[^"]+)"', service.jobs())
        return sorted(host.run(["busctl", "get-property", "org.abeyance1", path, "org.abeyance1.Job", "Phase"]).stdout.strip()
                      for path in paths)
    checks.attempt("sessions are suspended side by side", ['s "freeze"'] * 2,
                   lambda: wait_until(lambda: (found := phases()) == ['s "freeze"'] * 2 and found, "two jobs at work", 60))
    # libdbus's client, which tells the name of an error
    again = host.run(["dbus-send", "--system", "--print-reply", "--dest=org.abeyance1", "/org/abeyance1",
                      "org.abeyance1.Manager.CheckSession", f"string:{bob}"], user="bob")
    checks.check("a second request has an error with a name", "org.abeyance1.Error.Busy", again.stderr.strip(),
                 again.returncode != 0 and again.stderr.startswith("Error org.abeyance1.Error.Busy: "))
    service.busctl("org.abeyance1", hers, "org.abeyance1.Job", "Cancel", user="ada")
    said = finished(clients["ada"]).stderr
    left = wait_until(lambda: (found := phases()) == ['s "freeze"'] and found, "the other job alone", 60)
    service.mode("fail")
    other = finished(clients["bob"]).stderr
    checks.check("canceling one leaves the other", "canceled; at work, with an end of its own", f"{said.strip()}; {left}, {other.strip()}",
                 "canceled" in said and "canceled" not in other and "descriptor 3: no" in other)
    terminal.close()


def count(service):
    return int(service.host.path("run/abeyance/jobs/last").read_text())


def told(terminal, words):
    """Lines that are longer than the screen is wide go on in the next one."""
    wait_until(lambda: words in terminal.text().replace("\n", ""), f"'{words}' on the terminal", 10)
    return "told"


def listen(service, user):
    """A client in Python that prints each signal of the service."""
    script = ("import dbus, dbus.mainloop.glib; from gi.repository import GLib; "
              "dbus.mainloop.glib.DBusGMainLoop(set_as_default=True); bus = dbus.SystemBus()\n"
              "def heard(*arguments, member=None):\n"
              "    words = [str(one) for one in arguments if isinstance(one, str) and not one.startswith('/')]\n"
              "    print(member, *words, flush=True)\n"
              "bus.add_signal_receiver(heard, bus_name='org.abeyance1', member_keyword='member')\n"
              "dbus.Interface(bus.get_object('org.abeyance1', '/org/abeyance1'), 'org.abeyance1.Manager').Subscribe()\n"
              "print('listening', flush=True); GLib.MainLoop().run()")
    heard = service.host.path(f"run/heard-{user}")
    with open(heard, "w", encoding="utf-8") as output:
        process = subprocess.Popen(service.host.command(["/usr/bin/python3", "-c", script], user=user), stdout=output, stderr=output,
                                   stdin=subprocess.DEVNULL, preexec_fn=service.host.enter)
    wait_until(lambda: "listening" in heard.read_text() or process.poll() is not None, "the listener", 30)
    return process, heard


def logins(service, terminal):
    """The first terminal is ada's own; the others log in anew."""
    checks, host = service.checks, service.host
    service.mode("fail")
    terminal.type("clear; abeyctl suspend\n")
    checks.attempt("ada's own session waits for her to leave", "told", lambda: told(terminal, "is being suspended"))
    checks.attempt("her terminal is told of a failure", "told", lambda: told(terminal, "was not suspended: process 7"))

    for path in host.path("var/lib/abeyance").iterdir():
        service.ctl("remove", path.name)
    if service.ctl("list").stdout != "No checkpoints.\n":
        raise StepFailed("there still are checkpoints")
    service.mode("done")
    service.make_checkpoint("waits")
    before = count(service)
    host.run(["systemd-run", "--quiet", "--wait", "-p", "User=ada", "-p", "PAMName=cron", "true"], check=True)
    checks.check("cron's session brings nothing back", (before, True), (count(service), service.exists("waits")))
    listener, heard = listen(service, "ada")
    second = Terminal.login(host, "ada")
    checks.attempt("a login brings it back", "told", lambda: told(second, "has been resumed as session 99"))
    checks.attempt("a resumed one is removed", True, lambda: wait_until(lambda: not service.exists("waits"), "removal", 10))
    second.close()
    wanted = ["JobNew resume", "SessionResumed 99 waits", "JobRemoved done", "CheckpointRemoved waits", "InterfacesRemoved"]
    checks.attempt("another language's client hears of it all", wanted, lambda: wait_until(
        lambda: [one for one in wanted if one in heard.read_text()] == wanted and wanted, "its signals: " + heard.read_text(), 20))
    listener.kill()
    listener.wait()
    policy = host.path("etc/abeyance/policy.toml")
    policy.parent.mkdir(exist_ok=True)
    policy.write_text("[triggers]\non-lok = 1\n")
    said = host.run(["systemctl", "reload", "abeyd"]), service.ctl("policy", "reload")
    checks.check("a policy with a mistake is told at a reload", "refused, with file, line and the key that may be meant",
                 f"{said[0].returncode}, {said[1].stderr.strip()}", said[0].returncode != 0 and ends_with(said[1], 1, "policy.toml:2:1", "on-lock")[1])
    policy.write_text("")
    said = host.run(["systemctl", "reload", "abeyd"]), service.ctl("policy", "reload"), service.ctl("policy", "reload", user="ada")
    checks.check("a reload that finds nothing wrong", (0, 0, 1), tuple(one.returncode for one in said))

    service.mode("slow")
    service.make_checkpoint("comes")
    first = Terminal.login(host, "ada")
    wait_until(lambda: '"resume"' in service.jobs(), "the resume", 20)
    with Terminal.login(host, "ada") as beside:
        checks.attempt("another login is told that it is being brought back", "told", lambda: told(beside, "is being resumed"))
    service.mode("fail")
    told(first, "still waits as checkpoint comes")
    first.close()
    service.ctl("remove", "comes")

    # Two of her sessions cannot be at it at once: a suspend, which holds the home, and a resume
    service.mode("slow")
    service.make_checkpoint("later")
    client = service.in_background("suspend", session_of(host, "ada"))
    service.job_running()
    with Terminal.login(host, "ada") as early:
        told(early, "(suspend) is at work there")
    service.mode("fail")
    finished(client)
    with Terminal.login(host, "ada") as late:
        checks.attempt("one that finds no room is no attempt", "process 7", lambda: told(late, "process 7") and "process 7")
    service.ctl("remove", "later")

    service.make_checkpoint("fails")
    third = Terminal.login(host, "ada")
    checks.attempt("her terminal is told of that failure", "told", lambda: told(third, "still waits as checkpoint fails"))
    third.close()
    before = count(service)
    host.run(["systemctl", "restart", "abeyd"], check=True)
    fourth = Terminal.login(host, "ada")
    checks.attempt("it is brought back once", (before, "told"),
                   lambda: (lambda said: ((count(service), said), (count(service), said) == (before, "told")))(
                       told(fourth, "could not be resumed before")))
    fourth.close()


def main_pid(host):
    return host.run(["systemctl", "show", "--property=MainPID", "--value", "abeyd"]).stdout.strip()


def back(service):
    """The bus goes, and with it all that was connected."""
    checks, host = service.checks, service.host

    def answers():
        return "there is no session none" in service.ctl("check", "none").stderr and "answers"

    for name, how in (("a bus that is started again finds the service again", ["restart"]), ("a killed one does", ["kill", "--signal=KILL"])):
        before = main_pid(host)
        host.run(["systemctl", *how, "dbus.service"], timeout=60)
        checks.attempt(name, "answers", lambda before=before: wait_until(
            lambda: main_pid(host) not in (before, "0") and answers(), "the service's return", 30))
    checks.attempt("and its triggers", ["shutdown", "sleep"], lambda: wait_until(
        lambda: (found := sorted(re.findall(r"Abeyance +0 .* (sleep|shutdown) ", host.run(["systemd-inhibit", "--list", "--no-legend"]).stdout)))
        == ["shutdown", "sleep"] and found, "inhibitors", 30))


def too_open(host):
    """Units whose exposure is not the one of the table in docs/SECURITY.md, and those that it does not have. The table is of systemd 252: others
    may say less."""
    same = " 252 " in host.run(["systemctl", "--version"]).stdout
    table = re.findall(r"^\| ((?:`[a-z@-]+`,? ?)+) \| ([0-9.]+) \|", (HERE.parents[1] / "docs/SECURITY.md").read_text(), re.MULTILINE)
    wanted = {name: float(figure) for names, figure in table for name in re.findall("`([^`]+)`", names)}
    wrong = []
    for path in sorted(host.path("usr/lib/systemd/system").glob("abey*.service")):
        name = path.name.removesuffix(".service")
        unit = f"{name}1.service" if name.endswith("@") else path.name
        said = host.run(["systemd-analyze", "security", "--no-pager", unit])
        found = re.search(r"exposure level for \S+: ([0-9.]+)", said.stdout)
        if name not in wanted or not found or float(found[1]) > wanted[name] or (same and float(found[1]) != wanted[name]):
            wrong.append((name, found[1] if found else said.stderr.strip(), wanted.get(name)))
    return wrong


def around(service):
    checks, host = service.checks, service.host
    service.make_checkpoint("left", manifest=False)
    service.make_checkpoint(".removing-gone")
    host.run(["systemctl", "restart", "abeyd"], check=True)
    checks.attempt("leftovers are removed at the start", True, lambda: wait_until(
        lambda: not service.exists("left") and not service.exists(".removing-gone") and service.exists("fails"), "removal", 10))
    checks.check("units are as restricted as docs/SECURITY.md says", [], too_open(host))
    # The bus hangs up on whoever has not introduced himself within this time (30 s by default)
    host.path("etc/dbus-1/system.d/impatient.conf").write_text(
        '<busconfig><limit name="auth_timeout">500</limit></busconfig>\n')
    host.run(["systemctl", "reload", "dbus"], check=True)
    host.run(["systemctl", "restart", "abeyd"], check=True)
    time.sleep(1.5)
    checks.attempt("a daemon that nobody has called for long knows the sessions", "there is no session none",
                   lambda: ends_with(service.ctl("check", "none"), 1, "there is no session none"))
    back(service)
    failed = host.run(["systemctl", "--failed", "--no-legend", "--plain", "list-units", "abey*"]).stdout
    checks.check("no unit has failed", "", failed)
    host.run(["systemctl", "mask", "--runtime", "--now", "abeyd"], check=True)
    checks.attempt("abeyctl is clear when the service is not there", "one line",
                   lambda: ends_with(service.ctl("list"), 1, "systemctl status abeyd"))


def run(host, checks):
    service = Service(host, checks)
    service.prepare()
    terminal = Terminal.login(host, "ada")
    ada = session_of(host, "ada")
    service.make_checkpoint()
    service.compare("the manager", "/org/abeyance1", "org.abeyance1.Manager")
    listed = json.loads(host.run(["busctl", "--json=short", "call", *MANAGER, "ListCheckpoints"], check=True).stdout)
    service.compare("a checkpoint", listed["data"][0][0][-1], "org.abeyance1.Checkpoint")
    refusals(service, ada, listed["data"][0][0][-1])
    calls(service, ada)
    jobs(service, ada)
    logins(service, terminal)
    terminal.close()
    around(service)


def main_of(description, plan, run, home="btrfs"):
    """What tests of the service have in common; run(host, checks) does the rest."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(plan, options.tap)
    try:
        with Host(build=options.build, home=home) as host:
            try:
                run(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, ValueError,
                    subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(plan) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "60", "-u", "abey*"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"service: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
