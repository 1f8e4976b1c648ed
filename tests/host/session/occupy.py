#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Take pids, so that a session which had them cannot have them again: occupy.py PID...

Each pid that is free becomes a sleeping process (clone3(2) with set_tid); one that somebody has already is left alone.
Prints how many were taken and how many were in use, then stays.
"""

import ctypes
import errno
import os
import signal
import struct
import sys

SYS_CLONE3 = 435


def spawn(pid):
    """A child with this pid; False when somebody has it."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = (ctypes.c_int * 1)(pid)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size
    arguments = struct.pack("10Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1)
    got = libc.syscall(SYS_CLONE3, arguments, len(arguments))
    if got == 0:
        os.execv("/bin/sleep", ["sleep", "infinity"])
    if got < 0 and ctypes.get_errno() != errno.EEXIST:
        raise OSError(ctypes.get_errno(), f"clone3 with pid {pid}: {os.strerror(ctypes.get_errno())}")
    return got > 0


taken = sum(spawn(int(pid)) for pid in sys.argv[1:])
print(f"taken {taken} in use {len(sys.argv) - 1 - taken}", flush=True)
signal.pause()
