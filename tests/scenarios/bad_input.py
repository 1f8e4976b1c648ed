#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the engine says to bad input, and that the processes run on whatever happens to it.

    bad_input.py --build DIR [--tap] [NAME...]

Each case has a victim (victim.cpp) that counts, computes and is asked at the end whether it noticed anything. A refusal
must be one line on stderr with a status that is not 0. Runs in namespaces of its own, as the scenarios do.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import run

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Bench:
    """One case: its directory, the engine, and the victim."""

    def __init__(self, directory, build):
        self.directory = pathlib.Path(directory)
        self.engine = str(build / "service/ctl/engine/abey-engine")
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


@case
def no_such_process(bench):
    bench.refused("checkpoint", "--pid", 4000000, "--images", bench.images, says=["4000000"])
    bench.refused("check", "--pid", 4000000, says=["4000000"])


@case
def kernel_thread(bench):
    # not in the namespace of the others: kernel threads are only seen from the first one
    stat = pathlib.Path("/proc/2/stat")
    if not stat.exists() or "(kthreadd)" not in stat.read_text():
        raise run.Skipped("kernel threads cannot be seen from here")
    bench.refused("checkpoint", "--pid", 2, "--images", bench.images, says=["kthreadd", "kernel thread"])


@case
def under_a_debugger(bench):
    import ctypes
    bench.victim()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(0x4206, bench.pid, None, None) != 0:  # PTRACE_SEIZE
        raise run.Failed("cannot trace the victim")
    try:
        bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=[str(bench.pid), "debug"])
    finally:
        if libc.ptrace(0x4207, bench.pid, None, None) == 0:  # PTRACE_INTERRUPT: only a stopped task can be left
            os.waitpid(bench.pid, 0x40000000)
            libc.ptrace(17, bench.pid, None, None)


@case
def session_led_from_outside(bench):
    """Its session and process group are led by a process outside of our pid namespace, and so have no number in it."""
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if os.getsid(process.pid) != 0:
        raise run.Failed("its session has a number")
    done = bench.call("checkpoint", "--pid", process.pid, "--images", bench.images)
    if done.returncode != 0:
        raise run.Failed(f"checkpoint: {done.stderr}")
    process.wait()
    done = bench.call("restore", "--detach", "--images", bench.images)
    if done.returncode != 0:
        raise run.Failed(f"restore: {done.stderr}")
    if os.getsid(process.pid) != process.pid:
        raise run.Failed("it does not lead a session of its own")
    os.kill(process.pid, signal.SIGKILL)


@case
def mapped_io_uring(bench):
    bench.victim(holding=["io_uring"])
    says = [f"process {bench.pid} (", "mapping", "io_uring", "switched off"]
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=says)
    if "io_uring" not in bench.call("check", "--pid", bench.pid).stdout:
        raise run.Failed("check does not name it")


@case
def mapped_ring_of_packets(bench):
    bench.victim(holding=["packets"])
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images,
                  says=[f"process {bench.pid} (", "mapping", "ring of packets"])


@case
def own_system_calls_handed_to_itself(bench):
    bench.victim(holding=["dispatch"])
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images,
                  says=[f"process {bench.pid} (", "PR_SET_SYSCALL_USER_DISPATCH"])


@case
def what_proc_tells_of_a_descriptor(bench):
    bench.victim(holding=["fdinfo"])
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images,
                  says=[f"process {bench.pid} (", "descriptor", f"/proc/{bench.pid}/fdinfo/0", "close it"])


@case
def asked_before_a_file_is_opened(bench):
    bench.victim(holding=["asked"])
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images,
                  says=[f"process {bench.pid} (", "descriptor", "permission events"])
    if "permission events" not in bench.call("check", "--pid", bench.pid).stdout:
        raise run.Failed("check does not name it")


@case
def unread_events_of_files_are_told(bench):
    bench.victim(holding=["events"])
    told = "(anon_inode:[fanotify]): events that are unread in it are lost"
    bench.told_once(told)


@case
def own_network_device(bench):
    """Refused, unless the policy says that it may be gone."""
    import ctypes
    if not os.path.exists("/dev/net/tun"):
        raise run.Skipped("the kernel has no network devices of programs")
    if ctypes.CDLL(None).unshare(0x40000000) != 0:  # CLONE_NEWNET
        raise run.Failed("cannot have a network of our own")

    def has_device():
        return any("iff:\ttap" in path.read_text() for path in pathlib.Path(f"/proc/{bench.pid}/fdinfo").iterdir())

    bench.victim(holding=["tun"])
    says = ["network device tap0", "[[device]]", "drop"]
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=[f"process {bench.pid} (", *says])
    if says[0] not in bench.call("check", "--pid", bench.pid).stdout:
        raise run.Failed("check does not name it")
    policy = bench.directory / "policy.toml"
    policy.write_text("[[device]]\npath = '/dev/net/tun'\naction = 'drop'\n")
    done = bench.call("check", "--pid", bench.pid, "--policy", policy)
    if done.returncode != 0 or "tap0 is gone after the restore" not in done.stdout or "policy.toml:1" not in done.stdout:
        raise run.Failed(f"check: status {done.returncode}: {done.stdout}{done.stderr}")
    if not has_device():
        raise run.Failed("it has lost the device already")
    def files():
        return [re.sub("[0-9]+", "N", os.readlink(path)) for path in sorted(pathlib.Path(f"/proc/{bench.pid}/fd").iterdir())]

    before = files()
    run.engine_run(bench.engine, "checkpoint", "--pid", bench.pid, "--images", bench.images, "--policy", policy)
    run.wait_until(lambda: run.reap() or not run.processes(), "its end")
    run.engine_run(bench.engine, "restore", "--detach", "--images", bench.images)
    if has_device():
        raise run.Failed("it has a device again")
    if files() != before:
        raise run.Failed(f"its descriptors have changed: {files()}, not {before}")


def refused_in_namespace(bench, before, *says):
    """The victim in a namespace of its own that cannot be restored, made and filled by the command `before` it."""
    bench.victim(before=before)
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=[f"process {bench.pid} (", *says])
    if bench.call("check", "--pid", bench.pid).returncode == 0:
        raise run.Failed("check finds nothing")


def in_mounts(commands):
    """For refused_in_namespace: runs the commands in a mount namespace of its own, then the victim; $1 is a directory."""
    return ["unshare", "--mount", "sh", "-ec", f'd=$(mktemp -d); {commands}; exec "$@"', "sh"]


@case
def mount_of_another_kind(bench):
    refused_in_namespace(bench, in_mounts("mkdir $d/l $d/u; mount -t tmpfs t $d/u; mkdir $d/u/u $d/u/w; "
                                          "mount -t overlay o -o lowerdir=$d/l,upperdir=$d/u/u,workdir=$d/u/w $d/l"),
                         "mnt namespace", "overlay", "/l", "unmount it")


@case
def mount_of_a_deleted_directory(bench):
    refused_in_namespace(bench, in_mounts("mkdir $d/a $d/b; mount --bind $d/a $d/b; rmdir $d/a"), "mnt namespace", "/b", "deleted")


@case
def mount_that_is_covered(bench):
    refused_in_namespace(bench, in_mounts("mount -t tmpfs t $d; mount -t tmpfs t $d"), "mnt namespace", "tmpfs", "covered")


@case
def file_on_a_detached_mount(bench):
    refused_in_namespace(bench, in_mounts("mount -t tmpfs t $d; exec 7>$d/file; umount --lazy $d"), "descriptor 7",
                         "not in its mount namespace any more")


@case
def socket_in_a_mount_namespace(bench):
    listen = "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '/name'); s.listen(); " \
             "s.set_inheritable(True); os.execvp(sys.argv[2], sys.argv[2:])"
    refused_in_namespace(bench, ["unshare", "--mount", "sh", "-ec",
                                 f'd=$(mktemp -d); mount -t tmpfs t $d; exec python3 -c "{listen}" $d "$@"', "sh"],
                         "/name", "mount namespace of its own")


@case
def thread_in_a_namespace(bench):
    program = ("import ctypes, pathlib, sys, threading, time\n"
               "def leave():\n"
               "    assert ctypes.CDLL(None).unshare(0x04000000) == 0\n"  # CLONE_NEWUTS
               "    print(flush=True)\n"
               "    time.sleep(1000)\n"
               "threading.Thread(target=leave, daemon=True).start()\n"
               "time.sleep(1000)\n")
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          start_new_session=True) as process:
        try:
            process.stdout.readline()
            bench.refused("checkpoint", "--pid", process.pid, "--images", bench.images, says=["thread", "namespace of its own", "uts"])
            if process.poll() is not None:
                raise run.Failed("it has ended")
        finally:
            process.kill()


@case
def network_with_addresses(bench):
    refused_in_namespace(bench, ["unshare", "--net", "sh", "-c", 'ip link set lo up; ip addr add 10.9.8.7/32 dev lo; exec "$@"', "sh"],
                         "net namespace", "addresses and routes")


@case
def network_with_rules(bench):
    refused_in_namespace(bench, ["unshare", "--net", "sh", "-c", 'ip rule add to 10.9.8.7 lookup 77; exec "$@"', "sh"],
                         "net namespace", "routing rules")


@case
def threads_in_user_namespace(bench):
    refused_in_namespace(bench, ["unshare", "--user", "--map-root-user"], "user namespace", "several threads")


@case
def first_thread_ended(bench):
    """Refused where the kernel gives nobody its descriptors (before Linux 6.9); a sound one elsewhere."""
    script = ("import ctypes, threading; libc = ctypes.CDLL(None); threading.Thread(target=libc.sleep, args=(1000,)).start(); "
              "libc.syscall(60, 0)")
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        try:
            run.wait_until(lambda: ") Z " in pathlib.Path(f"/proc/{process.pid}/stat").read_text(), "the end of its first thread")
            try:
                os.close(os.pidfd_open(os.getpid(), os.O_EXCL))  # PIDFD_THREAD
                possible = True
            except OSError:
                possible = False
            for call in (["check", "--pid", process.pid],
                         ["checkpoint", "--keep-running", "--pid", process.pid, "--images", bench.images]):
                done = bench.call(*call)
                told = "first thread" in done.stdout + done.stderr
                if told == possible or (done.returncode == 0) != possible:
                    raise run.Failed(f"{call[0]}: {done.returncode}, {done.stdout + done.stderr!r}")
            if len(os.listdir(f"/proc/{process.pid}/task")) != 2:
                raise run.Failed("its other thread has ended")
        finally:
            process.kill()


@case
def shared_namespace(bench):
    """Not refused, but told: after the restore the outsider and the victim are not together any more."""
    bench.victim(before=["unshare", "--uts"])
    with subprocess.Popen(["nsenter", f"--target={bench.pid}", "--uts", "sleep", "1000"]) as process:
        try:
            ours = os.readlink("/proc/self/ns/uts")
            run.wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/uts") != ours, "the outsider")
            for call in (["check", "--pid", bench.pid], ["checkpoint", "--keep-running", "--pid", bench.pid, "--images", bench.images]):
                done = bench.call(*call)
                text = done.stdout + done.stderr
                if done.returncode != 0 or "uts namespace" not in text or f"process {process.pid} (" not in text:
                    raise run.Failed(f"{call[0]} does not tell who shares the namespace: {done.returncode}, {text!r}")
        finally:
            process.kill()


@case
def pid_namespace_without_a_process(bench):
    with subprocess.Popen(["unshare", "--pid", "sleep", "1000"], stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            run.wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it to be there")
            bench.refused("checkpoint", "--pid", process.pid, "--images", bench.images,
                          says=[f"process {process.pid} (sleep)", "pid namespace", "no process"])
            if process.poll() is not None:
                raise run.Failed("it has ended")
        finally:
            process.kill()


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


@case
def sockets_of_another_network_namespace(bench):
    """Of one that no process is in, and of one that the program is in."""
    make = ("import socket\nhome = os.open('/proc/self/ns/net', os.O_RDONLY)\ncall(272, 0x40000000)\n"  # unshare: CLONE_NEWNET
            "file = socket.socket(*SOCKET)\nos.set_inheritable(file.fileno(), True)\nBACK\nos.close(home)\n")
    sockets = {"datagrams": "(socket.AF_INET, socket.SOCK_DGRAM)", "streams": "(socket.AF_INET6, socket.SOCK_STREAM)",
               "unix": "(socket.AF_UNIX, socket.SOCK_STREAM)", "netlink": "(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
               "packets": "(socket.AF_PACKET, socket.SOCK_RAW, 0)", "raw": "(socket.AF_INET, socket.SOCK_RAW, 1)"}
    for name, socket in sockets.items():
        for back in ("call(308, home, 0)", ""):  # setns
            bench.victim(before=after_calls(make.replace("SOCKET", socket).replace("BACK", back)))
            says = [f"process {bench.pid} (", "descriptor", "socket", "another network namespace"]
            try:
                bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=says)
                if says[-1] not in bench.call("check", "--pid", bench.pid).stdout:
                    raise run.Failed("check does not name it")
            except run.Failed as reason:
                raise run.Failed(f"{name}: {reason}") from None
            bench.farewell()
            bench.pid = 0
            (bench.directory / "result").unlink()
            run.reap()


@case
def segment_of_another_ipc_namespace_is_told(bench):
    bench.victim(holding=["segment"])
    told = "System V shared memory 0: it is of another ipc namespace than the process is in by now"
    bench.told_once(told)


@case
def segment_of_huge_pages_in_ipc_namespace(bench):
    """One that nobody has attached: only the checkpoint sees what it is made of."""
    with run.huge_pages(1):
        make = "call(29, 7, 1 << 21, 0o1000 | 0o4000 | 0o600)\n"  # shmget: IPC_CREAT, SHM_HUGETLB
        bench.victim(before=["unshare", "--ipc", *after_calls(make)])
        bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images,
                      says=[f"process {bench.pid} (", "System V shared memory", "huge pages"])
        bench.farewell()
    bench.pid = 0


@case
def restricted_by_landlock(bench):
    import ctypes
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:  # landlock_create_ruleset: which version is there?
        raise run.Skipped("the kernel has no landlock")
    restrict = ("ruleset = call(444, ctypes.byref(ctypes.c_uint64(1 << 9)), 8, 0)\n"  # the making of sockets
                "call(446, ruleset, 0)\nos.close(ruleset)\n")
    bench.victim(before=after_calls(restrict))
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=[f"process {bench.pid} (", "landlock(7)"])


@case
def restricted_by_landlock_as_a_user(bench):
    import ctypes
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 1:
        raise run.Skipped("the kernel has no landlock")
    os.chmod(bench.directory, 0o777)
    copy = bench.directory / "victim"  # the build may lie where nobody can go
    shutil.copy(bench.program, copy)
    bench.program = str(copy)
    restrict = ("libc.prctl(38, 1, 0, 0, 0)\nruleset = call(444, ctypes.byref(ctypes.c_uint64(1 << 9)), 8, 0)\n"
                "call(446, ruleset, 0)\nos.close(ruleset)\n")
    user = ["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups"]
    bench.victim(before=[*user, *after_calls(restrict)])
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, says=[f"process {bench.pid} (", "landlock(7)"])


@case
def keys_are_told(bench):
    session = "call(250, 1, b'of its own')\n"  # KEYCTL_JOIN_SESSION_KEYRING
    for keys, told in (("", False), ("call(248, b'user', b'secret', b'x', 1, -3)\n", True)):  # add_key
        bench.victim(before=after_calls(session + keys))
        shutil.rmtree(bench.images, ignore_errors=True)
        done = bench.call("checkpoint", "--keep-running", "--pid", bench.pid, "--images", bench.images)
        if done.returncode != 0:
            raise run.Failed(f"checkpoint: status {done.returncode}: {done.stderr}")
        if ('user "secret"' in done.stdout + done.stderr) != told or ("keyring" in done.stdout + done.stderr) != told:
            raise run.Failed(f"expected its keys to be {'told' if told else 'no matter'}, found {done.stdout!r}")
        bench.farewell()
        bench.pid = 0
        (bench.directory / "result").unlink()
        run.reap()


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
    CASES["killed_when_" + name] = lambda bench, point=name: killed_at(bench, point)


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


def inside(name, directory, build):
    bench = Bench(directory, pathlib.Path(build))
    try:
        CASES[name](bench)
        bench.farewell()
        return 0
    except run.Skipped as reason:
        print(reason)
        return run.SKIP
    except (run.Failed, OSError, subprocess.SubprocessError) as reason:
        print(" / ".join(str(reason).splitlines()))
        return 1


def outside(name, build):
    directory = tempfile.mkdtemp(prefix="abey-bad-input-")
    os.chmod(directory, 0o777)
    space = ["unshare", "--fork", "--pid", "--mount", "--ipc", "--mount-proc", "--kill-child"]
    if name == "kernel_thread":
        space = []
    try:
        done = subprocess.run([*space, sys.executable, __file__, "--inside", name, directory, str(build)],
                              capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL)
        text = (done.stdout + done.stderr).strip().replace("\n", " / ")
        verdict = {0: "passed", run.SKIP: "skipped"}.get(done.returncode, "failed")
        return verdict, text or (f"status {done.returncode}" if verdict == "failed" else "")
    except subprocess.TimeoutExpired:
        return "failed", "did not end within 240 s"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(*sys.argv[2:5])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if os.geteuid() != 0:
        print("bad_input.py: checkpoint and restore need root", file=sys.stderr)
        return 1
    for name in options.names or CASES:
        verdict, reason = outside(name, build)
        counts[verdict] += 1
        run.tell(options.tap, counts, name, verdict, reason)
    run.closing(options.tap, counts)
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
