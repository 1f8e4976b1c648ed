#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How much memory the engine needs for each process more: of trees of two sizes, checkpointed and restored.

    worker_memory.py --build DIR [--tap]

The program is many_descriptors.cpp. Runs in namespaces of its own, as the scenarios do.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import run

FILES = 10  # of each process
SIZES = (150, 550)  # processes; what is the same for all sizes is needed for the smaller one, too
MOST = 16  # KiB for each process


def peak(bench_run, command):
    """Peak memory in KiB."""
    done = subprocess.run([bench_run, *map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=300, check=True)
    figures = json.loads(done.stderr.splitlines()[-1])
    if figures["status"] != 0:
        raise run.Failed(f"{command[1]}: status {figures['status']}: {done.stderr.strip()}")
    return figures["peak"]


def measure(build, directory, count):
    directory.mkdir()
    (directory / "counts").write_text(f"{count} {FILES}\n")
    engine = build / "abey-engine"
    bench_run = build / "tests/bench/bench-run"
    pid = run.start(str(build / "tests/scenarios/scenario-many_descriptors"), directory)
    taken = peak(bench_run, [engine, "checkpoint", "--pid", pid, "--images", directory / "images"])
    run.kill_all()
    back = peak(bench_run, [engine, "restore", "--detach", "--images", directory / "images"])
    os.kill(pid, signal.SIGTERM)
    run.wait_until(lambda: run.result_of(directory) or run.reap(), "the program's result")
    if run.result_of(directory) != "PASS":
        raise run.Failed(run.result_of(directory).removeprefix("FAIL "))
    run.kill_all()
    return {"checkpoint": taken, "restore": back}


def inside(directory, build):
    try:
        small, large = (measure(pathlib.Path(build), pathlib.Path(directory) / str(count), count) for count in SIZES)
        for command, before in small.items():
            each = (large[command] - before) / (SIZES[1] - SIZES[0])
            print(f"{command}: {before} KiB, then {each:.1f} KiB for each process")
            if each > MOST:
                raise run.Failed(f"{command}: {each:.1f} KiB of memory for each process, expected at most {MOST}")
        return 0
    except (run.Failed, OSError, subprocess.SubprocessError) as reason:
        print(" / ".join(str(reason).splitlines()))
        return 1


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:4])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="meson's build directory")
    parser.add_argument("--tap", action="store_true", help="speak the Test Anything Protocol (for meson)")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="abey-memory-")
    try:
        done = subprocess.run(["unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--mount-proc", "--kill-child",
                               sys.executable, __file__, "--inside", directory, str(pathlib.Path(options.build).resolve())],
                              capture_output=True, text=True, timeout=800, check=False, stdin=subprocess.DEVNULL)
        text, status = (done.stdout + done.stderr).strip().replace("\n", " / "), done.returncode
    except subprocess.TimeoutExpired:
        text, status = "did not end within 800 s", 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    counts = {"passed": int(status == 0), "failed": int(status != 0), "skipped": 0}
    run.tell(options.tap, counts, "worker memory", "passed" if status == 0 else "failed", text if status else "")
    if options.tap and status == 0:
        print(f"# {text}")
    elif status == 0:
        print(text)
    run.closing(options.tap, counts)
    return 1 if status and not options.tap else 0


if __name__ == "__main__":
    sys.exit(main())
