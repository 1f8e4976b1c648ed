#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program with much to lose, for the session that is suspended: counter.py HOME

Two threads. The first counts, the second asks a child through one pipe to double a number and reads the answer from
another. Each step is a line of HOME/counter.log, written with O_APPEND and stamped with CLOCK_MONOTONIC, so that
whatever is lost, done twice or stood still can be read from that file. It holds
  scratch.bin   64 MiB, open, deleted;
  mapped.bin    64 MiB, deleted and mapped shared, without a descriptor;
  state.json    open, but its name now belongs to a newer file (renamed over).
Lines of the log: "A n ns" and "B n answer ns" for the threads; "S json" once at the start, when all is set up, and
"R json" at each SIGUSR1: what the program itself sees of its files, process and threads.
"""

import ctypes
import hashlib
import json
import mmap
import os
import signal
import sys
import threading
import time

SIZE = 64 << 20
POSITION = 12345


def child(question, answer):
    """Doubles what it reads, until its parent has gone."""
    with os.fdopen(question) as source, os.fdopen(answer, "w") as sink:
        for line in source:
            sink.write(f"{2 * int(line)}\n")
            sink.flush()
    os._exit(0)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def descriptor_digest(fd):
    result = hashlib.sha256()
    size = os.fstat(fd).st_size
    for offset in range(0, size, 1 << 20):
        result.update(os.pread(fd, 1 << 20, offset))
    return result.hexdigest()


def make(path, size):
    """A file of random contents with a hole in it, still open."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    os.ftruncate(fd, size)
    for offset in range(0, size, 1 << 20):
        if offset != 5 << 20:
            os.pwrite(fd, os.urandom(1 << 20), offset)
    return fd


class Program:
    def __init__(self, home):
        os.chdir(home)
        self.log = os.open("counter.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        question, self.ask = os.pipe()
        self.hear, answer = os.pipe()
        if os.fork() == 0:
            os.close(self.ask)
            os.close(self.hear)
            os.close(self.log)
            child(question, answer)
        os.close(question)
        os.close(answer)

        self.scratch = make("scratch.bin", SIZE)
        os.unlink("scratch.bin")
        os.lseek(self.scratch, POSITION, os.SEEK_SET)

        fd = make("mapped.bin", SIZE)
        # not python's own mmap, which keeps a duplicate of the descriptor
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        self.mapped = libc.mmap(None, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
        if self.mapped in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap of mapped.bin")
        os.close(fd)
        os.unlink("mapped.bin")
        ctypes.memmove(self.mapped + (7 << 20), os.urandom(1 << 20), 1 << 20)  # dirty through the mapping only

        self.state = os.open("state.json", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(self.state, b'{"which": "old, held open"}\n')
        with open("state.json.new", "w", encoding="ascii") as newer:
            newer.write('{"which": "new, has the name"}\n')
        os.rename("state.json.new", "state.json")

        self.count = 0
        self.beats = 0
        self.threads = {}

    def write(self, line):
        os.write(self.log, line.encode() + b"\n")

    def report(self, kind):
        held, named = os.fstat(self.state), os.stat("state.json")
        with open("state.json", "rb") as newer:
            new = newer.read()
        scratch = os.fstat(self.scratch)
        self.write(kind + " " + json.dumps({
            "pid": os.getpid(), "threads": self.threads, "count": self.count, "beats": self.beats,
            "monotonic": time.monotonic_ns(),
            "scratch": {"sha256": descriptor_digest(self.scratch), "links": scratch.st_nlink, "size": scratch.st_size,
                        "mode": oct(scratch.st_mode), "position": os.lseek(self.scratch, 0, os.SEEK_CUR)},
            "mapped": {"sha256": digest(ctypes.string_at(self.mapped, SIZE)), "address": hex(self.mapped)},
            "state": {"sha256": descriptor_digest(self.state), "links": held.st_nlink,
                      "by_name": digest(new), "same": (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)}}))

    def beat(self):
        self.threads["B"] = threading.get_native_id()
        hear = os.fdopen(self.hear)
        while True:
            self.beats += 1
            os.write(self.ask, f"{self.beats}\n".encode())
            self.write(f"B {self.beats} {hear.readline().strip()} {time.monotonic_ns()}")
            time.sleep(0.02)

    def run(self):
        self.threads["A"] = threading.get_native_id()
        threading.Thread(target=self.beat, daemon=True).start()
        signal.signal(signal.SIGUSR1, lambda *_: self.report("R"))
        self.report("S")
        while True:
            self.count += 1
            self.write(f"A {self.count} {time.monotonic_ns()}")
            time.sleep(0.01)


Program(sys.argv[1]).run()
