#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP connections to somebody outside of the session: what the policy makes of them.

    outside.py --build DIR [--tap] [NAME...]

The program (outside_peer.cpp) is connected to us. Runs in namespaces of its own, as the scenarios do.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

import cases
import run
from cases import case


class Bench:
    """One case: the program, connected to us, and the engine."""

    def __init__(self, directory, build):
        run.raise_loopback()
        self.directory = pathlib.Path(directory)
        self.engine = str(build / "abey-engine")
        self.program = str(build / "tests/scenarios/scenario-outside_peer")
        self.images = self.directory / "images"
        self.policy = self.directory / "policy.toml"
        self.policy.write_text("")
        self.listener = socket.create_server(("::", 6001), family=socket.AF_INET6, dualstack_ipv6=True)
        self.listener.settimeout(run.PATIENCE)
        self.connection = None
        self.pid = 0

    def start(self, mode, end=False):
        (self.directory / "mode").write_text(mode)
        with subprocess.Popen([self.program, self.directory]) as program:
            self.connection = self.listener.accept()[0]
            self.connection.settimeout(run.PATIENCE)
            self.connection.sendall(b"unread")
            if end:
                self.connection.shutdown(socket.SHUT_WR)
            if program.wait(run.PATIENCE) != 0:
                raise run.Failed(f"not ready: {run.result_of(self.directory)}")
        if self.connection.recv(5) != b"hello":
            raise run.Failed("the program does not greet")
        self.pid = int((self.directory / "pid").read_text())

    def rule(self, action, more=""):
        self.policy.write_text(f"[[peer]]\naddress = ['127.0.0.0/8', '::1']\nport = 6001\naction = {action!r}\n{more}")

    def suspend(self):
        """The engine's own words about it."""
        done = subprocess.run([self.engine, "checkpoint", "--pid", str(self.pid), "--images", self.images, "--policy",
                               self.policy], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise run.Failed(f"checkpoint: status {done.returncode}: {done.stderr}")
        run.reap()
        return done.stdout + done.stderr

    def resume(self):
        run.engine_run(self.engine, "restore", "--detach", "--images", self.images)

    def tell_and_wait(self):
        if run.result_of(self.directory):
            raise run.Failed(f"spoke before it was asked: {run.result_of(self.directory)}")
        os.kill(self.pid, signal.SIGTERM)

    def farewell(self):
        deadline = time.monotonic() + run.PATIENCE
        while not run.result_of(self.directory):
            if time.monotonic() > deadline:
                raise run.Failed("the program does not end")
            run.reap()
            time.sleep(0.01)
        if run.result_of(self.directory) != "PASS":
            raise run.Failed(run.result_of(self.directory).removeprefix("FAIL "))


def expect_closed(connection):
    try:
        rest = connection.recv(100)
    except ConnectionResetError:
        return
    if rest:
        raise run.Failed(f"the peer expected the end of the connection, found {rest!r}")


def hung_up(bench, mode):
    bench.start(mode)
    told = bench.suspend()
    if "6001 outside" not in told or "hung up" not in told:
        raise run.Failed(f"the loss of the connection is not told: {told!r}")
    expect_closed(bench.connection)
    bench.resume()
    bench.tell_and_wait()


@case
def hangup(bench):
    hung_up(bench, "hangup")


@case
def hangup_six(bench):
    hung_up(bench, "hangup-six")


@case
def ended_by_the_peer(bench):
    bench.start("ended", end=True)
    bench.suspend()
    bench.resume()
    bench.tell_and_wait()


@case
def reconnect(bench):
    bench.rule("reconnect")
    bench.start("reconnect")
    bench.suspend()
    expect_closed(bench.connection)
    bench.resume()
    again = bench.listener.accept()[0]
    again.settimeout(run.PATIENCE)
    bench.tell_and_wait()
    if again.recv(100) != b"hello again":
        raise run.Failed("the new connection does not work")
    again.sendall(b"welcome")
    bench.farewell()


def says_hello_again(bench):
    bench.tell_and_wait()
    if bench.connection.recv(100) != b"hello again":
        raise run.Failed("the connection does not work any more")


def goes_on(bench):
    says_hello_again(bench)
    bench.connection.sendall(b"welcome")


@case
def refused_by_policy(bench):
    bench.rule("fail")
    bench.start("untouched")
    done = subprocess.run([bench.engine, "checkpoint", "--pid", str(bench.pid), "--images", bench.images, "--policy",
                           bench.policy], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 0:
        raise run.Failed("the checkpoint was made")
    for text in ("127.0.0.1:6001", "policy.toml:1", str(bench.pid)):
        if text not in done.stderr:
            raise run.Failed(f"expected '{text}' in {done.stderr!r}")
    goes_on(bench)


@case
def keep_running(bench):
    bench.start("untouched")
    run.engine_run(bench.engine, "checkpoint", "--keep-running", "--pid", bench.pid, "--images", bench.images)
    goes_on(bench)


def locks():
    """The tables of nftables that hold packets back."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:  # NETLINK_NETFILTER
        # NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, all families
        kernel.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 1, 0x301, 1, 0, 0, 0, 0))
        kernel.settimeout(run.PATIENCE)
        return set(re.findall(rb"abeyance-[0-9a-f]{16}", kernel.recv(1 << 16)))


def expect_locks(count):
    if len(locks()) != count:
        raise run.Failed(f"expected {count} locks, found {locks()}")


def kept(bench, mode, before=None, during=None):
    bench.rule("keep")
    bench.start(mode)
    if before:
        before()
    told = bench.suspend()
    if "6001 outside" not in told or "goes on" not in told:
        raise run.Failed(f"what becomes of the connection is not told: {told!r}")
    expect_locks(1)
    if during:
        during()
    bench.resume()
    expect_locks(0)


@case
def keep(bench):
    kept(bench, "untouched")
    goes_on(bench)


@case
def keep_six(bench):
    kept(bench, "kept-six")
    goes_on(bench)


@case
def keep_with_data_both_ways(bench):
    def send_meanwhile():
        bench.connection.sendall(b"meanwhile")

    kept(bench, "kept-busy", during=send_meanwhile)
    bench.tell_and_wait()
    text = b""
    while len(text) < 4000000:
        text += bench.connection.recv(1 << 20)
    if text != bytes(i * 7 % 251 for i in range(4000000)):
        raise run.Failed("what the program has sent is not what came")


@case
def keep_ended_by_the_peer(bench):
    kept(bench, "kept-half-ended", before=lambda: end_of(bench))
    says_hello_again(bench)


def end_of(bench):
    bench.connection.shutdown(socket.SHUT_WR)


@case
def keep_ended_meanwhile(bench):
    kept(bench, "kept-half-ended", during=lambda: end_of(bench))
    says_hello_again(bench)


@case
def keep_ended_by_the_program(bench):
    kept(bench, "kept-shut")
    if bench.connection.recv(100) != b"":
        raise run.Failed("the program's end is not seen")
    bench.tell_and_wait()
    bench.connection.sendall(b"welcome")


LISTENER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", 7001))
open(sys.argv[1], "w").close()
time.sleep(1000)
"""


@case
def port_of_another(bench):
    """Whoever has the port of a listener by now keeps the connections that still tell their clients the last of it."""
    with subprocess.Popen([sys.executable, "-c", LISTENER, bench.directory / "ready"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as program:
        run.wait_until((bench.directory / "ready").exists, "the listener")
        bench.pid = program.pid
        bench.suspend()
        program.returncode = 0  # run.reap() has had its status
    with socket.create_server(("127.0.0.1", 7001)) as listener:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", 7001))
            server = listener.accept()[0]
            server.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += server.send(b"x" * 4096)
            except BlockingIOError:
                server.close()
            refused = subprocess.run([bench.engine, "restore", "--detach", "--images", bench.images], capture_output=True,
                                     text=True, timeout=60, check=False)
            if refused.returncode == 0 or "7001" not in refused.stderr:
                raise run.Failed(f"the port is taken, and the resume says {refused.returncode}: {refused.stderr!r}")
            client.settimeout(run.PATIENCE)
            received = 0
            while data := client.recv(1 << 20):
                received += len(data)
            if received != sent:
                raise run.Failed(f"the other's client got {received} of {sent} bytes")
    bench.resume()
    os.kill(bench.pid, signal.SIGKILL)
    (bench.directory / "result").write_text("PASS")  # it says nothing by itself


@case
def keep_needs_a_lock(bench):
    bench.rule(["keep", "reconnect"])
    bench.start("untouched")
    told = subprocess.run([bench.engine, "check", "--pid", str(bench.pid), "--policy", bench.policy], capture_output=True,
                          text=True, timeout=60, check=True).stdout
    if "then it goes on" not in told:
        raise run.Failed(f"the check does not tell about it: {told!r}")
    expect_locks(0)
    goes_on(bench)


@case
def keep_and_fail(bench):
    """A checkpoint that fails, and one whose worker is killed, leave the connection alone."""
    bench.rule("keep")
    bench.start("untouched")
    for fault in ("captured", "memory", "committed"):
        killed = subprocess.run([bench.engine, "checkpoint", "--pid", str(bench.pid), "--images", bench.images, "--policy",
                                 bench.policy], env=os.environ | {"ABEY_FAULT": fault}, capture_output=True, timeout=60,
                                check=False)
        if killed.returncode != -signal.SIGKILL:
            raise run.Failed(f"the engine was not killed at '{fault}': {killed.returncode}")
        expect_locks(0)
        shutil.rmtree(bench.images)
    goes_on(bench)


@case
def keep_and_die_late(bench):
    """Once the lock stays, the processes do not live on."""
    bench.rule("keep")
    bench.start("untouched")
    subprocess.run([bench.engine, "checkpoint", "--pid", str(bench.pid), "--images", bench.images, "--policy",
                    bench.policy], env=os.environ | {"ABEY_FAULT": "locked"}, capture_output=True, timeout=60, check=False)
    deadline = time.monotonic() + run.PATIENCE
    while bench.pid in run.processes():
        if time.monotonic() > deadline:
            raise run.Failed("the program lives on")
        run.reap()
        time.sleep(0.01)
    expect_locks(1)
    bench.resume()
    expect_locks(0)
    goes_on(bench)


@case
def keep_and_retry(bench):
    """A resume that is killed at its last step leaves the connection to the next one."""
    bench.rule("keep")
    bench.start("untouched")
    bench.suspend()
    subprocess.run([bench.engine, "restore", "--detach", "--images", bench.images],
                   env=os.environ | {"ABEY_FAULT": "released"}, capture_output=True, timeout=60, check=False)
    deadline = time.monotonic() + run.PATIENCE
    while bench.pid in run.processes():
        if time.monotonic() > deadline:
            raise run.Failed("half of a resume lives on")
        run.reap()
        time.sleep(0.01)
    expect_locks(1)
    bench.resume()
    expect_locks(0)
    goes_on(bench)


@case
def keep_after_the_lock(bench):
    """Without the lock the peer may have been told anything."""
    bench.rule("keep")
    bench.start("hangup")
    bench.suspend()
    subprocess.run([bench.engine, "unlock", "--images", bench.images], timeout=60, check=True)
    expect_locks(0)
    bench.resume()
    bench.tell_and_wait()


@case
def keep_running_keeps_by_itself(bench):
    bench.rule("keep")
    bench.start("untouched")
    run.engine_run(bench.engine, "checkpoint", "--keep-running", "--pid", bench.pid, "--images", bench.images, "--policy",
                   bench.policy)
    expect_locks(0)
    goes_on(bench)


@case
def waiting_from_outside(bench):
    bench.start("hangup")
    waiting = socket.create_connection(("127.0.0.1", 6002), timeout=run.PATIENCE)
    told = bench.suspend()
    if "1 connections from outside wait" not in told:
        raise run.Failed(f"the waiting connection is not told: {told!r}")
    expect_closed(waiting)
    bench.resume()
    bench.tell_and_wait()


@case
def address_taken(bench):
    bench.start("hangup")
    bench.suspend()
    stranger = socket.create_server(("127.0.0.1", 6002), reuse_port=False)
    done = subprocess.run([bench.engine, "restore", "--detach", "--images", bench.images], capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode == 0 or "127.0.0.1:6002" not in done.stderr:
        raise run.Failed(f"expected a refusal that names the address, found {done.stderr!r}")
    stranger.close()
    bench.resume()
    bench.tell_and_wait()


if __name__ == "__main__":
    sys.exit(cases.main(__file__, __doc__, Bench, lambda _: (*cases.NAMESPACES, "--net")))
