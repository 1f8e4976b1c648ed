#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the engine's scenarios: each program by itself, then checkpointed and restored in several ways.

    run.py --build DIR [--tap] [--mode MODE]... [--file-system btrfs|ext4|xfs|tmpfs|overlay] [NAME...]

A case is a program and a mode: native (no engine; the program itself must pass), plain (checkpoint, restore),
keep-running (the program goes on after the checkpoint), killed (it was to go on, is killed, and comes back from the
checkpoint) and twice (restore, checkpoint again, restore again). Some programs also as all that is in a cgroup (cgroup), twice with a pid
namespace for them, whose first process is checkpointed along (own-pids), and twice from
images that say that they are of another kernel, whose vDSO hardly differs (other-kernel) or has nothing in common (moved-vdso). Each runs in
pid, mount, ipc and network namespaces of its own, whose end takes every process and mount with it. One line per case; the last
line is `N passed, N failed, N skipped`.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MODES = ["native", "plain", "keep-running", "killed", "twice", "cgroup", "own-pids", "other-kernel", "moved-vdso"]
UNDER_ANOTHER = ("clocks", "inherited_memory", "namespaces_time_cgroup", "threads", "tree", "vdso_functions", "without_vdso")
# modes that only some programs have
ONLY = {
    "cgroup": ("ended_leader", "sleeps", "tree", "vfork", "waits"),
    "own-pids": ("files", "locks", "namespaces_pid", "terminal", "tree", "vfork"),
    "other-kernel": UNDER_ANOTHER,
    "moved-vdso": UNDER_ANOTHER,
}
SKIP = 77
# What is refused by name before a kernel: the version, and the words of the refusal. Such a case is skipped when just that is seen.
REFUSED_BEFORE = {"ended_leader": ((6, 9), "whose descriptors cannot be had before Linux 6.9")}
FEW_DESCRIPTORS = {"many_descriptors": 1000}  # programs that run, with the engine, under a limit of open files
# Seconds for a program to become ready, or to tell its result; more where all is emulated (tests/vm)
PATIENCE = int(os.environ.get("ABEY_PATIENCE", "60"))


class Failed(Exception):
    """What went wrong in a case, in one line."""


class Skipped(Exception):
    """Why a case could not be run here."""


def reap():
    """We are the first process of the pid namespace: orphans are ours."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def processes():
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - {os.getpid()}


def descriptors():
    found = set()
    for pid in processes():
        try:
            found |= {(pid, int(fd)) for fd in os.listdir(f"/proc/{pid}/fd")}
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def start(program, directory):
    status = subprocess.run([program, directory], timeout=PATIENCE, check=False).returncode
    if status == SKIP:
        raise Skipped("the machine lacks what it tests")
    if status != 0:
        raise Failed(f"not ready: {result_of(directory) or 'status ' + str(status)}")
    return int((directory / "pid").read_text())


def result_of(directory):
    try:
        return (directory / "result").read_text().strip()
    except FileNotFoundError:
        return ""


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited for {what} for {PATIENCE} s")
        time.sleep(0.01)


def engine_run(engine, *arguments):
    try:
        done = subprocess.run([engine, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False,
                              stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failed(f"{arguments[0]} did not end within {PATIENCE} s") from None
    if done.returncode != 0:
        raise Failed(f"{arguments[0]}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")


def checkpoint(engine, pid, images):
    engine_run(engine, "checkpoint", "--pid", pid, "--images", images)
    for _ in range(100):
        reap()
        if not processes():
            return
        time.sleep(0.02)
    raise Failed(f"after the checkpoint processes are left: {sorted(processes())}")


def kill_all():
    for _ in range(100):
        for pid in processes():
            with contextlib.suppress(ProcessLookupError):  # the first of a pid namespace takes the others along
                os.kill(pid, signal.SIGKILL)
        reap()
        if not processes():
            return
        time.sleep(0.02)
    raise Failed(f"processes that cannot be killed: {sorted(processes())}")


def restore(engine, images, pids, fds, group=None):
    if group:
        engine_run("/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', group, engine, "restore", "--detach", "--images", images)
    else:
        engine_run(engine, "restore", "--detach", "--images", images)
    time.sleep(0.2)
    reap()
    if processes() != pids:
        raise Failed(f"processes after the restore: expected {sorted(pids)}, found {sorted(processes())} "
                     f"{result_of(images.parent)}".rstrip())
    if descriptors() != fds:
        raise Failed(f"descriptors (pid, number) after the restore: missing {sorted(fds - descriptors())}, "
                     f"too many {sorted(descriptors() - fds)}")


def raise_loopback():
    """The loopback device of a new network namespace is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING


def mount_own(kind, directory):
    """A file system of the case's own, in its mount namespace: the loop device goes with the mount, and that with the namespace."""
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0777", "tmpfs", directory], check=True)
        return
    if kind == "overlay":  # as in live systems and containers; over file systems in memory
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True)
        for name in ("lower", "upper", "work"):
            os.mkdir(f"/mnt/{name}", 0o777)
        os.chmod("/mnt/upper", 0o777)
        subprocess.run(["mount", "-t", "overlay", "-o", "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work", "overlay", directory],
                       check=True)
        return
    image = f"{directory}.img"
    try:
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    finally:
        os.unlink(image)
    os.chmod(directory, 0o777)


def whole_cgroup(engine, directory, pids, fds):
    """They are put into a cgroup, with an empty one below, and checkpointed as what is in it."""
    places = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    own = [line[3:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    if not places or not own:
        raise Skipped("there is no cgroup v2")
    group = pathlib.Path(places[0] + own[0]) / directory.name
    empty = group / "empty"
    empty.mkdir(parents=True)
    (empty / "cgroup.max.depth").write_text("5")
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))
    engine_run(engine, "checkpoint", "--cgroup", group, "--images", directory / "images")
    wait_until(lambda: reap() or not processes(), "their end")
    empty.rmdir()
    restore(engine, directory / "images", pids, fds, group)
    if (empty / "cgroup.max.depth").read_text() != "5\n":
        raise Failed("the empty cgroup has lost its setting")


def kernel_version():
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def see_refusal(engine, pid, directory, words):
    """The checkpoint is refused with these words, and the program goes on unharmed."""
    before = processes(), descriptors()
    done = subprocess.run([engine, "checkpoint", "--pid", str(pid), "--images", directory / "images"], capture_output=True, text=True,
                          timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)
    told = done.stderr.strip()
    if done.returncode == 0 or words not in told:
        raise Failed(f"expected a refusal with \"{words}\", found status {done.returncode}: {told}")
    reap()
    if (processes(), descriptors()) != before:
        raise Failed("processes or descriptors are not as they were before the refusal")
    ask(pid, directory)
    raise Skipped(f"refused, as it is to be on this kernel: {told}")


def from_another_kernel(mode, engine, pid, directory, pids, fds):
    """The second time what leads from the one vDSO to the other is memory like any other."""
    forge = pathlib.Path(engine).parent / "tests/scenarios/scenario-other_kernel"
    for images in (directory / "images", directory / "images-2"):
        checkpoint(engine, pid, images)
        forged = images.with_name(images.name + "-other")
        engine_run(forge, images, forged, "moved" if mode == "moved-vdso" else "same")
        restore(engine, forged, pids, fds)


def with_own_pids(engine, pid, directory):
    """Its number out here in the end. The second time what reaps in its pid namespace is part of the tree."""
    for images in (directory / "images", directory / "images-2"):
        checkpoint(engine, pid, images)
        engine_run(engine, "restore", "--detach", "--pids", "namespace", "--images", images)
        pid = next(one for one in processes() if status_of(one)["PPid"] == ["1"])
    own = (directory / "pid").read_text().strip()
    return next(one for one in processes() if status_of(one)["NSpid"][-1] == own and status_of(one)["Name"] != ["abey-engine"])


def status_of(pid):
    return {line.split(":")[0]: line.split()[1:] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()}


def ask(pid, directory):
    """The program checks itself."""
    if result_of(directory):
        raise Failed(f"spoke before it was asked: {result_of(directory)}")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while not result_of(directory):
        if time.monotonic() > deadline:
            raise Failed(f"no result within {PATIENCE} s")
        reap()
        if pid not in processes() and not result_of(directory):
            raise Failed("ended without a result: killed by a signal?")
        time.sleep(0.01)
    if result_of(directory) != "PASS":
        raise Failed(result_of(directory).removeprefix("FAIL "))


def run_case(mode, program, directory, engine):
    pid = start(program, directory)
    time.sleep(0.05)
    reap()
    newer, words = REFUSED_BEFORE.get(pathlib.Path(program).name.removeprefix("scenario-"), ((0, 0), ""))
    if mode != "native" and kernel_version() < newer:
        see_refusal(engine, pid, directory, words)
    pids, fds = processes(), descriptors()
    if mode in ("plain", "twice"):
        checkpoint(engine, pid, directory / "images")
        if mode == "plain":  # what outlives processes is gone as after a reboot; the IPC namespace is the case's own
            subprocess.run(["ipcrm", "--all"], check=True)
            remove_cgroups(directory.name)
        restore(engine, directory / "images", pids, fds)
    if mode == "twice":
        checkpoint(engine, pid, directory / "images-2")
        restore(engine, directory / "images-2", pids, fds)
    if mode == "cgroup":
        whole_cgroup(engine, directory, pids, fds)
    if mode in ("other-kernel", "moved-vdso"):
        from_another_kernel(mode, engine, pid, directory, pids, fds)
    if mode == "own-pids":
        pid = with_own_pids(engine, pid, directory)
    if mode in ("keep-running", "killed"):
        engine_run(engine, "checkpoint", "--keep-running", "--pid", pid, "--images", directory / "images")
        reap()
        if processes() != pids or descriptors() != fds:
            raise Failed("processes or descriptors are not as they were before the checkpoint")
    if mode == "killed":
        kill_all()
        restore(engine, directory / "images", pids, fds)
    ask(pid, directory)


def inside(mode, program, directory, engine, kind=""):
    """The part that runs as the first process of the namespaces; prints nothing when all is well."""
    # the case shall not depend on how we were started
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    raise_loopback()
    try:
        if kind:
            mount_own(kind, directory)
        run_case(mode, program, pathlib.Path(directory), engine)
        return 0
    except Skipped as reason:
        print(reason)
        return SKIP
    except (Failed, OSError, subprocess.SubprocessError) as reason:
        print(" / ".join(str(reason).splitlines()))
        return 1


def run_outside(mode, program, engine, kind=""):
    """'passed', 'failed' or 'skipped', and why."""
    directory = tempfile.mkdtemp(prefix="abey-scenario-")
    os.chmod(directory, 0o777)  # a program may have become somebody else
    try:
        few = FEW_DESCRIPTORS.get(pathlib.Path(program).name.removeprefix("scenario-"))
        done = subprocess.run(
            [*(["prlimit", f"--nofile={few}:{few}"] if few else []), "unshare", "--fork", "--pid", "--mount", "--ipc", "--net", "--mount-proc", "--kill-child", sys.executable, __file__,
             "--inside", mode, program, directory, engine, kind],
            capture_output=True, text=True, timeout=PATIENCE * 7, check=False, stdin=subprocess.DEVNULL)
        text = (done.stdout + done.stderr).strip().replace("\n", " / ")
        verdict = {0: "passed", SKIP: "skipped"}.get(done.returncode, "failed")
        return verdict, text or (f"status {done.returncode}" if verdict == "failed" else "")
    except subprocess.TimeoutExpired:
        return "failed", f"did not end within {PATIENCE * 7} s"
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        remove_cgroups(os.path.basename(directory))
        remove_hierarchy(os.path.basename(directory))


@contextlib.contextmanager
def huge_pages(wanted):
    """So many more huge pages for as long as this lasts: the kernel has none of its own accord."""
    setting = pathlib.Path("/proc/sys/vm/nr_hugepages")
    before = int(setting.read_text())
    setting.write_text(f"{before + wanted}\n")
    try:
        yield
    finally:
        setting.write_text(f"{before}\n")


def remove_cgroups(name):
    """What a program has made below our cgroup under this name; empty once its processes have gone."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] != "cgroup2":
            continue
        for path in sorted(pathlib.Path(line.split()[1]).glob(f"**/{name}/**/"), reverse=True):
            path.rmdir()


def remove_hierarchy(name):
    """A hierarchy of cgroups (version 1) of this name. It ends with its last mount, when its cgroups have really gone,
    which is a while after their directories."""
    deadline = time.monotonic() + PATIENCE
    while f":name={name}:" in pathlib.Path("/proc/self/cgroup").read_text():
        if time.monotonic() > deadline:
            raise Failed(f"the cgroup hierarchy {name} does not go away")
        place = pathlib.Path(tempfile.mkdtemp(prefix="abey-hierarchy-"))
        subprocess.run(["mount", "-t", "cgroup", "-o", f"none,name={name}", "none", place], check=True)
        for path in sorted(place.glob("*/**/"), reverse=True):
            path.rmdir()
        time.sleep(0.05)
        subprocess.run(["umount", place], check=True)
        place.rmdir()
        for _ in range(50):
            if f":name={name}:" in pathlib.Path("/proc/self/cgroup").read_text():
                time.sleep(0.02)


def run_program(program, modes, engine, kind=""):
    """Yields (mode, verdict, reason); without a native pass the others would say nothing."""
    verdict, reason = run_outside("native", program, engine, kind)
    if "native" in modes or verdict != "passed":
        yield "native", verdict, reason
    for mode in modes:
        name = pathlib.Path(program).name.removeprefix("scenario-")
        if mode == "native" or name not in ONLY.get(mode, (name,)):
            continue
        if verdict != "passed":
            yield mode, "skipped", "it does not pass without the engine"
        else:
            yield mode, *run_outside(mode, program, engine, kind)


def tell(tap, counts, name, verdict, reason):
    """One line for a case that has just been counted."""
    if not tap:
        print(f"{verdict} {name}{': ' + reason if reason else ''}", flush=True)
        return
    print(f"{'not ok' if verdict == 'failed' else 'ok'} {sum(counts.values())} - {name}"
          f"{' # SKIP ' + reason if verdict == 'skipped' else ''}", flush=True)
    if verdict == "failed":
        print(f"# {name}: {reason}", flush=True)


def closing(tap, counts):
    if tap:
        print(f"1..{sum(counts.values())}")
    else:
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:7])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="meson's build directory")
    parser.add_argument("--tap", action="store_true", help="speak the Test Anything Protocol (for meson)")
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--file-system", choices=["btrfs", "ext4", "xfs", "tmpfs", "overlay"], default="",
                        help="where the programs' files and the images are; without it, the temporary directory")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    engine = str(build / "abey-engine")
    names = options.names or sorted(path.stem for path in HERE.glob("*.cpp") if path.stem not in ("busy", "outside_peer", "victim"))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if os.geteuid() != 0:
        print("run.py: checkpoint and restore need root", file=sys.stderr)
        return 1

    def work(name):
        program = str(build / "tests/scenarios" / f"scenario-{name}")
        with huge_pages(12) if name == "huge_pages" else contextlib.nullcontext():
            return name, list(run_program(program, options.mode or MODES, engine, options.file_system))

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, results in pool.map(work, names):
            for mode, verdict, reason in results:
                counts[verdict] += 1
                tell(options.tap, counts, f"{name} {mode}", verdict, reason)
    closing(options.tap, counts)
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
