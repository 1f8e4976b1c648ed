#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in for the worker in tests of the service alone: takes a job as abey-worker does, and does what /run/stand-in says
(done, fail, quota, die, slow, slow insurances) without touching any process. Usage: stand_in_worker.py KIND NUMBER."""

import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import time

kind, number = sys.argv[1:]
jobs = pathlib.Path("/run/abeyance/jobs")
store = pathlib.Path("/var/lib/abeyance")
job = json.loads((jobs / f"{number}.json").read_text())
mode = pathlib.Path("/run/stand-in").read_text().strip()


def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def outcome(**members):
    (jobs / f"{number}.new").write_text(json.dumps({"message": "", "checkpoint": "", "session": "", "figures": {},
                                                    "findings": [], **members}))
    os.rename(jobs / f"{number}.new", jobs / f"{number}.result")


if kind != job["kind"]:
    sys.exit(f"job {number} is a {job['kind']}")
if kind == "remove":
    for place in (store / job["checkpoint"], store / f".removing-{job['checkpoint']}"):
        shutil.rmtree(place, ignore_errors=True)
    outcome(ok=True)
    sys.exit(0)
notify("STATUS=freeze (20%)")
while mode == "slow insurances" and job["keep_running"]:
    time.sleep(0.05)
    mode = pathlib.Path("/run/stand-in").read_text().strip()
if mode == "slow":
    while mode == "slow":  # until the test says how it ends
        time.sleep(0.05)
        mode = pathlib.Path("/run/stand-in").read_text().strip()
if mode == "end":
    notify("STATUS=end (95%)")
    while mode == "end":
        time.sleep(0.05)
        mode = pathlib.Path("/run/stand-in").read_text().strip()
if mode == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "fail":
    outcome(ok=False, message="process 7 (evil\x1b[2J), descriptor 3: no")
    sys.exit(1)
if mode == "quota":
    outcome(ok=False, message="no room", error="QuotaExceeded")
    sys.exit(1)
if kind == "suspend":
    image = store / job["checkpoint"] / "image"
    image.mkdir(parents=True)
    (image.parent / "about.json").write_text(json.dumps(
        {"id": job["checkpoint"], "uid": job["uid"], "user": "ada", "session": job["session"],
         "created": time.time_ns() // 1000, "kept_running": job["keep_running"], "trigger": job["trigger"],
         "boot": pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()}))
    (image / "manifest").write_text("stand-in")
    outcome(ok=True, checkpoint=job["checkpoint"], figures={"frozen_time": 1500, "total_time": 2_000_000})
elif kind == "check" and job["question"] == "explain":
    outcome(ok=True, answer=json.dumps({"session": job["session"], "truncated": True, "count": 5000, "by_name": 4998, "refused": 0, "cost": 2048, "files": [
        {"pid": 7, "comm": "vi", "path": "/x", "state": "deleted", "size": 3, "on_disk": 3, "strategy": "embed", "rule": "", "cost": 3,
         "tried": [], "refused": "", "descriptor": 3}]}))
elif kind == "check":
    outcome(ok=True, findings=[{"pid": 7, "comm": "vi\x07", "object": "descriptor 3 (socket:[1])", "reason": "is a socket",
                                "advice": "close it", "fatal": job["session"] == pathlib.Path("/run/fatal").read_text()}])
elif kind == "resume":
    (store / job["checkpoint"] / "resumed").write_text("")
    outcome(ok=True, session="99")
    notify("READY=1")
    signal.pause()
