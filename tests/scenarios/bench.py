# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the cases of bad_input.py work on: the engine, and a victim."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import run


class Bench:
    """One case: its directory, the engine, and the victim."""

    def __init__(self, directory, build):
        self.directory = pathlib.Path(directory)
        self.engine = str(build / "abey-engine")
        self.program = str(build / "tests/scenarios/scenario-victim")
        self.images = self.directory / "images"
        self.pid = 0

    def victim(self, mebibytes=1, before=(), holding=()):
        done = subprocess.run([*before, self.program, self.directory, str(mebibytes), *holding], timeout=run.PATIENCE, check=False)
        if done.returncode != 0:
            raise run.Failed("the victim did not get ready")
        self.pid = int((self.directory / "pid").read_text())

    def call(self, *arguments, before=(), **options):
        return subprocess.run([*before, self.engine, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL, **options)

    def told_once(self, told):
        """By a checkpoint, which is made, and by check."""
        done = self.call("checkpoint", "--keep-running", "--pid", self.pid, "--images", self.images)
        if done.returncode != 0 or (done.stdout + done.stderr).count(told) != 1:
            raise run.Failed(f"expected it to be told once, found status {done.returncode}: {done.stderr}{done.stdout}")
        if told not in self.call("check", "--pid", self.pid).stdout:
            raise run.Failed("check does not tell it")

    def refused(self, *arguments, says=(), **options):
        """One clear line that says what is expected, a status that is not 0."""
        done = self.call(*arguments, **options)
        if done.returncode <= 0:
            raise run.Failed(f"expected to be refused, found status {done.returncode}: {done.stdout or done.stderr}")
        lines = done.stderr.splitlines()
        if len(lines) != 1 or done.stdout:
            raise run.Failed(f"expected one line on stderr and nothing else, found {done.stderr!r} and {done.stdout!r}")
        for text in says:
            if text not in lines[0]:
                raise run.Failed(f"expected '{text}' in '{lines[0]}'")
        return lines[0]

    def count(self):
        for _ in range(100):  # it is rewritten in place
            text = (self.directory / "count").read_text() if (self.directory / "count").exists() else ""
            if text.endswith("\n"):
                return int(text)
            time.sleep(0.005)
        return 0

    def unharmed(self):
        """The victim goes on, nobody traces it, and at its end it has noticed nothing."""
        before = self.count()
        run.wait_until(lambda: self.count() > before, "the victim to go on")
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        if "TracerPid:\t0\n" not in status:
            raise run.Failed("the victim is still traced")
        if run.result_of(self.directory):
            raise run.Failed(run.result_of(self.directory))

    def farewell(self):
        if self.pid == 0:
            return
        self.unharmed()
        os.kill(self.pid, signal.SIGTERM)
        run.wait_until(lambda: run.reap() or run.result_of(self.directory), "the victim's end")
        if run.result_of(self.directory) != "PASS":
            raise run.Failed("the victim: " + run.result_of(self.directory))

    def image(self):
        """A whole image of the victim, which goes on."""
        self.victim()
        run.engine_run(self.engine, "checkpoint", "--keep-running", "--pid", self.pid, "--images", self.images)


# Runs what follows with the machine's system calls (x86-64) made before it.
CALLS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result
"""


def after_calls(code):
    return [sys.executable, "-c", CALLS + code + "\nos.execvp(sys.argv[1], sys.argv[1:])"]
