#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the engine says to bad input, and that the processes run on whatever happens to it.

    bad_input.py --build DIR [--tap] [NAME...]

Each case, here and in refusals*.py, has a victim (victim.cpp) that counts, computes and is asked at the end whether it
noticed anything. A refusal must be one line on stderr with a status that is not 0. Runs in namespaces of its own, as
the scenarios do.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import cases
import refusals  # noqa: F401 (adds cases)
import refusals_in_namespaces  # noqa: F401
import run
from bench import Bench
from cases import case


@case
def no_privileges(bench):
    bench.victim()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    copy = bench.directory / "engine"  # the build may lie where nobody can go
    shutil.copy(bench.engine, copy)
    bench.engine = str(copy)
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, before=nobody, says=["root"])
    bench.refused("restore", "--images", bench.images, before=nobody, says=["root"])
    if bench.images.exists():
        raise run.Failed("an image directory was left behind")


@case
def policy_with_a_typo(bench):
    bench.victim()
    policy = bench.directory / "policy.toml"
    policy.write_text("[[file]]\npath = '**'\nstrategi = 'copy'\n")
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, "--policy", policy, says=["3:1"])
    policy.write_text("[[file]]\nmatch = \n")
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, "--policy", policy, says=["2:"])


@case
def no_space(bench):
    bench.victim(mebibytes=32)
    small = bench.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", small], check=True)
    bench.refused("checkpoint", "--pid", bench.pid, "--images", small / "images", says=["No space left"])
    left = [path for path in small.rglob("*") if path.is_file()]
    if sum(path.stat().st_size for path in left) > 0:
        raise run.Failed(f"left on the full file system: {left}")


@case
def image_missing(bench):
    bench.refused("restore", "--images", bench.directory / "nothing", says=["nothing"])
    bench.refused("inspect", bench.directory / "nothing", says=["nothing"])


@case
def image_empty(bench):
    bench.images.mkdir()
    bench.refused("restore", "--images", bench.images, says=["images"])


@case
def image_not_empty(bench):
    bench.victim()
    bench.images.mkdir()
    (bench.images / "mine").write_text("precious")
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=["empty"])
    if (bench.images / "mine").read_text() != "precious":
        raise run.Failed("somebody's file in the image directory was changed")


def spoiled(bench, spoil):
    """Restores and inspects the image with each of its files spoiled in turn: what is refused must not start anything."""
    bench.image()
    files = sorted(path.relative_to(bench.images) for path in bench.images.rglob("*") if path.is_file())
    if not files:
        raise run.Failed("the image has no files")
    processes = run.processes()
    for name in files:
        copy = bench.directory / "spoiled"
        shutil.copytree(bench.images, copy)
        if spoil(copy / name):
            try:
                bench.refused("restore", "--detach", "--pids", "namespace", "--images", copy)
                bench.refused("inspect", copy)
            except run.Failed as reason:
                raise run.Failed(f"{name}: {reason}") from None
            if run.processes() - processes:
                raise run.Failed(f"{name}: processes were left behind")
        shutil.rmtree(copy)


@case
def image_truncated(bench):
    def spoil(path):
        size = path.stat().st_size
        os.truncate(path, size // 2)
        return size > 0
    spoiled(bench, spoil)


@case
def image_file_missing(bench):
    def spoil(path):
        path.unlink()
        return True
    spoiled(bench, spoil)


@case
def image_flipped_byte(bench):
    def spoil(path):
        data = bytearray(path.read_bytes())
        if not data:
            return False
        data[len(data) // 2] ^= 0x20
        path.write_bytes(data)
        return True
    spoiled(bench, spoil)


@case
def image_of_another_version(bench):
    bench.image()
    manifest = bench.images / "manifest"
    content = json.loads(manifest.read_text())
    content["version"] += 1000
    manifest.write_text(json.dumps(content))
    bench.refused("restore", "--detach", "--images", bench.images, says=["version", str(content["version"])])


def killed_at(bench, point):
    bench.victim(mebibytes=16)
    environment = dict(os.environ, ABEY_FAULT=point)
    done = bench.call("checkpoint", "--pid", bench.pid, "--images", bench.images, env=environment)
    if done.returncode != -signal.SIGKILL:
        raise run.Failed(f"was to be killed at {point}, status {done.returncode}: {done.stderr}")
    bench.unharmed()
    run.engine_run(bench.engine, "checkpoint", "--keep-running", "--pid", bench.pid, "--images",
                   bench.directory / "again")


for name in ("frozen", "captured", "rescued", "memory"):
    cases.CASES["killed_when_" + name] = lambda bench, point=name: killed_at(bench, point)


def session_of(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[3]
    except OSError:  # it has just ended
        return "0"


@case
def killed_while_releasing(bench):
    """Nobody finds half a tree: those that run already end, and it can be restored again."""
    family = 4
    with subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000 & exec sleep 1000"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as shell:
        def there():
            """How many of them, zombies whose ids are still in use among them."""
            run.reap()
            return sum(int(session_of(path)) == shell.pid for path in pathlib.Path("/proc").glob("[0-9]*/stat"))

        run.wait_until(lambda: there() == family, "the shell's children")
        run.engine_run(bench.engine, "checkpoint", "--pid", shell.pid, "--images", bench.images)
    run.wait_until(lambda: there() == 0, "their ids to be free again")
    restore = ("restore", "--detach", "--pids", "same", "--images", bench.images)
    done = bench.call(*restore, env=dict(os.environ, ABEY_FAULT="released"))
    if done.returncode != -signal.SIGKILL:
        raise run.Failed(f"was to be killed while it released, status {done.returncode}: {done.stderr}")
    run.wait_until(lambda: there() == 0, "the end of those that were released")
    run.engine_run(bench.engine, *restore)
    run.wait_until(lambda: there() == family, "the whole tree")


@case
def id_taken_unseen(bench):
    """An id that no process has, and which is in use all the same: of a process group whose leader has ended."""
    with subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True) as sleeper:
        run.engine_run(bench.engine, "checkpoint", "--pid", sleeper.pid, "--images", bench.images)
    pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(sleeper.pid - 1))
    leader = os.fork()
    if leader == 0:
        os.setpgid(0, 0)
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    if leader != sleeper.pid:
        raise run.Skipped(f"process id {sleeper.pid} cannot be had again")
    os.waitpid(leader, 0)
    bench.refused("restore", "--detach", "--pids", "same", "--images", bench.images, says=[str(sleeper.pid)])
    run.engine_run(bench.engine, "restore", "--detach", "--images", bench.images)
    lines = [path.read_bytes() for path in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
    if lines.count(b"sleep\0001000\0") != 1:
        raise run.Failed(f"expected one sleep 1000, found {lines}")


@case
def killed_at_random(bench):
    bench.victim(mebibytes=32)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for turn in range(20):
        with subprocess.Popen([bench.engine, "checkpoint", "--keep-running", "--pid", str(bench.pid), "--images",
                               str(bench.directory / f"images-{turn}")], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as engine:
            time.sleep(chance.uniform(0, 0.06))
            engine.kill()
        try:
            bench.unharmed()
        except run.Failed as reason:
            raise run.Failed(f"seed {seed}, turn {turn}: {reason}") from None


@case
def check_touches_nothing(bench):
    bench.victim()
    bench.unharmed()  # from here on it makes no new file
    fds = run.descriptors()
    maps = pathlib.Path(f"/proc/{bench.pid}/maps").read_text()
    before = sorted(os.listdir(bench.directory))
    done = bench.call("check", "--pid", bench.pid)
    if done.returncode != 0:
        raise run.Failed(f"check: status {done.returncode}: {done.stderr or done.stdout}")
    if run.descriptors() - fds or pathlib.Path(f"/proc/{bench.pid}/maps").read_text() != maps:
        raise run.Failed("descriptors or mappings have changed")
    if sorted(os.listdir(bench.directory)) != before:
        raise run.Failed("files have appeared")


@case
def memory_of_the_engine(bench):
    bench.victim(mebibytes=1024)
    target = bench.directory / "big"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3G", "tmpfs", target], check=True)
    with subprocess.Popen([bench.engine, "checkpoint", "--keep-running", "--pid", str(bench.pid), "--images",
                           str(target / "images")], stdout=subprocess.DEVNULL) as engine:
        _, status, usage = os.wait4(engine.pid, 0)
        engine.returncode = os.waitstatus_to_exitcode(status)
    if engine.returncode != 0:
        raise run.Failed(f"checkpoint: status {engine.returncode}")
    if usage.ru_maxrss > 64 * 1024:
        raise run.Failed(f"peak memory: expected at most 65536 KiB, found {usage.ru_maxrss} KiB")


if __name__ == "__main__":
    sys.exit(cases.main(__file__, __doc__, Bench, lambda name: () if name == "kernel_thread" else cases.NAMESPACES))
