# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cases of bad_input.py: what cannot be checkpointed in namespaces of programs."""

import os
import pathlib
import subprocess
import sys

import run
from bench import after_calls
from cases import case


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
