#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs of the engine's scenarios are left on a disk under one kernel, and come back under another.

    kernels.py leave|return --build DIR STATE

Both runs are in the virtual machine; STATE is a directory on the disk that they share.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

PATIENCE = int(os.environ.get("ABEY_PATIENCE", "60"))
# None that compare what a kernel is to have with what it had before (attributes), or that change its settings (udp)
PROGRAMS = ("clocks", "credentials", "deleted_files", "events", "inherited_memory", "locks", "mapped_files", "pipes", "registers", "seccomp",
            "shared_memory", "signals", "sleeps", "syscalls", "terminal", "threads", "threads_abi", "timers", "tree", "unix_sockets",
            "vdso_functions", "without_vdso")


class Failed(Exception):
    """What went wrong with a program, in one line."""


def engine(build, *arguments):
    done = subprocess.run([build / "abey-engine", "--json", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{arguments[0]}: {(done.stderr or done.stdout).strip()}")
    return json.loads(done.stdout)


def leave(build, directory):
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)  # some give up their privileges
    program = build / "tests/scenarios" / f"scenario-{directory.name}"
    if subprocess.run([program, directory], timeout=PATIENCE, check=False).returncode != 0:
        result = directory / "result"
        raise Failed("not ready: " + (result.read_text().strip() if result.exists() else "no word why"))
    engine(build, "checkpoint", "--pid", (directory / "pid").read_text().strip(), "--images", directory / "images")


def come_back(build, directory):
    if not (directory / "images/manifest").exists():
        raise Failed("it was not left here")
    for pid in engine(build, "restore", "--detach", "--pids", "auto", "--images", directory / "images")["roots"]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    result = directory / "result"
    end = time.monotonic() + PATIENCE
    while not result.exists():
        if time.monotonic() > end:
            raise Failed(f"no result within {PATIENCE} s")
        time.sleep(0.05)
    if result.read_text().strip() != "PASS":
        raise Failed(result.read_text().strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("leave", "return"))
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("state", type=pathlib.Path)
    options = parser.parse_args()
    kernel = options.state / "kernel"  # that they were left under
    if options.what == "leave":
        kernel.write_text(os.uname().release)
    elif kernel.read_text() == os.uname().release:
        sys.exit(f"they were left under this kernel, {os.uname().release}")
    failed = 0
    for name in PROGRAMS:
        try:
            (leave if options.what == "leave" else come_back)(options.build, options.state / name)
        except (Failed, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"failed {name} {options.what}: {error}", flush=True)
        else:
            print(f"passed {name} {options.what}", flush=True)
    print(f"{len(PROGRAMS) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
