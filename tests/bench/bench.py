#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measure checkpoint and restore.

    bench.py --build DIR [--rounds N] [--growth] [--realtime] [--markdown FILE] [CASE...]

For each case, medians of: wall time of `abey-engine checkpoint`, how long the processes stood still, wall time of
`abey-engine restore`, and the greatest peak memory of either. Images lie on a tmpfs, deleted files on btrfs on a loop
device. With CRIU=/path/to/criu in the environment CRIU does the same in turns with ours: the same program, the same file
systems; ratios above 1 mean that it takes longer. --growth measures how cost grows with tasks and descriptors instead.

Everything happens in mount and pid namespaces of their own: their end takes every process, mount and loop device along.
Needs root, and about 8 GiB of memory for the largest case.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time

AREA = pathlib.Path("/mnt")  # only in our mount namespace: a tmpfs of ours covers it
FILE = str(AREA / "disk/file")
MIB = 1 << 20
PATIENCE = 300  # seconds for one command
POLICY = '[limits]\nembed-limit = "2 GiB"\n[[file]]\npath = "/**"\nstate = ["deleted"]\nstrategy = "{}"\n'

STRATEGIES = ("reflink", "copy", "embed", "empty")
# name: arguments of bench-load, strategy for deleted files
CASES = {
    "memory 64 MiB": (["memory", str(64 * MIB)], None),
    "memory 1 GiB": (["memory", str(1024 * MIB)], None),
    "10 processes": (["tree", "10"], None),
    "100 processes": (["tree", "100"], None),
    "500 processes": (["tree", "500"], None),
    "2,000 threads": (["threads", "2000"], None),
    # by each strategy that a file whose last name is gone allows; 256 MiB are what is embedded unless the policy says otherwise
    **{f"{state} {size}, {strategy}": (["file", FILE, str(bytes), {"deleted": "clean", "dirty": "dirty"}[state]], strategy)
       for size, bytes, strategies in (("1 MiB", MIB, STRATEGIES), ("256 MiB", 256 * MIB, STRATEGIES), ("1 GiB", 1024 * MIB, STRATEGIES[::2]),
                                       ("2 GiB", 2048 * MIB, STRATEGIES)) for state in ("deleted", "dirty") for strategy in strategies},
}
FAMILIES = {"processes": ("tree", (10, 100, 1000, 5000)),
            "threads": ("threads", (10, 100, 1000, 5000)),
            "descriptors": ("descriptors", (10, 100, 1000, 10000, 100000))}
GROWTH = {f"{count:,} {what}": ([kind, str(count)], None)
          for what, (kind, counts) in FAMILIES.items() for count in counts}
COLUMNS = ("checkpoint", "frozen", "restore", "peak")


class BenchError(Exception):
    pass


class Tools:
    """The programs of tests/bench, from the build directory."""

    def __init__(self, build, realtime):
        self.prefix = ["chrt", "--fifo", "5"] if realtime else []
        self.build = pathlib.Path(build).resolve()
        self.load = self.find("bench-load")
        self.run_program = self.find("bench-run")

    def find(self, name):
        for path in self.build.rglob(name):
            if path.is_file():
                return str(path)
        raise BenchError(f"no {name} in {self.build}: build it first, or use ./dev bench")

    def run(self, command):
        """Seconds, CPU seconds, peak memory in MiB, stdout."""
        with open(AREA / "stdout", "w+", encoding="utf-8") as out, open(AREA / "stderr", "w+", encoding="utf-8") as err:
            # what is restored may hold our files: never a pipe, whose end we would wait for
            subprocess.run([*self.prefix, self.run_program, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                           start_new_session=True, timeout=PATIENCE, check=True)
            out.seek(0)
            err.seek(0)
            said, _, figures = err.read().rstrip().rpartition("\n")
            figures = json.loads(figures)
            if figures["status"] != 0:
                raise BenchError(f"{os.path.basename(command[0])} {command[1]}: status {figures['status']}: "
                                 f"{(said or out.read()).strip()[-300:]}")
            return figures["seconds"], figures["cpu"], figures["peak"] / 1024, out.read()

    def start(self, arguments):
        """The pid of what bench-load has set up."""
        with open(AREA / "stdout", "w+", encoding="utf-8") as out, open(AREA / "stderr", "w+", encoding="utf-8") as err:
            status = subprocess.run([*self.prefix, self.load, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                    timeout=PATIENCE, check=False).returncode
            out.seek(0)
            err.seek(0)
            if status != 0:
                raise BenchError(f"bench-load: status {status}: {err.read().strip()}")
            return int(out.read())


class Abeyance:
    name = "abeyance"

    def __init__(self, tools):
        self.tools = tools
        self.engine = tools.find("abey-engine")

    def checkpoint(self, pid, images, strategy):
        policy = []
        if strategy:
            (AREA / "policy.toml").write_text(POLICY.format(strategy))
            policy = ["--policy", str(AREA / "policy.toml")]
        seconds, cpu, peak, out = self.tools.run(
            [self.engine, "checkpoint", "--pid", str(pid), "--images", images, "--json", *policy])
        return seconds, cpu, json.loads(out)["figures"]["frozen_time"] / 1e6, peak

    def restore(self, images):
        return self.tools.run([self.engine, "restore", "--images", images, "--detach"])[:3]


class Criu:
    name = "CRIU"

    def __init__(self, tools, program):
        self.tools = tools
        self.program = program

    def told(self, images, log, command):
        try:
            return self.tools.run([self.program, *command, "-D", images, "-o", log, "-v1"])
        except BenchError as error:
            last = (pathlib.Path(images) / log).read_text(errors="replace").strip().splitlines()[-1:]
            raise BenchError(f"{error} {''.join(last)}") from None

    def checkpoint(self, pid, images, strategy):
        os.makedirs(images)
        seconds, cpu, peak, _ = self.told(images, "dump.log", ["dump", "-t", str(pid), "--ghost-limit", "2G"])
        return seconds, cpu, frozen_time(pathlib.Path(images) / "stats-dump"), peak

    def restore(self, images):
        return self.told(images, "restore.log", ["restore", "-d"])[:3]


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
    raise BenchError("CRIU's stats-dump has no frozen_time")


def others():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def end_all():
    """Kill whatever else there is in our pid namespace, whose first process we are, and wait until it has gone."""
    limit = time.monotonic() + PATIENCE
    while others():
        try:
            os.kill(-1, signal.SIGKILL)
            while os.waitpid(-1, 0)[0]:
                pass
        except (ProcessLookupError, ChildProcessError):
            pass
        if time.monotonic() > limit:
            raise BenchError("processes that were killed do not go")


def measure(tools, tool, arguments, strategy):
    """One checkpoint and restore."""
    images = str(AREA / "images" / "one")
    try:
        pathlib.Path(FILE).unlink(missing_ok=True)  # of a load that failed
        pid = tools.start(arguments)
        before = len(others())
        taken, taken_cpu, frozen, peak = tool.checkpoint(pid, images, strategy)
        end_all()
        back, back_cpu, peak_back = tool.restore(images)
        if not pathlib.Path(f"/proc/{pid}").exists() or len(others()) < before:
            raise BenchError(f"{tool.name}: of {before} processes only {len(others())} are there after the restore")
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{tool.name}: took longer than {PATIENCE} s: {' '.join(error.cmd[1:3])}") from None
    finally:
        end_all()
        shutil.rmtree(images, ignore_errors=True)
        # deleted data is only given back with btrfs' next transaction
        subprocess.run(["sync", "--file-system", AREA / "disk"], check=True, timeout=PATIENCE)
    return {"checkpoint": taken * 1e3, "frozen": frozen * 1e3, "restore": back * 1e3, "peak": max(peak, peak_back),
            "cpu": (taken_cpu + back_cpu) * 1e3}


def prepare():
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=100%", "tmpfs", AREA], check=True)
    for name in ("images", "disk"):
        (AREA / name).mkdir()
    image = AREA / "disk.img"
    with open(image, "wb") as file:
        file.truncate(16384 * MIB)
    subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop,discard", image, AREA / "disk"], check=True)


def machine():
    with open("/proc/meminfo", encoding="ascii") as info:
        memory = int(info.readline().split()[1]) / (1 << 20)
    return f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs, {memory:.0f} GiB of memory"


class Table:
    """The result, a line at a time on the terminal and whole as markdown."""

    def __init__(self, beside, rounds):
        self.beside = beside
        self.rounds = rounds
        self.rows = []
        self.medians = {}  # by name: of ours, and of what is beside it
        head = f"{'median, least':24}" + "".join(f"{column:>19}" for column in COLUMNS[:3]) + f"{'peak MiB':>10}"
        print(f"{machine()}; milliseconds, {rounds} rounds\n{head}"
              + ("   CRIU/ours: checkpoint, frozen, restore, peak" if beside else ""), flush=True)

    def add(self, name, results):
        ours, theirs = results["abeyance"], results.get("CRIU")
        middle = {column: statistics.median(row[column] for row in ours) for column in COLUMNS}
        cells = [f"{middle[column]:.1f}, {min(row[column] for row in ours):.1f}" for column in COLUMNS[:3]]
        cells.append(f"{max(row['peak'] for row in ours):.1f}")
        line = f"{name:24}" + "".join(f"{cell:>19}" for cell in cells[:3]) + f"{cells[3]:>10}"
        if theirs:
            other = {column: statistics.median(row[column] for row in theirs) for column in COLUMNS}
            ratios = [f"{other[column] / middle[column]:.2f}" for column in COLUMNS]
            cells += [f"{other[column]:.1f} ({ratio})" for column, ratio in zip(COLUMNS, ratios)]
            line += "   " + ", ".join(ratios)
        self.rows.append([name, *cells])
        self.medians[name] = [middle, *([other] if theirs else [])]
        print(line, flush=True)

    def add_exponent(self, what, counts):
        """Time as a power of the number, by the slope of medians in a log-log plot: 1 is linear. Below a hundred most of
        the time is what any command takes."""
        measured = {count: self.medians[f"{count:,} {what}"] for count in counts
                    if count >= 100 and f"{count:,} {what}" in self.medians}
        if len(measured) < 2:
            return
        sides = min(len(medians) for medians in measured.values())
        slopes = [[statistics.linear_regression([math.log(count) for count in measured],
                                                [math.log(medians[side][column]) for medians in measured.values()]).slope
                   for column in COLUMNS[:3]] for side in range(sides)]
        name = f"exponent, {min(measured):,} to {max(measured):,} {what}"
        cells = [cell for side in slopes for cell in [*(f"{slope:.2f}" for slope in side), ""]]
        self.rows.append([name, *cells])
        print(f"{name}: " + ", ".join(f"{slope:.2f}" for slope in slopes[0])
              + (" (CRIU: " + ", ".join(f"{slope:.2f}" for slope in slopes[1]) + ")" if sides > 1 else ""), flush=True)

    def fail(self, name, error):
        self.rows.append([name, f"failed: {error}"])
        print(f"{name:24} failed: {error}", flush=True)

    def markdown(self, command):
        heads = ["", "checkpoint", "frozen", "restore", "peak MiB"]
        if self.beside:
            heads += [f"CRIU: {column}" for column in COLUMNS[:3]] + ["peak MiB"]
        lines = [f"Measured on {datetime.date.today()} by `{command}`: {machine()}, kernel {platform.version()}."]
        if self.beside:
            lines[0] += f" Beside it: {self.beside}."
        lines += [f"Milliseconds, median and least of {self.rounds} rounds; peak memory: the greatest of all rounds."
                  + (" In brackets: CRIU's median divided by ours." if self.beside else ""), "",
                  "| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
        for row in self.rows:
            lines.append("| " + " | ".join(row + [""] * (len(heads) - len(row))) + " |")
        return "\n".join(lines) + "\n"


def replace_section(path, mark, text):
    """Puts the text between <!-- mark --> and <!-- end of mark --> of a page, which must have them."""
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    if begin not in page or end not in page:
        raise BenchError(f"{path} has no lines '{begin.strip()}' and '{end.strip()}'")
    before, rest = page.split(begin, 1)
    path.write_text(before + begin + text + end + rest.split(end, 1)[1], encoding="utf-8")


def run(options):
    cases = GROWTH if options.growth else CASES
    tools = Tools(options.build, options.realtime)
    contestants = [Abeyance(tools)]
    beside = None
    if os.environ.get("CRIU"):
        criu = os.environ["CRIU"]
        contestants.append(Criu(tools, criu))
        said = subprocess.run([criu, "--version"], capture_output=True, text=True, check=True).stdout
        beside = "CRIU " + said.split()[1]
    prepare()
    table = Table(beside, options.rounds)
    command = " ".join(["./dev bench", *(["--growth"] if options.growth else []),
                        *(["--realtime"] if options.realtime else []),
                        *([f"--rounds {options.rounds}"] if options.rounds != 5 else [])])
    failed = False
    for name in options.cases or cases:
        results = {tool.name: [] for tool in contestants}
        for tool in contestants * options.rounds:
            try:
                if results[tool.name] is not None and results["abeyance"] is not None:
                    results[tool.name].append(measure(tools, tool, *cases[name]))
            except BenchError as error:
                table.fail(f"{name}, {tool.name}", error)
                failed |= tool.name == "abeyance"  # what CRIU cannot do is its own affair
                results[tool.name] = None
        if results["abeyance"]:
            table.add(name, results)
        if options.markdown:
            replace_section(options.markdown, "growth" if options.growth else "cases", table.markdown(command))
    if options.growth:
        for what, (_, counts) in FAMILIES.items():
            table.add_exponent(what, counts)
        if options.markdown:
            replace_section(options.markdown, "growth", table.markdown(command))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true", help="how cost grows, instead of the usual cases")
    parser.add_argument("--realtime", action="store_true",
                        help="run what is measured before everything else (SCHED_FIFO), for a machine that is not idle")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="puts the table into this page as well")
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help=f"of: {'; '.join(CASES)}; with --growth: {'; '.join(GROWTH)}")
    options = parser.parse_args()
    for name in options.cases:
        if name not in (GROWTH if options.growth else CASES):
            parser.error(f"no case '{name}' (see --help)")
    if os.geteuid() != 0:
        parser.error("needs root")
    if os.getpid() != 1:
        # in the place of this process: whoever kills it kills all
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
                              "--mount-proc", sys.executable, os.path.abspath(__file__), *sys.argv[1:]])
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process of a namespace ignores what it does not handle
        signal.signal(number, lambda number, frame: os._exit(128 + number))
    try:
        return run(options)
    except (BenchError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
