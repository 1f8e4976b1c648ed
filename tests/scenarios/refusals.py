# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cases of bad_input.py: processes that cannot be checkpointed, or lose something by it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import run
from bench import after_calls
from cases import case


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
def vdso_that_the_kernel_seals(bench):
    """Nothing is suspended that could not be resumed; and what comes from another kernel is refused."""
    import ctypes
    if ctypes.CDLL(None).syscall(462, None, 0, 0) != 0:  # mseal
        raise run.Skipped("the kernel seals nothing")
    sealed = ["env", f"LD_PRELOAD={pathlib.Path(bench.program).parent / 'libseal_vdso.so'}"]
    words = "CONFIG_MSEAL_SYSTEM_MAPPINGS"
    bench.victim(before=sealed)
    bench.refused("checkpoint", "--pid", bench.pid, "--images", bench.images, before=sealed,
                  says=[f"process {bench.pid} (", "([vdso])", "seals the vDSO", words])
    if words not in bench.call("check", "--pid", bench.pid, before=sealed).stdout:
        raise run.Failed("check does not name it")
    bench.farewell()
    (bench.directory / "result").unlink()
    bench.victim()
    run.checkpoint(bench.engine, bench.pid, bench.images)
    bench.pid = 0
    bench.refused("restore", "--detach", "--images", bench.images, before=sealed, says=["cannot move the vDSO", words])


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
