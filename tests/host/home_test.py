#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Homes that are not on btrfs: home_test.py --build DIR ext4|xfs|nilfs2|ext4-tar|tmpfs-rsync|tmpfs-tar|ext4-none|tmpfs-none

A session is suspended, its home is changed, the host reboots, the session is resumed at the next login: the home is what it
was, what it had become is kept beside it, and the programs go on in it. A home in memory does not outlast a reboot, so there is none
with it, and the session is resumed by a command. With the provider "none" nothing is brought back: what has changed is found.
"""

import argparse
import json
import os
import subprocess
import sys

from adas_session import HOME, LOG, AdasSession, abeyctl, complaint, json_of, still_alive, wait_until
from checks import Checks, StepFailed
from divergence_test import counter_in
from host import Host, HostError
from observe import Log
from session_test import RESUME, resume_by_login, set_fault
from terminal import TerminalError

AREA = "/home/.abeyance-homes"
# of each test: the file system, the provider, whether the policy names it
KINDS = {"ext4": ("ext4", "rsync", False), "xfs": ("xfs", "reflink", False), "nilfs2": ("nilfs2", "nilfs2", False), "ext4-tar": ("ext4", "tar", True),
         "tmpfs-rsync": ("tmpfs", "rsync", False), "tmpfs-tar": ("tmpfs", "tar", True),
         "ext4-none": ("ext4", "none", True), "tmpfs-none": ("tmpfs", "none", True)}
PARTS = ("pid", "threads", "scratch", "mapped", "state")
HOOKS = """
[[hook]]
at = ["pre-suspend", "post-suspend", "pre-resume", "post-resume"]
run = ["/bin/sh", "-c", "(cat; echo) >>/var/log/hooks"]
[[hook]]
at = ["post-suspend", "pre-resume"]
run = "~/hook"
as = "user"
optional = true
users = "ada"
"""
EVENTS = ["pre-suspend", "post-suspend", "pre-resume", "post-resume"]
RUNTIME = "/run/user/5001/own"
UNHELD = "/run/user/5001/app"
SHARES = "the second copy shares what did not change"
PLAN = ["a failing hook ends the suspend", "and the session runs on", "check tells how the home is saved", "check tells what of XDG_RUNTIME_DIR is too much",
        "explain tells how a deleted file is kept", "and what of XDG_RUNTIME_DIR nobody holds", "also in words", "and by whom, by which rule and at what cost", "suspend", "diff tells what has changed", "hooks were run", "the user's hook ran as the user", "nothing is left of the session", "the copy is root's alone", "counted on",
        "holds what it held", "the home is as it was", "the displaced home is kept", "it runs on in the home that was brought back",
        "nothing is left on its way", "what it held in XDG_RUNTIME_DIR is there again", "and what nobody held", "suspended again", SHARES, "removed, the copy goes"]
PLAN_OF_NONE = ["the list is root's alone", "unchanged: resumed", "unchanged: counted on", "unchanged: holds what it held",
                "changed: diff names it, although size and time are the same", "changed: refused, the file is named", "changed: it waits on",
                "a file that the session holds was changed: refused with keep, too", "killed while it cuts: not resumed",
                "killed while it cuts: what was cut off is put back", "cut to its old size: resumed with keep", "cut to its old size: counted on",
                "the home stayed as it was", "nothing was displaced", "removed, the list goes"]


def names(host, path):
    return sorted(entry.name for entry in host.path(path).iterdir())


def resume(host, session, file_system, count, *options):
    """The session's processes; its id and terminal are new ones."""
    if file_system != "tmpfs":
        host.reboot()
        session.terminal, session.id, processes = resume_by_login(host, count)
        return processes
    result = abeyctl(host, "resume", *options)
    if result.returncode != 0:
        raise StepFailed(complaint(result))
    session.id, _ = wait_until(lambda: session.log().counts[-1] > count and counter_in(host, []), "the resumed session", 60)
    return session.processes()


def write_policy(host, provider, more=""):
    policies = host.path("etc/abeyance/policy.d")
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "00-home.toml").write_text(f'[home]\nprovider = "{provider}"\n{more}')


def shared_inodes(host, provider, states):
    """Of all states, the inodes that hold the file that did not change; of archives, the first."""
    name = "0.tar" if provider == "tar" else "tree/large"
    return {host.path(f"{AREA}/snapshots/{state}/{name}").stat().st_ino for state in states}


def verify_only(host, checks, file_system):
    """The provider "none": what it is told to verify it verifies, and so it does what the session holds."""
    write_policy(host, "none", 'verify = ["papers"]\nverify-contents = true\n')
    session = AdasSession(host)
    session.start_programs()
    paper = host.path(f"{HOME}/papers/one.txt")
    paper.parent.mkdir()
    paper.write_text("first version\n")
    report = session.ask(session.counter())

    def suspend():
        watched = session.watch()
        result = abeyctl(host, "suspend", session.id, "--json")
        if result.returncode != 0:
            raise StepFailed(f"no checkpoint to go on with: {complaint(result)}")
        still_alive(watched, 60)
        session.terminal.close()
        return json_of(result)["checkpoint"]

    def counted_on(name):
        log = session.log()
        checks.check(name, (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))

    checkpoint = suspend()
    checks.check("the list is root's alone", "0o40700", oct(host.path(f"{AREA}/snapshots").stat().st_mode))
    processes = resume(host, session, file_system, session.log().counts[-1], checkpoint)
    checks.check("unchanged: resumed", "the counter", "the counter" if any("counter.py" in process.command for process in processes) else processes)
    now = session.ask(session.counter(processes))
    counted_on("unchanged: counted on")
    checks.check("unchanged: holds what it held", {part: report[part] for part in PARTS}, {part: now[part] for part in PARTS})

    checkpoint = suspend()
    count = session.log().counts[-1]
    paper = host.path(f"{HOME}/papers/one.txt")  # of the host as it is booted now
    status = paper.stat()
    paper.write_text("other version\n")
    os.utime(paper, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = {one["path"] for one in json_of(abeyctl(host, "diff", checkpoint, "--json")).get("changes", [])}
    checks.check("changed: diff names it, although size and time are the same", {"papers/one.txt"}, changed)
    result = abeyctl(host, "resume", checkpoint)
    checks.check("changed: refused, the file is named", "papers/one.txt", complaint(result),
                 result.returncode != 0 and "papers/one.txt" in result.stderr)
    states = {one["id"]: one["state"] for one in json_of(abeyctl(host, "list", "--json"))["list"]}
    checks.check("changed: it waits on", "waiting", states.get(checkpoint))
    with open(host.path(f"{HOME}/{LOG}"), "ab") as file:
        file.write(b"of somebody else\n")
    result = abeyctl(host, "resume", checkpoint, "--on-divergence", "keep")
    checks.check("a file that the session holds was changed: refused with keep, too", LOG, complaint(result),
                 result.returncode != 0 and LOG in result.stderr)
    write_policy(host, "none", f'[[changed]]\npath = "{HOME}/{LOG}"\naction = "restore-size"\n')
    set_fault(host, "cut", RESUME)
    result = abeyctl(host, "resume", checkpoint, "--on-divergence", "keep")
    checks.check("killed while it cuts: not resumed", "status not 0", complaint(result), result.returncode != 0)
    checks.attempt("killed while it cuts: what was cut off is put back", "yes", lambda: wait_until(
        lambda: host.path(f"{HOME}/{LOG}").read_bytes().endswith(b"of somebody else\n") and "yes", "the file's old end", 60))
    set_fault(host, "", RESUME)
    before = set(session.home())
    result = abeyctl(host, "resume", checkpoint, "--on-divergence", "keep")
    checks.check("cut to its old size: resumed with keep", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    wait_until(lambda: counter_in(host, []) and session.log().counts[-1] > count, "the resumed session", 60)
    counted_on("cut to its old size: counted on")
    checks.check("the home stayed as it was", (set(), "other version\n"), (before ^ set(session.home()), paper.read_text()))
    checks.check("nothing was displaced", [], names(host, f"{AREA}/displaced"))
    # A resumed checkpoint is removed by the service.
    checks.attempt("removed, the list goes", "yes", lambda: wait_until(
        lambda: checkpoint not in names(host, f"{AREA}/snapshots") and "yes", "the removal", 60))


def roll_back(host, checks, kind):
    file_system, provider, named = KINDS[kind]
    if named:
        write_policy(host, provider)
    session = AdasSession(host)
    session.terminal.type(f"(umask 027; mkdir {RUNTIME}; echo of the session >{RUNTIME}/state); chmod 1750 {RUNTIME}; exec 8<>{RUNTIME}/state\n")
    session.terminal.type(f"(umask 077; mkdir -p {UNHELD}/empty; echo held by nobody >{UNHELD}/state; ln -s state {UNHELD}/link; mkfifo {UNHELD}/fifo;"
                          f" head -c 100000 /dev/zero >{UNHELD}/zeros); chmod 2751 {UNHELD}; chmod 640 {UNHELD}/state\n")
    session.start_programs()
    host.path(f"{HOME}/large").write_bytes(b"large" * 100_000)
    policies = host.path("etc/abeyance/policy.d")
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "10-no.toml").write_text('[[hook]]\nat = "pre-suspend"\nrun = ["/bin/sh", "-c", "echo not today >&2; exit 1"]\n')
    result = abeyctl(host, "suspend", session.id)
    checks.check("a failing hook ends the suspend", "not today", complaint(result), result.returncode != 0 and "not today" in result.stderr)
    count = session.log().counts[-1]
    checks.attempt("and the session runs on", "yes", lambda: wait_until(
        lambda: session.log().counts[-1] > count + 3 and "yes", "the counter's going on", 60))
    (policies / "10-no.toml").unlink()
    (policies / "20-hooks.toml").write_text(HOOKS)
    (policies / "30-runtime.toml").write_text('[runtime-directory]\nmax-size = "64 KiB"\n')
    hook = host.path(f"{HOME}/hook")
    hook.write_text("#!/bin/sh\necho $ABEYANCE_EVENT $(id -un) $HOME >>/tmp/hooks-of-$(id -un)\n")
    hook.chmod(0o755)
    told = abeyctl(host, "check", session.id)
    if provider == "nilfs2":
        checks.check("check tells how the home is saved", "nothing of copies", complaint(told), told.stdout != "" and "copied by" not in told.stdout)
    else:
        checks.check("check tells how the home is saved", f"a line that names {provider}", complaint(told),
                     f"are copied by {provider} before the freeze" in told.stdout)
    checks.check("check tells what of XDG_RUNTIME_DIR is too much", f"{UNHELD}/zeros", complaint(told),
                 f"{UNHELD}/zeros of 1: more than max-files or max-size" in " ".join(told.stdout.split()))
    answer = json_of(abeyctl(host, "explain", session.id, "--json"))
    directory = answer.get("runtime_directory", {})
    checks.check("and what of XDG_RUNTIME_DIR nobody holds", "its state, link and empty, not its zeros", directory,
                 directory.get("path") == "/run/user/5001" and 3 <= directory["files"] < 10 and 10 < directory["bytes"] < 100000
                 and directory["rule"] == "[runtime-directory]" and f"{UNHELD}/zeros of 1" in directory["left_out"])
    told = abeyctl(host, "explain", session.id).stdout
    wanted = f"/run/user/5001: of what nobody holds there {directory.get('files')} files are kept, "
    checks.check("also in words", wanted, [line for line in told.splitlines() if "/run/user" in line], wanted in told)
    explained = answer.get("files", [])
    kept = {one["strategy"] for one in explained if one["state"] == "deleted" and one["path"].startswith(HOME)}
    strategy = "reflink" if file_system == "xfs" else "embed"
    checks.check("explain tells how a deleted file is kept", {strategy}, kept)
    pids = {process.inner for process in session.processes()}
    complete = [one for one in explained if one["pid"] in pids and one["comm"] and one["rule"] and one["path"] and one["on_disk"] >= 0
                and (one["cost"] > 0) == (one["strategy"] == "embed" and one["size"] > 0) and ("descriptor" in one) != ("mapping" in one)]
    kept = [one for one in explained if one["strategy"] != "by name"]
    checks.check("and by whom, by which rule and at what cost", ["descriptor", "mapping"],
                 sorted({"mapping" if "mapping" in one else "descriptor" for one in kept}) if set(map(str, kept)) <= set(map(str, complete))
                 else [one for one in kept if one not in complete])
    report = session.ask(session.counter())
    watched = session.watch()
    result = abeyctl(host, "suspend", session.id, "--json")
    if not checks.check("suspend", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
        raise StepFailed("no checkpoint to go on with")
    checks.check("nothing is left of the session", "none", ", ".join(still_alive(watched)) or "none")
    session.terminal.close()
    checks.check("the copy is root's alone", "0o40700", oct(host.path(f"{AREA}/snapshots").stat().st_mode))
    before = set(session.home())
    count = session.log().counts[-1]

    host.path(f"{HOME}/{LOG}").write_text("")
    host.path(f"{HOME}/notes.txt").unlink()
    host.path(f"{HOME}/notes.txt").write_text("something else\n")
    host.path(f"{HOME}/stranger.txt").write_text("what came later\n")
    changed = {(one["change"], one["path"]) for one in json_of(abeyctl(host, "diff", "--json")).get("changes", [])}
    checks.check("diff tells what has changed", {("added", "stranger.txt"), ("changed", "notes.txt"), ("changed", LOG), ("changed", ".")},
                 changed | {("changed", ".")})
    of_user = host.path("tmp/hooks-of-ada")
    checks.check("the user's hook ran as the user", f"post-suspend ada {HOME}\n", of_user.read_text() if of_user.exists() else "none")
    processes = resume(host, session, file_system, count)
    events = wait_until(lambda: (found := [json.loads(line)["event"] for line in host.path("var/log/hooks").read_text().splitlines() if line])
                        and len(found) >= 4 and found, "the hooks", 60)
    checks.check("hooks were run", EVENTS, events)
    now = session.ask(session.counter(processes))
    log = session.log()
    checks.check("counted on", (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))
    checks.check("holds what it held", {part: report[part] for part in PARTS}, {part: now[part] for part in PARTS})
    notes = host.path(f"{HOME}/notes.txt").read_text()
    checks.check("the home is as it was", (set(), "A line that was saved.\n"), (before ^ set(session.home()), notes))
    kept = names(host, f"{AREA}/displaced")
    stranger = host.path(f"{AREA}/displaced/{kept[0]}/stranger.txt") if kept else None
    checks.check("the displaced home is kept", (1, "what came later\n"),
                 (len(kept), stranger.read_text() if stranger and stranger.exists() else "none"))
    count = session.log().counts[-1]
    checks.attempt("it runs on in the home that was brought back", "yes", lambda: wait_until(
        lambda: session.log().counts[-1] > count + 3 and "yes", "the counter's going on", 60))
    checks.check("nothing is left on its way", [], names(host, f"{AREA}/incoming"))
    state = host.path(RUNTIME) / "state"
    found = (state.read_text(), oct(state.parent.stat().st_mode), state.parent.stat().st_uid) if state.exists() else "none"
    checks.check("what it held in XDG_RUNTIME_DIR is there again", ("of the session\n", "0o41750", 5001), found)

    app = host.path(UNHELD)
    found = "none"
    if (app / "state").exists():
        found = ((app / "state").read_text(), oct((app / "state").stat().st_mode), (app / "state").stat().st_uid, os.readlink(app / "link"),
                 oct(app.stat().st_mode), (app / "empty").is_dir())
    gone = file_system == "tmpfs" or not ((app / "fifo").exists() or (app / "zeros").exists())
    checks.check("and what nobody held", ("held by nobody\n", "0o100640", 5001, "state", "0o42751", True, True),
                 (*found, gone) if found != "none" else found)

    result = abeyctl(host, "suspend", session.id, "--keep-running", "--json")
    checks.check("suspended again", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    if SHARES in checks.names:
        states = names(host, f"{AREA}/snapshots")
        wanted = len(states) if provider == "reflink" else 1
        checks.check(SHARES, wanted, len(shared_inodes(host, provider, states)))
    checkpoint = json_of(result).get("checkpoint", "")
    result = abeyctl(host, "remove", checkpoint)
    checks.check("removed, the copy goes", (0, False), (result.returncode, checkpoint in names(host, f"{AREA}/snapshots")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("kind", choices=KINDS)
    options = parser.parse_args()
    file_system, provider, _ = KINDS[options.kind]
    plan = PLAN_OF_NONE if provider == "none" else [name for name in PLAN if provider != "nilfs2" or name != SHARES]
    checks = Checks(plan, options.tap)
    try:
        with Host(build=options.build, home=file_system) as host:
            try:
                if provider == "none":
                    verify_only(host, checks, file_system)
                else:
                    roll_back(host, checks, options.kind)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(plan) or not all(checks.results.values()):
                journal = host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40", "-u", "abey*"])
                checks.say(journal.stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"home on {options.kind}: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
