#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoint a tree that forks, execs, opens, closes and ends as fast as it can, again and again, and restore some of them.

    under_fire.py --build DIR [--tap] [--rounds N] [--seconds S]

The tree (busy.cpp) checks everything it does. Each round is a checkpoint with --keep-running at a random moment, and the
image is read and verified; every tenth time the tree is killed instead and comes back from that image. An image
may be refused only with the words "try again" (what was seen ended in between), which at most a fifth may be. At the
end the tree must have found nothing wrong. Rounds end after --seconds, but 20 are always made.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import run


def checkpointed(engine, pid, images):
    """True for a whole image, False when it was refused for the moment."""
    done = subprocess.run([engine, "checkpoint", "--keep-running", "--pid", str(pid), "--images", str(images)],
                          capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return True
    if "try again" not in done.stderr:
        raise run.Failed(f"checkpoint: {done.stderr.strip() or done.returncode}")
    if images.exists() and any(images.iterdir()):
        raise run.Failed(f"a refused checkpoint left {sorted(path.name for path in images.iterdir())} behind")
    return False


def kill_all():
    """As run.kill_all(), for processes that end, and are born, meanwhile."""
    deadline = time.monotonic() + run.PATIENCE
    while run.processes():
        for pid in run.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        run.reap()
        if time.monotonic() > deadline:
            raise run.Failed(f"processes that cannot be killed: {sorted(run.processes())}")


def fire(directory, build, rounds, seconds):
    engine = str(build / "abey-engine")
    images = directory / "images"
    pid = run.start(build / "tests/scenarios/scenario-busy", directory)
    chance = random.Random(3)
    begin, made, refused, restored = time.monotonic(), 0, 0, 0
    while made + refused < rounds and (time.monotonic() - begin < seconds or made + refused < 20):
        time.sleep(chance.random() * 0.02)
        if run.result_of(directory):
            raise run.Failed(f"after {made + refused} rounds: {run.result_of(directory)}")
        shutil.rmtree(images, ignore_errors=True)
        if not checkpointed(engine, pid, images):
            refused += 1
            continue
        made += 1
        shown = json.loads(subprocess.run([engine, "inspect", "--json", images], capture_output=True, text=True, timeout=60,
                                          check=True).stdout)
        if not shown.get("tasks"):
            raise run.Failed("an image without tasks")
        if made % 10 == 0:
            kill_all()
            (directory / "result").unlink(missing_ok=True)
            run.engine_run(engine, "restore", "--detach", "--images", images)
            restored += 1
        run.reap()
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 3 * run.PATIENCE
    while not run.result_of(directory):
        if time.monotonic() > deadline:
            raise run.Failed("the tree does not end")
        run.reap()
        time.sleep(0.01)
    if run.result_of(directory) != "PASS":
        raise run.Failed(run.result_of(directory))
    if refused * 5 > made + refused:
        raise run.Failed(f"{refused} of {made + refused} checkpoints were refused")
    print(f"{made} checkpoints, {restored} restores, {refused} refused for the moment")


def inside(directory, build, rounds, seconds):
    run.raise_loopback()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        fire(pathlib.Path(directory), pathlib.Path(build), int(rounds), float(seconds))
    except (run.Failed, OSError, subprocess.SubprocessError) as reason:
        print(" / ".join(str(reason).splitlines()))
        return 1
    return 0


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="abey-scenario-")
    try:
        done = subprocess.run(
            ["unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--mount-proc", "--kill-child", sys.executable, __file__,
             "--inside", directory, str(pathlib.Path(options.build).resolve()), str(options.rounds), str(options.seconds)],
            capture_output=True, text=True, timeout=options.seconds * 3 + 600, check=False, stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    text = " / ".join((done.stdout + done.stderr).strip().splitlines())
    if options.tap:
        print(f"{'ok' if done.returncode == 0 else 'not ok'} 1 - under fire\n# {text}\n1..1")
    else:
        print(text)
        print(f"{int(done.returncode == 0)} passed, {int(done.returncode != 0)} failed, 0 skipped")
    return 0 if done.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
