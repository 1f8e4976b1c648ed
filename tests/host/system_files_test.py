#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A package is upgraded while a session that uses its program and library is away: system_files_test.py --build DIR

Without a copy the resume is refused; when the same package is installed again it is not; with [[pin]] the copies that were made
at the suspend stand in for what was replaced.
"""

import argparse
import os
import pathlib
import subprocess
import sys

from adas_session import HOME, AdasSession, abeyctl, complaint, json_of, sessions_of, still_alive, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from observe import cgroup_processes
from terminal import TerminalError

PACKAGE = "/opt/teller"
LIBRARY, PROGRAM = f"{PACKAGE}/libgreeting1.so", f"{PACKAGE}/teller"
TOLD = f"{HOME}/told"
PINS = "/var/lib/abeyance/.pins"
PLAN = ["upgraded: refused, both files are named", "upgraded: it waits on", "installed again: resumed", "installed again: counts on, the same version",
        "pinned: check tells nothing is refused", "pinned: two checkpoints share the copies", "pinned: resumed after the upgrade",
        "pinned: counts on with the old version", "pinned: /proc shows the old files as deleted", "pinned: who starts anew has the new version",
        "pinned: the resumed checkpoint is removed, the other keeps the copies", "pinned: the last one removed, the copies go"]


def install(host, build, version):
    """As dpkg does it: beside the old ones, then renamed over them."""
    folder = host.path(PACKAGE)
    folder.mkdir(parents=True, exist_ok=True)
    parts = pathlib.Path(build) / "tests/host"
    library = (parts / f"libgreeting{version}.so").read_bytes()
    program = (parts / "teller").read_bytes() + b"version %d" % version
    for path, contents in ((LIBRARY, library), (PROGRAM, program)):
        new = host.path(path + ".dpkg-new")
        new.write_bytes(contents)
        new.chmod(0o755)
        os.rename(new, host.path(path))


def tellers(host):
    return [process for properties in sessions_of(host).values() if properties.get("Scope")
            for process in cgroup_processes(f"{host.cgroup}/user.slice/user-5001.slice/{properties['Scope']}") if "teller" in process.command]


def told(host):
    """[(number, version)]"""
    lines = host.path(TOLD).read_text().splitlines()
    return [tuple(map(int, line.split())) for line in lines if len(line.split()) == 2]


def runs_on(host, number):
    wait_until(lambda: told(host) and told(host)[-1][0] > number + 5, "the teller's going on")
    return told(host)


def story(lines):
    """The versions that were told, and whether it counted without a gap."""
    numbers = [number for number, _ in lines]
    return {version for _, version in lines}, numbers == list(range(1, len(numbers) + 1))


def session_of_teller(host):
    for identifier, properties in sessions_of(host).items():
        scope = f"{host.cgroup}/user.slice/user-5001.slice/{properties.get('Scope', '')}"
        if any("teller" in process.command for process in cgroup_processes(scope)):
            return identifier
    return None


def upgrade(host, checks, build):
    install(host, build, 1)
    session = AdasSession(host)
    session.terminal.type(f"{PROGRAM} {TOLD} &\n")
    wait_until(lambda: host.path(TOLD).exists() and len(told(host)) > 5, "the teller's start")

    def suspend(identifier, *options):
        processes = [] if options else [(process, os.pidfd_open(process.pid)) for process in tellers(host)]
        result = abeyctl(host, "suspend", identifier, "--json", *options)
        still_alive(processes, 60)
        if result.returncode != 0:
            raise StepFailed(f"no checkpoint to go on with: {complaint(result)}")
        return json_of(result)["checkpoint"]

    def resume(checkpoint):
        return abeyctl(host, "resume", checkpoint)

    first = suspend(session.id)
    session.terminal.close()
    number = told(host)[-1][0]
    install(host, build, 2)
    result = resume(first)
    checks.check("upgraded: refused, both files are named", "both", complaint(result),
                 result.returncode != 0 and LIBRARY in result.stderr and PROGRAM in result.stderr and "build-id" in result.stderr)
    states = {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}
    checks.check("upgraded: it waits on", {first: "waiting"}, states)
    install(host, build, 1)
    result = resume(first)
    if not checks.check("installed again: resumed", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
        raise StepFailed("the session is not back")
    checks.check("installed again: counts on, the same version", ({1}, True), story(runs_on(host, number)))

    policy = host.path("etc/abeyance/policy.d/10-pin.toml")
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(f'[[pin]]\npath = "{PACKAGE}/**"\nstrategies = ["reflink", "copy"]\n')
    identifier = wait_until(lambda: session_of_teller(host), "the resumed session")
    result = abeyctl(host, "check", identifier)
    checks.check("pinned: check tells nothing is refused", 0, result.returncode)
    older = suspend(identifier, "--keep-running")
    newer = suspend(identifier)
    copies = sorted(path.stat().st_nlink for path in host.path(PINS).iterdir())
    checks.check("pinned: two checkpoints share the copies", [3, 3], copies)
    number = told(host)[-1][0]
    install(host, build, 2)
    result = resume(newer)
    if not checks.check("pinned: resumed after the upgrade", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
        raise StepFailed("the session is not back")
    checks.check("pinned: counts on with the old version", ({1}, True), story(runs_on(host, number + 100)))
    maps = pathlib.Path(f"/proc/{wait_until(lambda: tellers(host), 'the teller')[0].pid}/maps").read_text()
    shown = {line.split(None, 5)[5] for line in maps.splitlines() if PACKAGE in line}
    checks.check("pinned: /proc shows the old files as deleted", "two, deleted", shown,
                 len(shown) == 2 and all(name.endswith(" (deleted)") for name in shown))
    other = f"{HOME}/told-anew"
    host.run(["timeout", "1", PROGRAM, other])
    fresh = {line.split()[1] for line in host.path(other).read_text().splitlines()}
    checks.check("pinned: who starts anew has the new version", {"2"}, fresh)

    # A resumed checkpoint is removed by the service.
    checks.attempt("pinned: the resumed checkpoint is removed, the other keeps the copies", [2, 2], lambda: wait_until(
        lambda: (links := sorted(path.stat().st_nlink for path in host.path(PINS).iterdir())) == [2, 2] and links, "the removal", 60))
    removed = abeyctl(host, "remove", older)
    checks.check("pinned: the last one removed, the copies go", (0, []), (removed.returncode, list(host.path(PINS).iterdir())))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                upgrade(host, checks, options.build)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                journal = host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40", "-u", "abey*"])
                checks.say(journal.stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"system files: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
