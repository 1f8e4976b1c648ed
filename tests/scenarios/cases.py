# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cases that are a function each, for bad_input.py and outside.py. Every one gets a bench of its own to work on, in namespaces
of its own, as the scenarios do."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import run

CASES = {}
NAMESPACES = ("--pid", "--mount", "--ipc", "--mount-proc")


def case(function):
    CASES[function.__name__] = function
    return function


def inside(make_bench, name, directory, build):
    bench = make_bench(directory, pathlib.Path(build))
    try:
        CASES[name](bench)
        bench.farewell()
        return 0
    except run.Skipped as reason:
        print(reason)
        return run.SKIP
    except (run.Failed, OSError, subprocess.SubprocessError) as reason:
        print(" / ".join(str(reason).splitlines()))
        return 1


def outside(program, namespaces, name, build):
    directory = tempfile.mkdtemp(prefix=f"abey-{pathlib.Path(program).stem}-")
    os.chmod(directory, 0o777)
    space = ["unshare", "--fork", *namespaces, "--kill-child"] if namespaces else []
    try:
        done = subprocess.run([*space, sys.executable, program, "--inside", name, directory, str(build)],
                              capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL)
        text = (done.stdout + done.stderr).strip().replace("\n", " / ")
        verdict = {0: "passed", run.SKIP: "skipped"}.get(done.returncode, "failed")
        return verdict, text or (f"status {done.returncode}" if verdict == "failed" else "")
    except subprocess.TimeoutExpired:
        return "failed", "did not end within 240 s"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main(program, description, make_bench, namespaces_of):
    """Of the program in this file: its exit status. namespaces_of: the options of unshare(1) for a case; none, it gets none."""
    if sys.argv[1:2] == ["--inside"]:
        return inside(make_bench, *sys.argv[2:5])
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if os.geteuid() != 0:
        print(f"{pathlib.Path(program).name}: checkpoint and restore need root", file=sys.stderr)
        return 1
    for name in options.names or CASES:
        verdict, reason = outside(program, namespaces_of(name), name, build)
        counts[verdict] += 1
        run.tell(options.tap, counts, name, verdict, reason)
    run.closing(options.tap, counts)
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1
