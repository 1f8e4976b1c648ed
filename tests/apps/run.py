#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run real programs, suspend each in the middle of its work, resume it, and check that the work is finished correctly.

    run.py --build DIR [--tap] [--markdown] [--rounds N] [--jobs N] [NAME...]

The programs are the functions marked @app in the files beside this one. Each runs in pid, mount, ipc and network namespaces of
its own, whose end takes every process with it, with abey-engine as the only tool: it is suspended (ended), all its processes
are seen to be gone, and it is resumed; that as often as --rounds says, 0 to see how it goes without the engine. A program that is
not installed is skipped with that reason. --markdown writes the table of docs/APPS.md to standard output.
"""

import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pyte

HERE = pathlib.Path(__file__).resolve().parent
FILES = ["shells", "editors", "languages", "tools", "databases", "network"]
PATIENCE = 60  # seconds for anything to happen; nothing is measured by it
SKIP = 77
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent",
               "TERM": "linux"}
APPS = {}


class Failed(Exception):
    """What went wrong, in one line."""


class Skipped(Exception):
    """Why a program could not be tried here."""


def app(title, version, doing):
    """Marks the function that drives one program. `version` is the command that tells its version."""
    def register(function):
        APPS[function.__name__] = {"function": function, "title": title, "version": version, "doing": doing}
        return function
    return register


def expect(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: expected {str(wanted)[:300]!r}, found {str(found)[:300]!r}")


class Bench:
    """One program's place: its directory, its root process, its terminal, and the engine."""

    def __init__(self, directory, engine, rounds):
        self.directory = pathlib.Path(directory)
        self.engine = engine
        self.rounds = rounds
        self.root = 0
        self.frozen = 0.0
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.shown = None

    # Preparing and looking

    def path(self, name):
        return self.directory / name

    def write(self, name, text):
        self.path(name).write_text(text)
        return self.path(name)

    def read(self, name):
        try:
            return self.path(name).read_text()
        except FileNotFoundError:
            return ""

    def call(self, *command, **options):
        """Run something to its end, outside of what is suspended; its output."""
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE, check=False,
                              cwd=self.directory, stdin=subprocess.DEVNULL, **{"env": ENVIRONMENT, **options})
        if done.returncode != 0:
            raise Failed(f"{command[0]}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def wait_until(self, true, what):
        deadline = time.monotonic() + PATIENCE
        while True:
            found = true()
            if found:
                return found
            if time.monotonic() > deadline:
                raise Failed(f"waited in vain until {what}{self._screen_text()}")
            time.sleep(0.01)

    def wait_lines(self, name, count):
        """Until a file has so many lines: the way to be in the middle of something."""
        self.wait_until(lambda: self.read(name).count("\n") >= count, f"{name} has {count} lines")

    # What is suspended

    def start(self, *command, output="output", **options):
        """The root process. Standard output and error go to a file, standard input is /dev/null or a fifo."""
        with open(self.path(output), "wb") as out:
            process = subprocess.Popen([str(part) for part in command], cwd=self.directory, stdout=out, stderr=out,
                                       start_new_session=True, **{"env": ENVIRONMENT, "stdin": subprocess.DEVNULL, **options})
        self.root = process.pid
        process.returncode = 0  # from here on we wait for it ourselves, also when another process has its pid

    def start_in_terminal(self, command, rows=24, columns=80, **options):
        """The root process is script(1), which holds a terminal's master; keys come through a fifo, what it shows is a file."""
        keys = self.fifo("keys")
        line = f"stty rows {rows} cols {columns}; exec {command}"
        self.shown = self.path("shown")
        self.start("script", "--quiet", "--flush", "--return", "--log-out", self.shown, "--command", line, stdin=keys,
                   output="script-says", **options)
        os.close(keys)

    def fifo(self, name):
        """A descriptor that reads a new fifo and never comes to its end."""
        os.mkfifo(self.path(name))
        return os.open(self.path(name), os.O_RDWR)

    def send(self, text, fifo="keys"):
        with open(self.path(fifo), "wb", buffering=0) as out:
            out.write(text.encode())

    def text(self):
        """The screen as a person sees it; script's own lines are not there with --quiet."""
        data = self.shown.read_bytes() if self.shown.exists() else b""
        self.screen.reset()
        self.stream.feed(data)
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def _screen_text(self):
        return f"; the screen: {self.text()!r}" if self.shown else ""

    def wait_for(self, pattern):
        """Until the screen matches a regular expression; the match."""
        return self.wait_until(lambda: re.search(pattern, self.text(), re.MULTILINE), f"the screen matches /{pattern}/")

    def processes(self):
        return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - {os.getpid()}

    def suspend_and_resume(self):
        for number in range(self.rounds):
            self._suspend_and_resume(self.path(f"images-{number}"))
        self.path("go-on").touch()  # programs that could be too quick for us wait for it

    def _suspend_and_resume(self, images):
        if self.path(f"/proc/{self.root}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            raise Failed(f"process {self.root} ended before it could be suspended")
        answer = self._run_engine("checkpoint", "--json", "--pid", self.root, "--images", images)
        self.frozen += json.loads(answer)["figures"].get("frozen_time", 0) / 1e6
        self.status()
        self.wait_until(lambda: self._reap() or not self.processes(), "every process has ended by the checkpoint")
        self._run_engine("restore", "--detach", "--images", images)
        shutil.rmtree(images)

    def _run_engine(self, *arguments):
        try:
            done = subprocess.run([self.engine, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Failed(f"{arguments[0]} did not end") from None
        if done.returncode != 0:
            raise Failed(f"{arguments[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def status(self):
        """Wait for the end of the root process; its status as a shell tells it."""
        def ended():
            pid, status = os.waitpid(self.root, os.WNOHANG)
            return pid and (os.waitstatus_to_exitcode(status),)
        return self.wait_until(ended, f"process {self.root} ends")[0]

    def end(self, number):
        os.kill(self.root, number)

    @staticmethod
    def _reap():
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass


def version_of(entry):
    """The version that the program tells, or the reason why it cannot be tried."""
    try:
        done = subprocess.run(entry["version"], capture_output=True, text=True, timeout=PATIENCE, check=False, env=ENVIRONMENT,
                              stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Skipped(f"{entry['version'][0]} is not installed") from None
    found = re.search(r"\d+(\.\d+)+\w*|\d+", (done.stdout + done.stderr))
    if not found:
        raise Skipped(f"{' '.join(entry['version'])} tells no version")
    return found[0]


def inside(name, directory, engine, rounds):
    """The part that runs as the first process of the namespaces; prints what it found as JSON."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    bench = Bench(directory, engine, int(rounds))
    entry = APPS[name]
    result = {"verdict": "passed", "reason": ""}
    try:
        result["version"] = version_of(entry)
        entry["function"](bench)
    except Skipped as reason:
        result |= {"verdict": "skipped", "reason": str(reason)}
    except (Failed, OSError, subprocess.SubprocessError) as reason:
        result |= {"verdict": "failed", "reason": " / ".join(str(reason).splitlines())}
    result["frozen"] = bench.frozen
    print(json.dumps(result))
    return 0


def run_outside(name, engine, rounds):
    begin = time.monotonic()
    directory = tempfile.mkdtemp(prefix="abey-app-")
    os.chmod(directory, 0o777)  # some programs do not run as root
    try:
        done = subprocess.run(
            ["unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--mount-proc", "--kill-child", sys.executable, __file__,
             "--inside", name, directory, engine, str(rounds)],
            capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)
        try:
            result = json.loads(done.stdout)
        except ValueError:
            text = " / ".join((done.stdout + done.stderr).strip().splitlines())
            result = {"verdict": "failed", "reason": text or f"status {done.returncode}"}
    except subprocess.TimeoutExpired:
        result = {"verdict": "failed", "reason": "did not end within 300 s"}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return {"time": time.monotonic() - begin, "version": "-", "frozen": 0.0, **result}


def markdown(results):
    lines = ["# Programs of other people", "",
             "Written by `tests/apps/run.py --markdown`. Each program was suspended with `abey-engine` in the middle of what the table says,",
             "all its processes were seen to be gone, it was resumed, and its work was finished and checked: nothing lost or repeated, exit",
             "status as without the interruption. *Frozen* is the time from the freeze to the end of the checkpoint, *time* that of the whole test.",
             "", f"Linux {platform.release()}, {os.cpu_count()} processors.", "",
             "| program | version | what was under way | result | frozen | time |", "| --- | --- | --- | --- | --- | --- |"]
    for name, result in results:
        entry = APPS[name]
        verdict = result["verdict"] + (f": {result['reason']}" if result["reason"] else "")
        lines.append(f"| {entry['title']} | {result['version']} | {entry['doing']} | {verdict} | "
                     f"{result['frozen'] * 1000:.0f} ms | {result['time']:.1f} s |")
    counts = [sum(result["verdict"] == verdict for _, result in results) for verdict in ("passed", "failed", "skipped")]
    return "\n".join(lines + ["", f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped."])


def main():
    for name in FILES:
        importlib.import_module(name)
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:6])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="meson's build directory")
    parser.add_argument("--tap", action="store_true", help="speak the Test Anything Protocol (for meson)")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is suspended and resumed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("run.py: checkpoint and restore need root", file=sys.stderr)
        return 1
    engine = str(pathlib.Path(options.build).resolve() / "abey-engine")
    names = options.names or list(APPS)
    results = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, result in zip(names, pool.map(lambda name: run_outside(name, engine, options.rounds), names)):
            results.append((name, result))
            tell(options, len(results), name, result)
    counts = {verdict: sum(result["verdict"] == verdict for _, result in results) for verdict in ("passed", "failed", "skipped")}
    if options.markdown:
        print(markdown(results))
    elif options.tap:
        print(f"1..{len(results)}")
    else:
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 0 if counts["failed"] == 0 else 1


def tell(options, number, name, result):
    verdict, reason = result["verdict"], result["reason"]
    if not options.tap:
        stream = sys.stderr if options.markdown else sys.stdout
        print(f"{verdict} {name} ({result['time']:.1f} s){': ' + reason if reason else ''}", file=stream, flush=True)
        return
    print(f"{'not ok' if verdict == 'failed' else 'ok'} {number} - {name}{' # SKIP ' + reason if verdict == 'skipped' else ''}")
    if verdict == "failed":
        print(f"# {name}: {reason}", flush=True)


if __name__ == "__main__":
    # the files beside us import `run`: let them find this very module
    sys.modules["run"] = sys.modules["__main__"]
    sys.exit(main())
