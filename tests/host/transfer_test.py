#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session that goes to another machine: suspended and exported on one test host, imported and resumed on another, whose home is
on btrfs or ext4. transfer_test.py --build DIR btrfs|ext4"""

import argparse
import os
import shutil
import subprocess
import sys

from adas_session import HERE, HOME, PROGRAMS, UNSAVED, AdasSession, abeyctl, complaint, json_of, still_alive, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from observe import Log, tree_difference
from service_test import MANAGER, Service, listen
from session_test import resume_by_login
from terminal import TerminalError

STREAM = "var/tmp/ada.abey"
PARTS = ("pid", "threads", "scratch", "mapped", "state")
PLAN = ["a user may not export", "stopped in the middle, it leaves no file", "export", "the stream is root's alone", "it still waits there", "a user may not import",
        "killed when the home was there", "not listed then", "told to stop when the home was there",
        "not compressed at all: refused", "cut short: refused", "damaged: refused", "another user's id: refused", "nothing is left of what was refused",
        "import", "its user is told on the bus", "others are not", "a user may not announce one", "it waits", "a second time: refused", "resumed at the next login", "counted on", "holds what it held",
        "the home is as it was", "the displaced home is kept", "vim shows what was never saved", "suspended again there", "removed, the home's state goes"]


def names(host, path):
    place = host.path(path)
    return sorted(entry.name for entry in place.iterdir()) if place.exists() else []


def traces(host):
    """What an import may leave: checkpoints, states of homes, half-made ones of both. Not what the store notes of itself."""
    own = (".pins", ".displaced")
    return [[name for name in names(host, path) if name not in own] for path in ("var/lib/abeyance", "home/.abeyance/snapshots", "home/.abeyance-homes/snapshots")]


def leave(host, checks):
    """On the first host; the session, what was known of it, and the stream's place on this machine."""
    session = AdasSession(host)
    for text in (".config/app/settings", "papers/one.txt"):
        path = host.path(f"{HOME}/{text}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    os.link(host.path(f"{HOME}/papers/one.txt"), host.path(f"{HOME}/papers/two.txt"))
    host.path(f"{HOME}/papers/link").symlink_to("/etc/hostname")
    with open(host.path(f"{HOME}/papers/holes"), "wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    host.run(["chown", "-Rh", "ada:", f"{HOME}/papers", f"{HOME}/.config"], check=True)
    host.run(["setfacl", "-m", "u:bob:r", f"{HOME}/papers/one.txt"], check=True)
    session.start_programs()
    report = session.ask(session.counter())
    watched = session.watch()
    result = abeyctl(host, "suspend", session.id, "--json")
    if result.returncode != 0:
        raise StepFailed(f"no checkpoint to go on with: {complaint(result)}")
    still_alive(watched, 60)
    session.terminal.close()
    checkpoint = json_of(result)["checkpoint"]
    result = abeyctl(host, "export", checkpoint, "--output", "/tmp/mine", user="ada")
    checks.check("a user may not export", "only root", complaint(result), result.returncode == 1 and "only root" in result.stderr)
    interrupted(host, checks, checkpoint)
    result = abeyctl(host, "export", checkpoint, "--output", f"/{STREAM}", "--json")
    checks.check("export", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checks.check("the stream is root's alone", "0o100600", oct(host.path(STREAM).stat().st_mode))
    states = {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}
    checks.check("it still waits there", {checkpoint: "waiting"}, states)
    return session, report, checkpoint, session.home(), session.log().counts[-1], host.path(STREAM).read_bytes()


def interrupted(host, checks, checkpoint):
    before, found = names(host, "var/tmp"), {}
    zstd = host.path("usr/bin/zstd")
    zstd.rename(zstd.with_name("zstd.real"))
    for name in ("INT", "TERM", "HUP", "KILL"):
        # Some of it is in the file by then
        zstd.write_text(f'#!/bin/sh\nhead -c 70000\n/bin/kill -{name} $PPID\ncat\n')
        zstd.chmod(0o755)
        # Not by way of a shell that ignores some of them
        result = host.run(["env", "--default-signal", "abeyctl", "export", checkpoint, "--output", f"/{STREAM}"])
        found[name] = (result.returncode != 0, [one for one in names(host, "var/tmp") if one not in before])
    zstd.with_name("zstd.real").rename(zstd)
    checks.check("stopped in the middle, it leaves no file", {name: (True, []) for name in found}, found)


def refusals(host, checks, stream):
    def refused(name, data, *words):
        host.path("var/tmp/broken").write_bytes(data)
        result = abeyctl(host, "import", "/var/tmp/broken")
        checks.check(name, words, complaint(result), result.returncode == 1 and all(word in result.stderr for word in words)
                     and len(result.stderr.splitlines()) == 1)

    host.path(STREAM).write_bytes(stream)
    host.path(STREAM).chmod(0o644)
    result = abeyctl(host, "import", f"/{STREAM}", user="ada")
    checks.check("a user may not import", "only root", complaint(result), result.returncode == 1 and "only root" in result.stderr)
    before = traces(host)
    # At the last moment: when tar has unpacked all
    tar = host.path("usr/bin/tar")
    tar.rename(tar.with_name("tar.real"))
    for name, signal, status in (("killed when the home was there", "KILL", -9), ("told to stop when the home was there", "TERM", 1)):
        tar.write_text(f'#!/bin/sh\n/usr/bin/tar.real "$@" && kill -{signal} $PPID\n')
        tar.chmod(0o755)
        result = abeyctl(host, "import", f"/{STREAM}")
        checks.check(name, status, f"{result.returncode}: {complaint(result)}", result.returncode == status and traces(host) != before if signal == "KILL"
                     else result.returncode == status and "it was stopped" in result.stderr and traces(host) == before)
        if signal == "KILL":
            checks.check("not listed then", [], json_of(abeyctl(host, "list", "--json"))["list"])
    tar.with_name("tar.real").rename(tar)
    refused("not compressed at all: refused", b"a" * 10000, "no whole stream")
    refused("cut short: refused", stream[:len(stream) // 2], "no whole stream")
    plain = subprocess.run(["zstd", "-dc"], input=stream, capture_output=True, check=True).stdout
    at = plain.index(b" papers/one.txt\0") + 1  # in the list of the home
    bad = plain[:at] + b"papers/onf" + plain[at + 10:]
    refused("damaged: refused", subprocess.run(["zstd", "-c"], input=bad, capture_output=True, check=True).stdout, "checkpoint")
    host.run(["usermod", "--uid", "5011", "ada"], check=True)
    refused("another user's id: refused", stream, "user ada", "5011", "5001")
    host.run(["usermod", "--uid", "5001", "ada"], check=True)
    checks.check("nothing is left of what was refused", [one for one in before], traces(host))


def arrive(host, checks, session, known):
    report, checkpoint, home, count, stream = known
    shutil.copytree(HERE / "session", host.path(PROGRAMS), ignore=shutil.ignore_patterns("__pycache__"))
    # The same software, but installed by itself: other inodes
    for program in ("usr/bin/bash", "usr/bin/vim.basic", "usr/bin/python3.11"):
        if host.path(program).exists():
            host.run(["sh", "-c", f"cp -a /{program} /{program}.new && mv /{program}.new /{program}"], check=True)
    host.path(f"{HOME}/stranger.txt").write_text("what was here\n")
    refusals(host, checks, stream)
    listeners = {user: listen(Service(host, checks), user) for user in ("ada", "bob")}
    result = abeyctl(host, "import", f"/{STREAM}", "--json")
    checks.check("import", (0, checkpoint), (result.returncode, json_of(result).get("checkpoint", complaint(result))))
    wanted = [f"CheckpointAdded {checkpoint}", "InterfacesAdded"]
    heard = listeners["ada"][1]
    checks.attempt("its user is told on the bus", wanted, lambda: wait_until(
        lambda: [one for one in wanted if one in heard.read_text().splitlines()] == wanted and wanted, "its signals: " + heard.read_text(), 20))
    checks.check("others are not", "", "\n".join(line for line in listeners["bob"][1].read_text().splitlines() if "Added" in line))
    for listener, _ in listeners.values():
        listener.kill()
        listener.wait()
    said = host.run(["busctl", "call", *MANAGER, "AnnounceCheckpoint", "s", checkpoint], user="ada")
    checks.check("a user may not announce one", "denied", said.stderr.strip(), said.returncode != 0 and "denied" in said.stderr.lower())
    states = {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}
    checks.check("it waits", {checkpoint: "waiting"}, states)
    result = abeyctl(host, "import", f"/{STREAM}")
    checks.check("a second time: refused", "has it already", complaint(result), result.returncode == 1 and "has it already" in result.stderr)
    before = names(host, "home/.abeyance/displaced") + names(host, "home/.abeyance-homes/displaced")
    # resumed only after this: the counter writes into its log
    session.host = host
    host.path(f"{HOME}/counter.log").write_text("count 0\n")
    session.terminal, session.id, processes = resume_by_login(host, count)
    checks.check("resumed at the next login", "the counter", "the counter" if any("counter.py" in process.command for process in processes) else processes)
    now = session.ask(session.counter(processes))
    log = session.log()
    checks.check("counted on", (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))
    checks.check("holds what it held", {part: report[part] for part in PARTS}, {part: now[part] for part in PARTS})
    # what was kept of deleted files goes with the resume
    home, there = ({path: one for path, one in tree.items() if not path.startswith(".abeyance")} for tree in (home, session.home()))
    access = host.run(["getfacl", "-c", f"{HOME}/papers/one.txt"]).stdout
    different = tree_difference(home, there, growing=("counter.log",))
    checks.check("the home is as it was", ([], True), (different, "user:bob:r--" in access))
    kept = [(area, name) for area in (".abeyance", ".abeyance-homes") for name in names(host, f"home/{area}/displaced") if name not in before]
    checks.check("the displaced home is kept", "what was here\n", host.path(f"home/{kept[0][0]}/displaced/{kept[0][1]}/stranger.txt").read_text()
                 if len(kept) == 1 else kept)
    session.terminal.type("abeyctl attach\n")
    checks.attempt("vim shows what was never saved", "shown", lambda: wait_until(
        lambda: UNSAVED in session.terminal.settle(0.3) and "shown", "vim's picture", 60))
    session.terminal.type("\x1c\x04")
    wait_until(lambda: json_of(abeyctl(host, "list", "--json"))["list"] == [], "the removal of what was resumed", 60)
    checks.check("removed, the home's state goes", [[], [], []], traces(host))
    result = abeyctl(host, "suspend", session.id, "--json")
    checks.check("suspended again there", "status 0", "status 0" if result.returncode == 0 else complaint(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("home", choices=("btrfs", "ext4"))
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    where = None
    try:
        with Host(build=options.build) as first:
            where = first
            session, *known = leave(first, checks)
        with Host(build=options.build, home=options.home) as second:
            where = second
            try:
                arrive(second, checks, session, known)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(second.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40", "-u", "abey*"]).stdout)
    except (HostError, StepFailed) as error:
        checks.stop(error, f"the test host {where.directory if where else ''}")
    passed, planned = checks.finish()
    checks.say(f"to a home on {options.home}: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
