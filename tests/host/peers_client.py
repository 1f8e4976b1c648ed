#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""In ada's session, its output going to the journal: holds connections to an ssh-agent, the system bus, her gpg-agent and her own bus outside,
and tells every second, and when SIGUSR1 asks for it, what becomes of them.

    peers_client.py AGENT FOLDER
"""

import os
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


def connected(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def gpg_agent():
    """A connection to it, and its greeting ("OK Pleased to meet you, ...")."""
    connection = connected(f"{os.environ['XDG_RUNTIME_DIR']}/gnupg/S.gpg-agent")
    return connection, assuan_answer(connection)


def assuan_answer(connection):
    """All that it says up to its line OK, or less when the connection ends. A line may come in parts, its end by itself."""
    said = b""
    while not (said.endswith(b"\n") and said.splitlines()[-1].startswith(b"OK")):
        part = connection.recv(1000)
        if not part:
            break
        said += part
    return said


def ask_gpg_agent(connection):
    """It answers with data, in lines that begin with D."""
    try:
        connection.sendall(b"GETINFO pid\n")
        said = assuan_answer(connection)
    except OSError:
        return "closed"
    return "closed" if not said else "open" if said.startswith(b"D ") else "no answer"


def state_of(connection):
    connection.setblocking(False)
    try:
        return "closed" if connection.recv(10) == b"" else "data"
    except BlockingIOError:
        return "open"


def main():
    agent = connected(sys.argv[1])
    bus = connected("/run/dbus/system_bus_socket")
    own_bus = connected(f"{os.environ['XDG_RUNTIME_DIR']}/bus")
    gpg, greeting = gpg_agent()
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
        state = ask_gpg_agent(gpg)
        if state == "closed" and gpg_agent()[1].startswith(b"OK"):
            state = "closed, greets anew"
        told = f"agent {keys}, bus {state_of(bus)}, own bus {state_of(own_bus)}, gpg-agent {state if greeting.startswith(b'OK') else 'silent'}"
        report.with_suffix(".new").write_text(told + "\n")
        report.with_suffix(".new").rename(report)

    signal.signal(signal.SIGUSR1, answer)
    answer()
    count = 0
    while True:
        count += 1
        print(f"line {count}", flush=True)
        time.sleep(0.2)


main()
