#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images that earlier releases made, and that were made under another kernel, are read, checked and restored by this one:
old_images.py ABEY-ENGINE. One directory for each (old_images/make.sh). A restore needs a CPU that has enough and, of images without the vDSO
of their kernel (v1), a kernel with the same one: else it is skipped, and says why."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent / "old_images"
ENGINE = sys.argv[1]
# What each holds; its count goes on from there.
ALIKE = {"paths": ["/dev/null", "/dev/shm", "/dev/shm/old-image"], "strategy": "embed", "descriptors": [0, 1, 2]}
IMAGES = {"v1": {"comm": "count-0012", **ALIKE}, "v1-linux-6.1": {"comm": "count-0018", **ALIKE}}
WITHOUT_VDSO = "v1"
results = 0


def result(good, name, why=""):
    global results
    results += 1
    print(f"{'ok' if good else 'not ok'} {results} - {name}", flush=True)
    if not good:
        print(f"{name}: {why}", file=sys.stderr, flush=True)


def skip(name, why):
    global results
    results += 1
    print(f"ok {results} - {name} # SKIP {why}", flush=True)


def engine(*arguments):
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)


def said(run):
    return f"status {run.returncode}: {run.stderr.strip()}"


def comm_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "none"


def inspected(name, images, expected):
    run = engine("--json", "inspect", str(images))
    if run.returncode != 0:
        return result(False, f"{name} is read", said(run))
    shown = json.loads(run.stdout)
    task = shown["tasks"][0]
    found = {"comm": task["comm"], "paths": sorted(one["path"] for one in shown["inodes"]),
             "strategy": next(one["strategy"] for one in shown["inodes"] if one["naming"] == "deleted"),
             "descriptors": [one["number"] for one in shown["descriptor_tables"][0]["descriptors"]]}
    return result(found == expected, f"{name} is read", f"{found} instead of {expected}")


def damaged(name, images):
    with open(images / "tasks", "r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    run = engine("restore", "--images", str(images), "--detach")
    result(run.returncode == 1 and "checksum" in run.stderr, f"{name}, damaged, is refused", said(run))


def restored(name, images, expected):
    test = f"{name} is restored, and counts on"
    if os.geteuid() != 0:
        return skip(test, "needs root")
    try:
        run = engine("--json", "restore", "--images", str(images), "--detach", "--pids", "auto")
    except subprocess.TimeoutExpired as error:
        return result(False, test, error)
    if run.returncode != 0:
        # No other reason counts: anything else would be a format that is not understood any more
        other = re.search(r"extended registers|is not mounted" + ("|vDSO differs" if name == WITHOUT_VDSO else ""), run.stderr)
        return skip(test, run.stderr.strip().replace("#", " ")) if other else result(False, test, said(run))
    pids = [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit() and comm_of(entry.name).startswith("count-")
            and "old-image" in os.readlink(f"/proc/{entry.name}/exe")]
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end and not any(comm_of(pid) > expected["comm"] for pid in pids):
            time.sleep(0.05)
        found = [comm_of(pid) for pid in pids]
        result(len(found) == 1 and expected["comm"] < found[0] < "count-0999", test, f"{found}, {run.stdout}")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


print(f"1..{3 * len(IMAGES)}")
kept = sorted(entry.name for entry in HERE.iterdir() if entry.is_dir())
assert kept == sorted(IMAGES), f"{kept} are there, {sorted(IMAGES)} are known"
with tempfile.TemporaryDirectory(prefix="abeyance-old-images-") as folder:
    for image, wanted in IMAGES.items():
        copy = pathlib.Path(folder) / image
        shutil.copytree(HERE / image, copy)
        inspected(image, copy, wanted)
        restored(image, copy, wanted)
        again = pathlib.Path(folder) / f"{image}-damaged"
        shutil.copytree(HERE / image, again)
        damaged(image, again)
