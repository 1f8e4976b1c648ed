#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Applications hear before and after a suspend, and are waited for when they hold an inhibitor. The worker is a stand-in."""

import pathlib
import subprocess
import sys
import time

from adas_session import sessions_of, wait_until
from service_test import Service, main_of
from terminal import Terminal
from worker_test import said

PLAN = ["an inhibitor needs a name", "bob cannot hold up ada's session", "the suspend waits for the application",
        "it can be canceled meanwhile", "the end of the wait is told", "released, the suspend goes on", "the application heard of both", "bob heard nothing",
        "one who dies holds nothing up", "one who does not let go is not waited for", "another session's inhibitor holds nothing up",
        "no more than 32 are held by a user", "root's holds everybody up"]

APPLICATION = """
import sys, os, dbus, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus, loop = dbus.SystemBus(), GLib.MainLoop()
manager = dbus.Interface(bus.get_object("org.abeyance1", "/org/abeyance1"), "org.abeyance1.Manager")
def on_signal(begins, session, keep_running):
    print(f"{'before' if begins else 'after'} {session} {bool(keep_running)}", flush=True)
manager.connect_to_signal("PrepareForSuspend", on_signal)
manager.Subscribe()
held = []
if sys.argv[1] != "listen":
    for _ in range(int(sys.argv[3])):
        held.append(manager.Inhibit(sys.argv[2], "editor", "saves its files").take())
print("ready", flush=True)
def on_line(source, condition):
    if not sys.stdin.readline():
        loop.quit()
        return False
    for one in held: os.close(one)
    held.clear()
    print("released", flush=True)
    return True
GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, on_line)
loop.run()
"""


class Application:
    def __init__(self, host, user, *arguments):
        path = host.path("usr/local/lib/application.py")
        path.write_text(APPLICATION)
        self.log = pathlib.Path(host.path(f"run/application-{time.monotonic_ns()}"))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                host.command(["/usr/bin/python3", "/usr/local/lib/application.py", *arguments], user=user), stdin=subprocess.PIPE,
                stdout=log, stderr=log, text=True, preexec_fn=host.enter)
        wait_until(lambda: "ready" in self.heard() or self.process.poll() is not None, "the application", 20)

    def heard(self):
        return self.log.read_text().splitlines()

    def release(self):
        self.process.stdin.write("now\n")
        self.process.stdin.flush()

    def end(self, kill=False):
        if kill:  # what the host runs for us dies with what runs it
            self.process.kill()
        self.process.stdin.close()
        self.process.wait()


def run(host, checks):
    service = Service(host, checks)
    service.prepare()
    terminal, other = Terminal.login(host, "ada"), Terminal.login(host, "bob")
    sessions = {properties["Name"]: session for session, properties in sessions_of(host).items()}
    ada = sessions["ada"]

    def policy(text):
        path = host.path("etc/abeyance/policy.toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    result = service.manager("Inhibit", "sss", ada, "", "", user="ada")
    checks.check("an inhibitor needs a name", "who is not empty", said(result), result.returncode != 0 and "who is not empty" in result.stderr)
    result = service.manager("Inhibit", "sss", ada, "editor", "", user="bob")
    checks.check("bob cannot hold up ada's session", "Access denied", said(result), result.returncode != 0 and "Access denied" in result.stderr)

    policy("[limits]\napplication-delay = \"60 s\"\n")
    application, listener = Application(host, "ada", "hold", ada, "1"), Application(host, "bob", "listen")

    def suspend(*options):
        return service.in_background("suspend", ada, *options, user="ada")

    def ended(process, seconds=30):
        out, err = process.communicate(timeout=seconds)
        return process.returncode, (out + err).strip()

    def units():
        return host.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "abeyance-suspend@*"]).stdout.strip()

    waiting = suspend("--keep-running")
    wait_until(lambda: f"before {ada} True" in application.heard(), "the application's hearing of it", 20)
    time.sleep(0.5)  # nothing is to happen: there is no event to wait for
    checks.check("the suspend waits for the application", (None, ""), (waiting.poll(), units()))
    job = service.jobs().split('"')[1]
    service.busctl("org.abeyance1", job, "org.abeyance1.Job", "Cancel", user="ada")
    code, text = ended(waiting)
    checks.check("it can be canceled meanwhile", "canceled", text, code != 0 and "canceled" in text)
    wait_until(lambda: f"after {ada} True" in application.heard(), "the end of the wait", 20)
    checks.check("the end of the wait is told", ["ready", f"before {ada} True", f"after {ada} True"], application.heard())

    waiting = suspend("--keep-running")
    wait_until(lambda: len(application.heard()) == 4, "the application's hearing of it", 20)
    application.release()
    code, text = ended(waiting)
    checks.check("released, the suspend goes on", 0, code)
    wait_until(lambda: len(application.heard()) == 6, "the application's hearing of the end", 20)
    checks.check("the application heard of both", sorted(["released", f"before {ada} True", f"after {ada} True"]), sorted(application.heard()[3:]))
    checks.check("bob heard nothing", ["ready"], listener.heard())
    application.end()

    application = Application(host, "ada", "hold", "", "1")
    waiting = suspend("--keep-running")
    wait_until(lambda: len(application.heard()) == 2, "the application's hearing of it", 20)
    application.end(kill=True)
    checks.check("one who dies holds nothing up", 0, ended(waiting)[0])

    policy("[limits]\napplication-delay = \"1 s\"\n")
    application = Application(host, "ada", "hold", "", "1")
    checks.check("one who does not let go is not waited for", 0, ended(suspend("--keep-running"), 30)[0])
    application.end()

    policy("[limits]\napplication-delay = \"60 s\"\n")
    application = Application(host, "bob", "hold", "", "1")
    checks.check("another session's inhibitor holds nothing up", 0, ended(suspend("--keep-running"), 30)[0])
    application.end()

    application = Application(host, "ada", "hold", ada, "33")
    checks.check("no more than 32 are held by a user", "inhibitors are held already", application.heard()[-1:],
                 "inhibitors are held already" in "\n".join(application.heard()))
    application.end()

    application = Application(host, None, "hold", "", "1")
    waiting = suspend("--keep-running")
    wait_until(lambda: len(application.heard()) == 2, "the application's hearing of it", 20)
    application.release()
    checks.check("root's holds everybody up", 0, ended(waiting)[0])
    application.end()
    terminal.close()
    other.close()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
