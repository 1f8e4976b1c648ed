#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare the whole of /proc of trees before and after something was done to them.

    proc.py --build DIR [--tap] [--show] [NAME...]

Two kinds of cases, each with the quiet programs of several scenarios. `failed-STAGE`: a checkpoint is made to fail, by a kill of
the engine at each of its stages or by a limit; the tree that runs on must be what it was. `restored`: the tree is checkpointed,
ended and restored; what may differ then is the list DIFFERS below, which stands in docs/LIMITS.md too. Counters of time and of
memory that was touched are not compared; everything else in /proc/PID and /proc/PID/task/TID is.
"""

import argparse
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import run

PROGRAMS = ["ended_leader", "threads", "signals", "timers", "files", "unix_sockets", "tree", "terminal", "mappings", "events", "pipes",
            "credentials", "attributes"]
STAGES = ["frozen", "captured", "rescued", "memory"]
LATE = ["committed"]  # the checkpoint stands, and its processes should have ended: they go on
LIMITS = ["no-space", "few-descriptors", "small-files"]

FILES = ["status", "maps", "stat", "cmdline", "comm", "environ", "auxv", "limits", "cgroup", "personality", "coredump_filter",
         "oom_score_adj", "loginuid", "timerslack_ns", "uid_map", "gid_map", "setgroups", "timens_offsets", "mounts", "timers",
         "autogroup", "children"]
LINKS = ["cwd", "root", "exe"]

# Time that passes, work that is done, pages that are touched: (file, field).
MOVING = {("status", name) for name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches", "VmRSS", "RssAnon", "RssFile",
                                        "RssShmem", "VmHWM", "VmPeak", "VmPTE", "VmSwap", "State", "SigQ")}  # SigQ counts the user's, not the process's
MOVING |= {("stat", number) for number in (3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 30, 31, 35, 36, 37, 39, 42, 43, 44)}
MOVING |= {("fdinfo", name) for name in ("it_value", "ticks")}

# What a restored tree shows differently; docs/LIMITS.md lists and explains it: (file, field).
DIFFERS = {
    ("stat", 22),  # when it was started
    ("stat", 9),  # flags of the kernel's own: that it was privileged once
    ("status", "FDSize"),  # size of the table of descriptors, not its contents
    ("autogroup", ""),  # number of the scheduler's group
    ("fdinfo", "eventfd-id"),  # counted for the whole machine
    ("fdinfo", "ino"), ("fd", ""), ("fdinfo", "tfd"), ("maps", ""), ("timers", ""),  # see same_but_for()
    ("fdinfo", "flags"),  # see same_but_for_mark()
}
# And of zombies: nobody can see what they blocked, or what ended them.
DIFFERS_ZOMBIE = {("status", "SigBlk"), ("status", "ShdPnd"), ("stat", 32)}


def same_but_for(name, field, old, new):
    """Objects without a name have new inode numbers; neighbours that are alike in all may have become one mapping."""
    if name == "fd":
        return re.sub(r"\[\d+\]", "", old) == re.sub(r"\[\d+\]", "", new) and ":[" in old
    if name == "fdinfo" and field.endswith("tfd"):
        # the kernel sorts them by where their files lie in its memory
        return sorted(re.sub(r"ino:\w+", "", old).split(";")) == sorted(re.sub(r"ino:\w+", "", new).split(";"))
    if name == "maps":
        return merged(old) == merged(new)
    if name == "autogroup":
        return old.split()[1:] == new.split()[1:]
    if name == "timers":
        return sorted(old.split("ID: ")) == sorted(new.split("ID: "))  # one after the other, in no order
    return True


def same_but_for_mark(descriptor, old, new):
    """Of a terminal opened by TIOCGPTPEER with O_CLOEXEC Linux shows this flag with every descriptor, whatever the descriptor's own is.
    Restored, each shows its own."""
    old, new = (int(flags.rstrip(";"), 8) for flags in (old, new))
    return descriptor.startswith("/dev/pts/") and old == new | os.O_CLOEXEC


def merged(maps):
    """The mappings without inode numbers of nameless files, adjacent ones of the same kind as one."""
    result = []
    for line in maps.splitlines():
        span, mode, offset, device, inode, *path = line.split(None, 5)
        begin, end = (int(number, 16) for number in span.split("-"))
        named = path and path[0].startswith("/") and not path[0].endswith("(deleted)")
        kind = [mode, device, inode if named else "", *path]
        if result and result[-1][1] == begin and result[-1][3] == kind and not named:
            result[-1][1] = end
        else:
            result.append([begin, end, offset, kind])
    return result


def text_of(path):
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        return f"({error.strerror})"


def fields_of(name, text):
    """What a file says, cut into named pieces."""
    if name in ("status", "fdinfo"):
        found = {}
        for line in text.splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), "")
            found[key.strip()] += value.strip() + ";"
        return found
    if name == "stat":
        return dict(enumerate(text.rpartition(")")[2].split(), 3))
    return {"": text}


def look():
    """{(pid, tid, file, field): value} of every process but us."""
    found = {}
    for pid in sorted(run.processes()):
        place = pathlib.Path("/proc") / str(pid)
        for tid in sorted(int(entry) for entry in os.listdir(place / "task")):
            task = place / "task" / str(tid)
            for name in FILES:
                source = task / name if (task / name).exists() else place / name
                for field, value in fields_of(name, text_of(source)).items():
                    if (name, field) not in MOVING:
                        found[pid, tid, name, field] = value
            zombie = text_of(task / "stat").rpartition(")")[2].split()[:1] == ["Z"]
            found[pid, tid, "state", ""] = "Z" if zombie else ""
            for name in LINKS:
                found[pid, tid, name, ""] = link_of(task / name)
        for fd in sorted(os.listdir(place / "fd"), key=int):
            found[pid, 0, "fd", fd] = link_of(place / "fd" / fd)
            for field, value in fields_of("fdinfo", text_of(place / "fdinfo" / fd)).items():
                if ("fdinfo", field) not in MOVING:
                    found[pid, 0, "fdinfo", f"{fd} {field}"] = value
    return found


def link_of(path):
    try:
        return os.readlink(path)
    except OSError as error:
        return f"({error.strerror})"


def differences(before, after):
    for key in sorted(set(before) | set(after), key=str):
        if before.get(key) != after.get(key):
            yield key, before.get(key, "(not there)"), after.get(key, "(not there)")


def first_difference(old, new):
    """Of a file of many lines only the lines that differ."""
    if "\n" not in old + new:
        return old, new
    a, b = old.splitlines(), new.splitlines()
    return [line for line in a if line not in b][:3], [line for line in b if line not in a][:3]


def fail_at(stage, engine, pid, directory):
    """A checkpoint that does not come to its end."""
    images = directory / "images"
    environment, before = dict(os.environ), None
    if stage in STAGES + LATE:
        environment["ABEY_FAULT"] = stage
    elif stage == "no-space":
        images = directory / "small"
        images.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", images], check=True)
    else:
        kind, limit = {"few-descriptors": (resource.RLIMIT_NOFILE, 10), "small-files": (resource.RLIMIT_FSIZE, 2048)}[stage]
        before = lambda: resource.setrlimit(kind, (limit, limit))  # noqa: E731
    going_on = [] if stage in LATE else ["--keep-running"]
    done = subprocess.run([engine, "checkpoint", *going_on, "--pid", str(pid), "--images", str(images)], env=environment, preexec_fn=before,
                          capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        raise run.Failed(f"a checkpoint that was to fail at {stage} did not")
    if stage in STAGES + LATE and done.returncode != -signal.SIGKILL:
        raise run.Failed(f"not killed at {stage}: {done.stderr.strip()}")
    if stage == "no-space":
        subprocess.run(["umount", images], check=True)


def compare(mode, program, directory, build):
    """Yields what differs."""
    engine = str(build / "abey-engine")
    pid = run.start(build / "tests/scenarios" / f"scenario-{program}", directory)
    run.reap()
    before = settled()
    if mode == "restored":
        run.checkpoint(engine, pid, directory / "images")
        run.engine_run(engine, "restore", "--detach", "--images", directory / "images")
        time.sleep(0.2)
    else:
        fail_at(mode.removeprefix("failed-"), engine, pid, directory)
    run.reap()
    found = list(differences(before, settled()))
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + run.PATIENCE
    while not run.result_of(directory) and time.monotonic() < deadline:
        run.reap()
        time.sleep(0.01)
    if run.result_of(directory) != "PASS":
        raise run.Failed(f"{run.result_of(directory) or 'no result'}")
    for (pid, tid, name, field), old, new in found:
        kind = (name, re.sub(r"^\d+ ?", "", field) if name in ("fd", "fdinfo") else field)
        zombie = before[pid, tid or pid, "state", ""] == "Z"
        allowed = kind in DIFFERS and same_but_for(name, str(field), old, new) or zombie and kind in DIFFERS_ZOMBIE
        if kind == ("fdinfo", "flags"):
            allowed = same_but_for_mark(before[pid, 0, "fd", field.split()[0]], old, new)
        if mode != "restored" or not allowed:
            yield f"{name} {field} of {pid}/{tid}: {first_difference(old, new)}"


def settled():
    """A look that is the same twice: what is on its way has come to rest."""
    last = look()
    for _ in range(100):
        time.sleep(0.03)
        now = look()
        if not list(differences(last, now)):
            return now
        last = now
    raise run.Failed(f"the tree does not come to rest: {list(differences(last, look()))[:2]}")


def inside(mode, program, directory, build):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    run.raise_loopback()
    try:
        found = list(compare(mode, program, pathlib.Path(directory), pathlib.Path(build)))
    except (run.Failed, OSError, subprocess.SubprocessError) as reason:
        found = [" / ".join(str(reason).splitlines())]
    print("\n".join(found))
    return 1 if found else 0


def outside(mode, program, build):
    directory = tempfile.mkdtemp(prefix="abey-scenario-")
    os.chmod(directory, 0o777)
    try:
        done = subprocess.run(
            ["unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--mount-proc", "--kill-child", sys.executable, __file__,
             "--inside", mode, program, directory, str(build)],
            capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return done.returncode == 0, (done.stdout + done.stderr).strip().splitlines()


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--mode", choices=["failed", "restored"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    cases = []
    for number, program in enumerate(options.names or PROGRAMS):
        if options.mode != "failed":
            cases.append(("restored", program))
        stages = STAGES + LIMITS + LATE
        if not options.names:  # every stage with some programs, every program at some stages
            stages = [stage for at, stage in enumerate(stages) if (at + number) % 3 == 0]
        if options.mode != "restored":
            cases += [(f"failed-{stage}", program) for stage in stages]
    failures = 0
    for number, (mode, program) in enumerate(cases, 1):
        well, lines = outside(mode, program, build)
        failures += not well
        if options.tap:
            print(f"{'ok' if well else 'not ok'} {number} - {program} {mode}")
            lines = ["# " + line for line in lines]
        else:
            print(f"{'passed' if well else 'failed'} {program} {mode}")
        if not well:
            print("\n".join(lines), flush=True)
    print(f"1..{len(cases)}" if options.tap else f"{len(cases) - failures} passed, {failures} failed, 0 skipped")
    return 0 if failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
