#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""In ada's session, its output going to the journal: holds a connection to an ssh-agent outside and one to the system bus,
and tells every second, and when SIGUSR1 asks for it, what becomes of them.

    peers_client.py AGENT FOLDER
"""

import pathlib
import signal
import socket
import struct
import sys
import time

REQUEST_IDENTITIES, IDENTITIES_ANSWER = 11, 12


def ask_agent(agent):
    """How many keys it has."""
    agent.sendall(struct.pack(">IB", 1, REQUEST_IDENTITIES))
    header = agent.recv(5, socket.MSG_WAITALL)
    if len(header) < 5:
        return "closed"
    size, kind = struct.unpack(">IB", header)
    rest = agent.recv(size - 1, socket.MSG_WAITALL)
    return struct.unpack(">I", rest[:4])[0] if kind == IDENTITIES_ANSWER else "no answer"


def main():
    agent = socket.socket(socket.AF_UNIX)
    agent.connect(sys.argv[1])
    bus = socket.socket(socket.AF_UNIX)
    bus.connect("/run/dbus/system_bus_socket")
    folder = pathlib.Path(sys.argv[2])
    asked = 0

    def answer(*_):
        nonlocal asked
        asked += 1
        try:
            keys = ask_agent(agent)
        except OSError as error:
            keys = type(error).__name__
        report = folder / f"answer.{asked}"
        bus.setblocking(False)
        try:
            left = "closed" if bus.recv(10) == b"" else "data"
        except BlockingIOError:
            left = "open"
        report.with_suffix(".new").write_text(f"agent {keys}, bus {left}\n")
        report.with_suffix(".new").rename(report)

    signal.signal(signal.SIGUSR1, answer)
    answer()
    count = 0
    while True:
        count += 1
        print(f"line {count}", flush=True)
        time.sleep(0.2)


main()
