#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The worker without the engine: a real session, a real snapshot of a real home, the end of a login, and what remains
when the worker is killed. The engine is a stand-in (fake_suspend.cpp) that ends processes without keeping them."""

import argparse
import itertools
import json
import pathlib
import shutil
import subprocess
import sys

from adas_session import sessions_of, wait_until
from checks import Checks, StepFailed, first_line
from host import Host, HostError
from terminal import Terminal, TerminalError

WORKER = "/usr/local/lib/abeyance-test/fake-worker"
BEFORE = ("frozen", "saved", "committed", "error")  # the session must run on
AFTER = ("ending", "half")  # the checkpoint must stay
KINDS = ("suspend", "check", "remove")
# Who clears up finds neither the bus nor logind; and not even what an earlier version's worker did not note
DEAF = {"nobody answers": "exec", "nobody answers, nothing noted": "rm /run/abeyance/jobs/%i.place && exec"}
# A process that is another one at each look: it has a child and ends, and so does that
RESTLESS = r"""/usr/bin/python3 -c 'exec("import os\nwhile 1: os.fork() and os._exit(0)")' &"""

PLAN = ["check sees the shell, not the login", "check tells what runs in another unit"] + [
    f"{point}: {what}" for point in BEFORE for what in ("suspend fails", "her terminal works", "nothing is left")] + [
    f"{how}: {what}" for how in DEAF for what in ("suspend fails", "her terminal works", "nothing is left")] + [
    "keep-running: a checkpoint is made", "keep-running: her terminal works", "a checkpoint in use is not removed",
    "removal takes the snapshot along"] + [
    f"{point}: {what}" for point in (*AFTER, "half, nobody answers")
    for what in ("suspend is done", "the session is gone", "the checkpoint is there")] + [
    "suspend is done", "logind has let go of the session", "the login has ended", "the snapshot is there",
    "show knows the session", "a power failure leaves nothing half made"]


def subvolumes(host):
    return sorted(line.split(" path ", 1)[1] for line in
                  host.run(["btrfs", "subvolume", "list", "/home"], check=True).stdout.splitlines())


def install(host, build):
    target = host.path(WORKER)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(pathlib.Path(build) / "tests/host/fake-worker", target)
    for kind in KINDS:
        folder = host.path(f"etc/systemd/system/abeyance-{kind}@.service.d")
        folder.mkdir(parents=True)
        stop = f"ExecStopPost=\nExecStopPost={WORKER} clear %i\n" if kind == "suspend" else ""
        (folder / "fake.conf").write_text(f"[Service]\nExecStart=\nExecStart={WORKER} {kind} %i\n{stop}")
    host.run(["systemctl", "daemon-reload"], check=True)


def set_fault(host, point):
    """As an administrator's file that only root can write."""
    path = host.path("run/abeyance/worker.env")
    path.write_text(f"ABEY_FAULT={point}\n") if point else path.unlink(missing_ok=True)


def set_deaf(host, how):
    path = host.path("etc/systemd/system/abeyance-suspend@.service.d/zdeaf.conf")
    path.unlink(missing_ok=True)
    if how:
        path.write_text("[Service]\nExecStopPost=\nExecStopPost=/bin/sh -c '" + DEAF[how] +
                        f" env DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/nobody {WORKER} clear %i'\n")
    host.run(["systemctl", "daemon-reload"], check=True)


def works(terminal, numbers=itertools.count(1000)):
    number = next(numbers)  # one that the screen does not show yet
    terminal.type(f"clear; echo $(({number} * 7))\n")
    wait_until(lambda: f"\n{number * 7}" in "\n" + terminal.text(), "an answer of the shell", 10)
    return "works"


class Login:
    def __init__(self, host):
        before = set(sessions_of(host))
        self.host = host
        self.terminal = Terminal.login(host, "ada")
        self.id = next(iter(set(sessions_of(host)) - before))


def abeyctl(host, *arguments):
    return host.run(["abeyctl", *arguments], timeout=60)


def store(host):
    return sorted(path.name for path in host.path("var/lib/abeyance").iterdir())


def remove_all(host):
    for name in store(host):
        abeyctl(host, "remove", name)


def said(result):
    return f"{result.returncode}: {first_line(result.stderr or result.stdout or 'nothing')}"


def run(host, checks):
    login = Login(host)
    found = json.loads(abeyctl(host, "check", login.id, "--json").stdout)["findings"]
    checks.check("check sees the shell, not the login", ["bash"], [finding["comm"] for finding in found])
    login.terminal.type("clear; systemd-run --user --scope sleep 1000\n")
    login.terminal.wait_for("Running scope")
    found = json.loads(abeyctl(host, "check", login.id, "--json").stdout)["findings"]
    checks.check("check tells what runs in another unit", "sleep, in run-....scope",
                 [(finding["comm"], finding["reason"]) for finding in found if finding["object"] == "control group"],
                 any(finding["comm"] == "sleep" and "it runs in run-" in finding["reason"] and not finding["fatal"] for finding in found))
    login.terminal.type("\x03")
    works(login.terminal)

    volumes = subvolumes(host)
    for point in BEFORE:
        set_fault(host, point)
        result = abeyctl(host, "suspend", login.id)
        checks.check(f"{point}: suspend fails", "status 1", said(result), result.returncode == 1)
        checks.attempt(f"{point}: her terminal works", "works", lambda: works(login.terminal))
        checks.check(f"{point}: nothing is left", ([], volumes), (store(host), subvolumes(host)))
    set_fault(host, "frozen")
    for how in DEAF:
        set_deaf(host, how)
        result = abeyctl(host, "suspend", login.id)
        checks.check(f"{how}: suspend fails", "status 1", said(result), result.returncode == 1)
        checks.attempt(f"{how}: her terminal works", "works", lambda: works(login.terminal))
        checks.check(f"{how}: nothing is left", ([], volumes), (store(host), subvolumes(host)))
    set_deaf(host, None)
    set_fault(host, None)

    result = abeyctl(host, "suspend", login.id, "--keep-running", "--json")
    checks.check("keep-running: a checkpoint is made", "status 0", said(result), result.returncode == 0 and len(store(host)) == 1)
    checks.attempt("keep-running: her terminal works", "works", lambda: works(login.terminal))
    grown = len(subvolumes(host)) - len(volumes)
    checkpoint = store(host)[0]
    result = host.run(["flock", f"/var/lib/abeyance/{checkpoint}", "abeyctl", "remove", checkpoint])
    checks.check("a checkpoint in use is not removed", "busy", said(result), result.returncode == 1 and
                 "is being made, resumed or removed" in result.stderr and store(host) == [checkpoint])
    result = abeyctl(host, "remove", checkpoint)
    checks.check("removal takes the snapshot along", (1, 0, [], volumes),
                 (grown, result.returncode, store(host), subvolumes(host)))

    for point in (*AFTER, "half, nobody answers"):
        login.terminal.type(f"clear; {RESTLESS}\n")
        works(login.terminal)
        set_fault(host, point.split(",")[0])
        set_deaf(host, "nobody answers" if "," in point else None)
        result = abeyctl(host, "suspend", login.id, "--json")
        checks.check(f"{point}: suspend is done", "status 0", said(result), result.returncode == 0)
        checks.attempt(f"{point}: the session is gone", True,
                       lambda: wait_until(lambda: login.id not in sessions_of(host), "the end of the session", 10))
        checks.check(f"{point}: the checkpoint is there", 1, len(store(host)))
        login.terminal.close()
        remove_all(host)
        login = Login(host)
    set_deaf(host, None)
    set_fault(host, None)

    result = abeyctl(host, "suspend", login.id, "--json")
    checks.check("suspend is done", "status 0", said(result), result.returncode == 0)
    checks.check("logind has let go of the session", False, login.id in sessions_of(host))
    checks.attempt("the login has ended", True, lambda: login.terminal.wait_end(5) is not None)
    checks.check("the snapshot is there", len(volumes) + 1, len(subvolumes(host)))
    shown = json.loads(abeyctl(host, "show", "--json").stdout)
    checks.check("show knows the session", (login.id, "ada", "login", "/home/ada"),
                 (shown["session"], shown["user"], shown["information"]["service"], shown["information"]["home"]))
    remove_all(host)

    login = Login(host)
    # The power fails while the worker stands still; a drop-in of /etc and the home outlast it
    host.path("etc/systemd/system/abeyance-suspend@.service.d/stop.conf").write_text(
        "[Service]\nEnvironment=ABEY_FAULT=saved\nExecStopPost=\nExecStopPost=/bin/sleep 60\n")
    host.run(["systemctl", "daemon-reload"], check=True)
    client = subprocess.Popen(host.command(["abeyctl", "suspend", login.id]), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, preexec_fn=host.enter)
    wait_until(lambda: len(subvolumes(host)) > len(volumes), "the snapshot", 10)
    half = len(store(host))
    host.run(["sync"])
    host.reset()
    client.wait(20)
    checks.attempt("a power failure leaves nothing half made", (1, True), lambda: (half, half == 1 and wait_until(
        lambda: not store(host) and subvolumes(host) == volumes, "removal", 10)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                install(host, options.build)
                run(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, ValueError,
                    subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "60", "-u", "abey*"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"worker: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
