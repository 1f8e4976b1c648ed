#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measure checkpoint and restore: bench.py --build DIR [--rounds N] [CASE...]

For each case: wall time of `abey-engine checkpoint` and how long the processes stood still, wall time of `abey-engine
restore`, peak memory of either; medians. Images lie on a tmpfs, deleted files on btrfs. With CRIU=/path/to/criu in the
environment the same is done with CRIU in turns with ours, and its times are shown as ratios (above 1: we are faster).
Runs in mount and pid namespaces of its own, needs root.
"""

import argparse
import ctypes
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

AREA = pathlib.Path("/run/abeyance-bench")
MIB = 1 << 20
PR_SET_CHILD_SUBREAPER = 36

CASES = {
    "memory 64 MiB": ["memory", str(64 * MIB)],
    "memory 1 GiB": ["memory", str(1024 * MIB)],
    "tree of 10": ["tree", "10"],
    "tree of 100": ["tree", "100"],
    "deleted file 1 MiB": ["file", str(AREA / "disk/file"), str(MIB)],
    "deleted file 1 GiB": ["file", str(AREA / "disk/file"), str(1024 * MIB)],
}


class BenchError(Exception):
    pass


def timed(command):
    """Seconds, peak memory in MiB, stdout."""
    with open(AREA / "stdout", "w+", encoding="utf-8") as out, open(AREA / "stderr", "w+", encoding="utf-8") as err:
        begin = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise BenchError(f"{' '.join(map(str, command[:2]))}: status {process.returncode}: {err.read().strip()[-300:]}")
        return seconds, usage.ru_maxrss / 1024, out.read()


def reap():
    """Take up the ends of what became our child (we are the pid namespace's first process)."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_all(pid):
    """Kill a session and wait until every process of it has gone."""
    for entry in list(pathlib.Path("/proc").iterdir()):
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == pid:
                    os.kill(int(entry.name), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue
    while pathlib.Path(f"/proc/{pid}").exists():
        reap()
        time.sleep(0.005)
    reap()


class Abeyance:
    name = "abeyance"

    def __init__(self, build):
        found = [path for path in pathlib.Path(build).rglob("abey-engine") if path.is_file()]
        if not found:
            raise BenchError(f"no abey-engine in {build}: build it first")
        self.engine = str(found[0])

    def checkpoint(self, pid, images):
        seconds, memory, out = timed([self.engine, "checkpoint", "--pid", str(pid), "--images", images, "--json"])
        answer = json.loads(out)
        return seconds, answer.get("figures", answer)["frozen_time"] / 1e6, memory

    def restore(self, images):
        seconds, memory, _ = timed([self.engine, "restore", "--images", images, "--detach", "--json"])
        return seconds, memory


class Criu:
    name = "CRIU"

    def __init__(self, program):
        self.program = program

    def checkpoint(self, pid, images):
        os.makedirs(images)
        seconds, memory, _ = timed([self.program, "dump", "-t", str(pid), "-D", images, "-o", "dump.log", "-v1",
                                    "--ghost-limit", "2G"])
        return seconds, frozen_time(pathlib.Path(images) / "stats-dump"), memory

    def restore(self, images):
        seconds, memory, _ = timed([self.program, "restore", "-d", "-D", images, "-o", "restore.log", "-v1"])
        return seconds, memory


def frozen_time(path):
    """Seconds, from CRIU's stats-dump: two magic numbers and a size, then protobuf; field 1 is the dump's figures, its
    field 2 frozen_time in microseconds."""
    data = path.read_bytes()[12:]

    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value, at

    at = varint(varint(0)[1])[1]  # into field 1
    while at < len(data):
        key, at = varint(at)
        value, at = varint(at)
        if key == 2 << 3:
            return value / 1e6
    return float("nan")


def measure(tool, load, arguments):
    """One checkpoint and restore: (checkpoint, frozen, restore) in seconds, peak memory in MiB."""
    started = subprocess.run([load, *arguments], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        raise BenchError(f"bench-load: {started.stderr.strip()}")
    pid = int(started.stdout)
    images = str(AREA / "images" / "one")
    try:
        taken, frozen, peak = tool.checkpoint(pid, images)
        end_all(pid)
        back, peak_back = tool.restore(images)
        if not pathlib.Path(f"/proc/{pid}").exists():
            raise BenchError(f"{tool.name}: process {pid} is not there after the restore")
    finally:
        end_all(pid)
        shutil.rmtree(images, ignore_errors=True)
    return taken, frozen, back, max(peak, peak_back)


def prepare():
    """Everything of ours lies on a tmpfs that ends with this mount namespace."""
    AREA.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", AREA], check=True)
    for name in ("images", "disk"):
        (AREA / name).mkdir()
    image = AREA / "disk.img"
    with open(image, "wb") as file:
        file.truncate(8192 * MIB)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", image, AREA / "disk"], check=True)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(options):
    prepare()
    load = str(next(pathlib.Path(options.build).rglob("bench-load")))
    tools = [Abeyance(options.build)]
    if os.environ.get("CRIU"):
        tools.append(Criu(os.environ["CRIU"]))
    print(f"medians of {options.rounds}; milliseconds, MiB")
    print(f"{'':20} {'checkpoint':>10} {'frozen':>8} {'restore':>8} {'peak':>6}" +
          ("   CRIU/ours: checkpoint, frozen, restore" if len(tools) > 1 else ""))
    failed = False
    for name in options.cases or CASES:
        results = {tool.name: [] for tool in tools}
        try:
            for _ in range(options.rounds):
                for tool in tools:
                    results[tool.name].append(measure(tool, load, CASES[name]))
        except BenchError as error:
            print(f"{name:20} failed: {error}", flush=True)
            failed = True
            continue
        medians = {tool: [statistics.median(column) for column in zip(*rows)] for tool, rows in results.items()}
        ours = medians["abeyance"]
        line = f"{name:20} {ours[0] * 1e3:10.1f} {ours[1] * 1e3:8.1f} {ours[2] * 1e3:8.1f} {ours[3]:6.0f}"
        if "CRIU" in medians:
            line += "   " + ", ".join(f"{theirs / mine:.2f}" for theirs, mine in zip(medians["CRIU"][:3], ours[:3]))
        print(line, flush=True)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}")
    options = parser.parse_args()
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no case '{name}', there are: {', '.join(CASES)}")
    if os.geteuid() != 0:
        parser.error("needs root")
    if "ABEYANCE_BENCH_INSIDE" not in os.environ:
        return subprocess.run(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                               "--mount-proc", sys.executable, os.path.abspath(__file__), *sys.argv[1:]],
                              env=dict(os.environ, ABEYANCE_BENCH_INSIDE="1"), check=False).returncode
    try:
        return run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
