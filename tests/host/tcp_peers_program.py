#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Both ends of tcp_peers_test.py's connections, and a look at what the kernel holds back.

    tcp_peers_program.py serve PORT...             echoes each line
    tcp_peers_program.py connect FOLDER PORT...    at each SIGUSR1 writes down in FOLDER what becomes of a line on each connection
    tcp_peers_program.py locks                     names of our tables of nftables
"""

import pathlib
import re
import signal
import socket
import struct
import sys
import threading


def echo(connection):
    with connection:
        try:
            while data := connection.recv(1000):
                connection.sendall(data)
        except OSError:
            pass


def serve_port(port):
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


def serve(ports):
    for port in ports:
        threading.Thread(target=serve_port, args=(port,), daemon=True).start()
    signal.pause()


def fate(connection, line):
    try:
        connection.sendall(line)
        return "open" if connection.recv(1000) == line else "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"


def connect(folder, ports):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for port in ports]
    for number in range(1, 100):
        told = ", ".join(fate(connection, b"line %d" % number) for connection in connections)
        report = pathlib.Path(folder) / f"tcp.{number}"
        report.with_suffix(".new").write_text(told)
        report.with_suffix(".new").rename(report)
        signal.sigwait([signal.SIGUSR1])


def locks():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as kernel:  # NETLINK_NETFILTER
        # NFT_MSG_GETTABLE, NLM_F_REQUEST | NLM_F_DUMP, all families
        kernel.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 1, 0x301, 1, 0, 0, 0, 0))
        kernel.settimeout(10)
        for name in set(re.findall(rb"abeyance-[0-9a-f]{16}", kernel.recv(1 << 16))):
            print(name.decode())


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve([int(port) for port in sys.argv[2:]])
    elif sys.argv[1] == "connect":
        connect(sys.argv[2], [int(port) for port in sys.argv[3:]])
    else:
        locks()
