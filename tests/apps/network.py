# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers and their clients, both in what is suspended."""

import os
import random
import shutil
import subprocess

from run import Skipped, app, expect


def data_of(bench, size):
    bench.path("www").mkdir()
    data = random.Random(7).randbytes(size)
    bench.path("www/data").write_bytes(data)
    return data


def has_begun(bench, name, size):
    return bench.path(name).exists() and bench.path(name).stat().st_size > size


SLOW_SERVER = """
import http.server, time

class Slow(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def copyfile(self, source, output):
        while part := source.read(20000):
            output.write(part)
            time.sleep(0.01)
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 8090), Slow)
open("up", "w").close()
server.serve_forever()
"""


@app("curl, wget", ["curl", "--version"], "two downloads from a server of Python's, one of them of several files over one connection")
def download(bench):
    if not shutil.which("wget"):
        raise Skipped("wget is not installed")
    data = data_of(bench, 2_000_000)
    bench.write("server", SLOW_SERVER)
    address = "http://127.0.0.1:8090/www/data"
    bench.write("script", "python3 server & server=$!; until [ -e up ]; do sleep 0.05; done\n"
                          f"curl --silent --fail {address} -o one {address} -o two & first=$!\n"
                          f"wget --quiet -O three {address} & second=$!\n"
                          "wait $first; echo curl $?; wait $second; echo wget $?; kill $server\n")
    bench.start("bash", "script")
    bench.wait_until(lambda: has_begun(bench, "one", 200_000) and has_begun(bench, "three", 200_000), "both downloads have begun")
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    expect(bench.read("output"), "curl 0\nwget 0\n", "status of each")
    for name in ("one", "two", "three"):
        expect(bench.path(name).read_bytes() == data, True, f"contents of {name} are right")


@app("nginx", ["nginx", "-v"], "two workers with slow downloads by TCP and a unix socket, one after the other on one connection")
def nginx(bench):
    data = data_of(bench, 2_000_000)
    bench.path("temporary").mkdir()
    places = " ".join(f"{kind}_temp_path temporary;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    bench.write("conf", f"worker_processes 2; error_log {bench.path('errors')}; pid {bench.path('number')}; daemon off; user root;\n"
                        "events { worker_connections 64; }\n"
                        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:8091; listen unix:{bench.path('socket')};\n"
                        f"root {bench.path('www')}; limit_rate 700k; aio threads; }} }}\n")
    bench.write("script", f"nginx -p {bench.directory} -c conf & server=$!; until [ -e number ]; do sleep 0.05; done\n"
                          "curl --silent http://127.0.0.1:8091/data -o one http://127.0.0.1:8091/data -o two & first=$!\n"
                          "curl --silent --unix-socket socket http://server/data -o three & second=$!\n"
                          "wait $first; echo $?; wait $second; echo $?; kill -QUIT $server; wait $server; echo server $?\n")
    bench.start("bash", "script")
    bench.wait_until(lambda: has_begun(bench, "one", 200_000) and has_begun(bench, "three", 200_000), "both downloads have begun")
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    expect(bench.read("output"), "0\n0\nserver 0\n", f"status of each; the server said {bench.read('errors')[-300:]}")
    for name in ("one", "two", "three"):
        expect(bench.path(name).read_bytes() == data, True, f"contents of {name} are right")


@app("ssh", ["ssh", "-V"], "a client, its server and a shell on the server's terminal")
def ssh(bench):
    server = "/usr/sbin/sshd"
    if not os.access(server, os.X_OK):
        raise Skipped("sshd is not installed")
    os.makedirs("/run/sshd", exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(bench.directory), "TERM": "linux"}
    for key in ("host-key", "key"):
        bench.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, env=environment)
    bench.write("conf", f"Port 2299\nListenAddress 127.0.0.1\nHostKey {bench.path('host-key')}\nUsePAM no\nPidFile {bench.path('up')}\n"
                        f"AuthorizedKeysFile {bench.path('key.pub')}\nStrictModes no\nPermitRootLogin yes\n")
    options = "-tt -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=known -o LogLevel=ERROR -p 2299"
    asked = "'stty -echo; echo ready; while read line; do echo got $line; done; exit 9'"
    keys = bench.fifo("keys")
    bench.write("script", f"{server} -D -f conf -E server-says & server=$!; until [ -e up ]; do sleep 0.05; done\n"
                          f"ssh {options} root@127.0.0.1 {asked} <keys; echo status $?; kill $server; wait $server\n")
    bench.start("bash", "script", env=environment)
    bench.wait_until(lambda: "ready" in bench.read("output"), "the shell is there")
    bench.suspend_and_resume()
    bench.send("a line\n")
    bench.wait_until(lambda: "got a line" in bench.read("output"), "it answers")
    bench.send("\x04")
    os.close(keys)
    bench.wait_until(lambda: "status 9" in bench.read("output"), f"the client ends; the server said {bench.read('server-says')[-300:]}")
    bench.status()


@app("rsync", ["rsync", "--version"], "sender, receiver and generator with a pipe between them")
def rsync(bench):
    source = random.Random(5)
    bench.path("from").mkdir()
    for number in range(60):
        bench.path(f"from/file{number}").write_bytes(source.randbytes(40_000))
    bench.write("shell", '#!/bin/sh\nshift\nexec "$@"\n').chmod(0o755)
    bench.start("rsync", "--archive", "--bwlimit=1000", "--rsh", bench.path("shell"), "from/", f"here:{bench.path('to')}")
    bench.wait_until(lambda: bench.path("to").exists() and len(list(bench.path("to").iterdir())) > 15, "some files are there")
    bench.suspend_and_resume()
    expect(bench.status(), 0, f"exit status; it said {bench.read('output')[-300:]}")
    bench.call("diff", "--recursive", "from", "to")


@app("redis", ["redis-server", "--version"], "a server with a client in a transaction and one that waits for a list, an append-only file")
def redis(bench):
    bench.write("conf", "unixsocket socket\nport 6390\nbind 127.0.0.1\nappendonly yes\nsave ''\n")
    fifos = [bench.fifo(name) for name in ("first", "second")]
    bench.write("script", "redis-server conf >server 2>&1 & server=$!\n"
                          "until redis-cli -p 6390 ping >ping 2>&1; do sleep 0.1; done; echo up\n"
                          "redis-cli -p 6390 <first >first.out 2>&1 & one=$!; redis-cli -s socket <second >second.out 2>&1 & two=$!\n"
                          "wait $one; echo first $?; wait $two; echo second $?; redis-cli -p 6390 shutdown nosave\n"
                          "wait $server; echo server $?; exit 3\n")
    bench.start("bash", "script")
    bench.wait_lines("output", 1)
    bench.send("set a 1\nset b 2\nmulti\nincr a\n", "first")
    bench.send("blpop list 0\n", "second")
    bench.wait_until(lambda: "QUEUED" in bench.read("first.out"), "the transaction has begun")

    def waits():
        done = subprocess.run(["redis-cli", "-p", "6390", "info", "clients"], capture_output=True, text=True, check=False)
        return "blocked_clients:1" in done.stdout

    bench.wait_until(waits, "the second client waits")
    bench.suspend_and_resume()
    bench.send("exec\ndbsize\nrpush list x\n", "first")
    bench.wait_until(lambda: "x" in bench.read("second.out"), "the second client has its answer")
    for descriptor in fifos:
        os.close(descriptor)
    expect(bench.status(), 3, f"exit status; the server said {bench.read('server')[-300:]}")
    expect(bench.read("first.out").split(), ["OK", "OK", "OK", "QUEUED", "2", "2", "1"], "first client")
    expect(bench.read("second.out").split(), ["list", "x"], "second client")
    expect(bench.read("output"), "up\nfirst 0\nsecond 0\nserver 0\n", "status of each")
