# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tools that work through much data, with files and pipes between them."""

import hashlib
import os
import random
import subprocess

from run import app, expect


@app("make -j2 with gcc", ["gcc", "--version"], "compilers and assemblers of ten files at once, under a jobserver")
def make(bench):
    names = [f"part{number}" for number in range(10)]
    for number, name in enumerate(names):
        body = "".join(f"static int f{k}(int x) {{ int s = 0; for (int i = 0; i < x; i++) s += (i * {k + number}) % 7; return s; }}\n"
                       for k in range(120))
        bench.write(f"{name}.c", body + f"int {name}(void) {{ return {' + '.join(f'f{k}({k + 10})' for k in range(120))}; }}\n")
    bench.write("main.c", "#include <stdio.h>\n" + "".join(f"int {name}(void);\n" for name in names) +
                "int main(void) { printf(\"%d\\n\", " + " + ".join(f"{name}()" for name in names) + "); return 0; }\n")
    objects = " ".join(f"{name}.o" for name in ["main", *names])
    bench.write("Makefile", f"program: {objects}\n\tgcc -o $@ {objects}\n%.o: %.c\n\t@echo begin $@\n\t@gcc -pipe -O2 -c -o $@ $<\n\t@echo end $@\n")
    bench.start("make", "-j2")
    bench.wait_until(lambda: bench.read("output").count("end") >= 3, "three objects are made")
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    lines = bench.read("output").splitlines()
    for word in ("begin", "end"):
        expect(sorted(line for line in lines if line.startswith(word)), sorted(f"{word} {name}" for name in objects.split()), word)
    total = sum((i * (k + number)) % 7 for number in range(10) for k in range(120) for i in range(k + 10))
    expect(bench.call("./program"), f"{total}\n", "what the program says")
    expect(bench.call("make"), "make: 'program' is up to date.\n", "make once more")


@app("git", ["git", "--version"], "a full repack, its threads in the search for deltas")
def git(bench):
    source = random.Random(1)
    words = [source.randbytes(4).hex() for _ in range(3000)]
    stream = []
    for commit in range(150):
        changes = []
        for number in range(6):
            text = " ".join(words[(commit * 3 + number * 17 + k * (1 + commit % 5)) % 3000] for k in range(1000))
            changes.append(f"M 100644 inline dir{number}/file{commit % 20}\ndata {len(text)}\n{text}\n")
        stream.append(f"commit refs/heads/main\ncommitter A <a@b> {1700000000 + commit} +0000\ndata 1\nx\n" + "".join(changes))
    bench.write("stream", "".join(stream))
    bench.write("import", "exec git -C repo fast-import --quiet <stream\n")
    for command in (["git", "init", "-q", "-b", "main", "repo"], ["sh", "import"]):
        bench.call(*command)
    head = bench.call("git", "-C", "repo", "rev-list", "--objects", "--all")
    bench.start("git", "-C", "repo", "repack", "-a", "-d", "-f", "--window=250", "--depth=50", "--threads=2")

    def threads():
        return max((len(os.listdir(f"/proc/{pid}/task")) for pid in bench.processes()), default=0)

    bench.wait_until(lambda: threads() > 1, "the search for deltas has begun")
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    bench.call("git", "-C", "repo", "fsck", "--full", "--strict")
    expect(bench.call("git", "-C", "repo", "rev-list", "--objects", "--all"), head, "objects")
    packs = [path.name for path in bench.path("repo/.git/objects/pack").iterdir()]
    expect(sum(name.endswith(".pack") for name in packs), 1, "packs")
    expect([name for name in packs if "tmp" in name], [], "temporary files left")


@app("sort", ["sort", "--version"], "a merge of many temporary files, some already deleted")
def sort(bench):
    source = random.Random(2)
    lines = [source.randbytes(12).hex() for _ in range(100000)]
    bench.path("temporary").mkdir()
    bench.write("data", "\n".join(lines) + "\n")
    # the output is a fifo with a slow reader in the same tree, so that the merge waits in the middle of its work
    bench.write("script", "sort --buffer-size=1M --batch-size=4 --temporary-directory=temporary --parallel=2 data | "
                          "while read -r first && IFS= read -r second; do echo $first; echo $second; done >sorted\n"
                          "echo status $?\n")
    bench.start("bash", "-o", "pipefail", "script")
    bench.wait_lines("sorted", 1000)
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    expect(hashlib.sha256(bench.path("sorted").read_bytes()).hexdigest(),
           hashlib.sha256(("\n".join(sorted(lines)) + "\n").encode()).hexdigest(), "digest of the output")
    expect(list(bench.path("temporary").iterdir()), [], "temporary files left")


@app("tar and xz", ["xz", "--version"], "a pipe from tar to the threads of xz")
def tar(bench):
    source = random.Random(3)
    bench.path("tree").mkdir()
    for number in range(200):
        data = b"".join(source.choice((b"some text that comes again and again ", source.randbytes(20))) for _ in range(1500))
        bench.path(f"tree/file{number}").write_bytes(data)
    bench.write("script", "tar --sort=name --mtime=@0 -c tree | xz -T2 --block-size=1MiB -6 >archive; echo ${PIPESTATUS[*]}\n")
    bench.start("bash", "script")
    bench.wait_until(lambda: bench.path("archive").exists() and bench.path("archive").stat().st_size > 500_000, "xz has written")
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    expect(bench.read("output"), "0 0\n", "status of both")
    bench.write("reference", "tar --sort=name --mtime=@0 -c tree | sha256sum; xz -dc archive | sha256sum\n")
    digests = bench.call("sh", "reference").splitlines()
    expect(digests[1], digests[0], "digest of what was compressed")


@app("tail -f", ["tail", "--version"], "waiting at two files by inotify, one of which is replaced later")
def tail(bench):
    bench.write("one", "one 1\n")
    bench.write("two", "two 1\n")
    bench.start("tail", "-q", "-n", "1", "-F", "one", "two")

    def append(name, line):
        with open(bench.path(name), "a", encoding="ascii") as out:
            out.write(line + "\n")

    bench.wait_lines("output", 2)
    append("one", "one 2")
    bench.wait_lines("output", 3)
    bench.suspend_and_resume()
    append("one", "one 3")
    bench.wait_lines("output", 4)
    append("two", "two 2")
    bench.wait_lines("output", 5)
    bench.write("new", "two 3\n")
    bench.path("new").rename(bench.path("two"))
    bench.wait_until(lambda: "two 3" in bench.read("output"), "tail follows the new file")
    lines = [line for line in bench.read("output").splitlines() if not line.startswith("tail: ")]
    expect(lines, ["one 1", "two 1", "one 2", "one 3", "two 2", "two 3"], "output")
    bench.end(15)
    expect(bench.status(), -15, "exit status")


@app("ssh-agent", ["ssh", "-V"], "an agent with a key, locked memory, and a client that is connected")
def ssh_agent(bench):
    socket = bench.path("socket")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(bench.directory), "SSH_AUTH_SOCK": str(socket)}
    bench.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key", env=environment)
    bench.start("ssh-agent", "-D", "-a", socket)
    bench.wait_until(socket.exists, "the agent listens")
    bench.call("ssh-add", "-q", "key", env=environment)
    bench.path("key").unlink()
    listed = bench.call("ssh-add", "-L", env=environment)
    bench.suspend_and_resume()
    expect(bench.call("ssh-add", "-L", env=environment), listed, "keys")
    bench.write("allowed", "ada " + bench.read("key.pub"))
    bench.write("message", "signed after the resume\n")
    bench.call("ssh-keygen", "-q", "-Y", "sign", "-f", "key.pub", "-n", "test", "message", env=environment)
    bench.write("verify", "exec ssh-keygen -Y verify -f allowed -I ada -n test -s message.sig <message\n")
    bench.call("sh", "verify", env=environment)
    bench.end(15)
    expect(bench.status(), 2, "exit status")  # what the agent says when it is ended by a signal
    expect(socket.exists(), False, "socket left")


@app("xargs", ["xargs", "--version"], "four processes at a time, each for a moment")
def xargs(bench):
    bench.write("script", "seq 120 | xargs -P 4 -n 1 sh -c 'sleep 0.05; echo $0; [ $0 != 77 ]'; echo status $?\n")
    bench.start("bash", "script")
    bench.wait_lines("output", 20)
    bench.suspend_and_resume()
    expect(bench.status(), 0, "exit status")
    lines = bench.read("output").splitlines()
    expect(lines[-1], "status 123", "status of xargs")
    expect(sorted(map(int, lines[:-1])), list(range(1, 121)), "what was run")


@app("gdb", ["gdb", "--version"], "a debugger with its program is refused by name, and goes on")
def debugger(bench):
    bench.start_in_terminal("gdb -q -ex 'set debuginfod enabled off' -ex 'run' --args sh -c 'echo $((6*7)); read line; exit 5'")
    bench.wait_for(r"^42$")
    done = subprocess.run([bench.engine, "checkpoint", "--pid", str(bench.root), "--images", str(bench.path("images"))],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    expect(done.returncode != 0 and "is being debugged by process" in done.stderr and "detach the debugger" in done.stderr, True,
           f"refused by name ({done.stderr.strip()})")
    bench.send("line\n")
    bench.wait_for(r"exited with code 05")
    bench.send("quit\n")
    expect(bench.status(), 0, "exit status")
