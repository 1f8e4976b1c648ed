# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shells, and what multiplies them."""

import os
import subprocess

from run import app, expect


@app("bash", ["bash", "--version"], "a shell on a terminal with a stopped job, one in the background, a half-typed line")
def bash(bench):
    bench.start_in_terminal("bash --norc --noprofile")
    bench.send("PS1='ready> '; answer=42; cd /tmp; f() { echo function $1; }\n")
    bench.wait_for(r"^ready>$")
    bench.send("sh -c 'for i in 1 2 3; do read line; echo got $line; done; exit 5'\n")
    bench.send("first\n")
    bench.wait_for(r"^got first$")
    bench.send("\x1a")
    bench.wait_for(r"Stopped")
    bench.send("sleep 1000 &\n")
    bench.wait_for(r"^\[2\] \d+$")
    bench.send("echo $answ")
    bench.wait_for(r"echo \$answ$")
    bench.suspend_and_resume()
    bench.send("er; f $PWD; jobs\n")
    bench.wait_for(r"^42$")
    bench.wait_for(r"^function /tmp$")
    bench.wait_for(r"^\[1\]\+ +Stopped ")
    bench.wait_for(r"^\[2\]- +Running +sleep 1000")
    bench.send("fg 1\n")
    bench.send("second\nthird\n")
    bench.wait_for(r"^got second$")
    bench.wait_for(r"^got third$")
    bench.send("echo status $?; kill %2; wait %2; echo ended $?\n")
    bench.wait_for(r"^status 5$")
    bench.wait_for(r"^ended 143$")
    bench.send("exit 7\n")
    expect(bench.status(), 7, "exit status")


@app("unshare", ["unshare", "--version"], "a shell in user, uts, ipc and network namespaces of its own, on a terminal")
def unshare(bench):
    bench.start_in_terminal("unshare --user --map-root-user --uts --ipc --net --fork bash --norc --noprofile")
    bench.send("PS1='ready> '\n")
    bench.wait_for(r"^ready>$")
    bench.send("hostname inner; ip link set lo up; ipcmk --semaphore 3; clear; id -u; hostname\n")
    bench.wait_for(r"^inner$")
    bench.send("sleep 1000 &\n")
    bench.wait_for(r"^\[1\] \d+$")
    bench.suspend_and_resume()
    bench.send("clear; echo $(hostname) $(id -u) $(cat /proc/self/uid_map)\n")
    bench.wait_for(r"^inner 0 0 0 1$")
    bench.send("clear; ipcs --semaphores | tail -2; ip -oneline address show up | wc -l; hostname changed && hostname\n")
    bench.wait_for(r" 644 +3$")
    bench.wait_for(r"^2$")
    bench.wait_for(r"^changed$")
    bench.send("kill %1; wait %1; echo ended $?; exit 8\n")
    bench.wait_for(r"^ended 143$")
    expect(bench.status(), 8, "exit status")



@app("unshare_mounts", ["unshare", "--version"], "a shell in a mount namespace of its own, working on a tmpfs of its own")
def unshare_mounts(bench):
    bench.start_in_terminal("unshare --mount bash --norc --noprofile")
    bench.send("PS1='ready> '\n")
    bench.wait_for(r"^ready>$")
    bench.send("d=$(mktemp -d); mount -t tmpfs mine $d; cd $d; mkdir a; echo kept >a/file; mkdir b; mount --bind a b; exec 7<a/file; clear; echo made\n")
    bench.wait_for(r"^made$")
    bench.suspend_and_resume()
    bench.send("clear; cat b/file; read line <&7; echo again $line; findmnt -n -o FSTYPE,SOURCE --target . | tr -s ' '; umount b; ls b | wc -l\n")
    bench.wait_for(r"^kept$")
    bench.wait_for(r"^again kept$")
    bench.wait_for(r"^tmpfs mine$")
    bench.wait_for(r"^0$")
    bench.send("cd /; exec 7<&-; umount $d && exit 9\n")
    expect(bench.status(), 9, "exit status")


def in_own_pids(bench, become=""):
    """A shell that is the first process of a pid namespace, with the /proc of that."""
    bench.start_in_terminal(f"{become} unshare --user --map-root-user --mount --pid --fork --mount-proc bash --norc --noprofile")
    bench.send("PS1='ready> '\n")
    bench.wait_for(r"^ready>$")
    bench.send("mount -t tmpfs mine /mnt; echo kept >/mnt/file; sleep 1000 &\n")
    bench.wait_for(r"^\[1\] \d+$")
    bench.send("clear; echo $$ $!\n")
    bench.wait_for(r"^1 \d+$")
    bench.suspend_and_resume()
    bench.send("clear; echo $$ $(cat /mnt/file) $(id -u); ps -e -o comm= | sort | tr '\\n' ' '; jobs\n")
    bench.wait_for(r"^1 kept 0$")
    bench.wait_for(r"^bash ps sleep sort tr \[1\]\+ +Running")
    bench.send("clear; kill %1; wait %1; echo ended $?; umount /mnt; mountpoint -q /mnt || echo gone; (exec sh -c 'echo self $$ $(readlink /proc/self | wc -w)')\n")
    bench.wait_for(r"^ended 143$")
    bench.wait_for(r"^gone$")
    bench.wait_for(r"^self \d+ 1$")
    bench.send("exit 11\n")
    expect(bench.status(), 11, "exit status")


@app("unshare_pids", ["unshare", "--version"], "root's shell in user, mount and pid namespaces of its own")
def unshare_pids(bench):
    in_own_pids(bench)


@app("unshare_unprivileged", ["unshare", "--version"], "an ordinary user's shell in user, mount and pid namespaces of its own")
def unshare_unprivileged(bench):
    in_own_pids(bench, "env -C / setpriv --reuid=12345 --regid=12345 --clear-groups --inh-caps=-all")


def in_sandbox(bench, become=""):
    bench.start_in_terminal(f"{become} bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp --dir /tmp/home "
                            "--chdir /tmp/home --hostname sandbox --setenv ENV '' bash --norc --noprofile")
    bench.send("PS1='ready> '\n")
    bench.wait_for(r"^ready>$")
    bench.send("echo kept >file; exec 7<file; sleep 1000 &\n")
    bench.wait_for(r"^\[1\] \d+$")
    bench.send("mkfifo pipe; (read line <pipe; echo the subshell got $line) &\n")  # much of its memory is still its parent's
    bench.wait_for(r"^\[2\] \d+$")
    bench.suspend_and_resume()
    bench.send("clear; echo $(hostname) $PWD $(cat file); read line <&7; echo again $line; touch /usr/mine; ps -e -o comm= | sort | tr '\\n' ' '; jobs\n")
    bench.wait_for(r"^sandbox /tmp/home kept$")
    bench.wait_for(r"^again kept$")
    bench.wait_for(r"Read-only file system")
    bench.wait_for(r"^bash bash bwrap ps sleep sort tr \[1\]- +Running")
    bench.send("clear; echo x >pipe; wait %2\n")
    bench.wait_for(r"^the subshell got x$")
    bench.send("clear; echo x >/dev/null && echo written; kill %1; wait %1; echo ended $?; exit 12\n")
    bench.wait_for(r"^written$")
    bench.wait_for(r"^ended 143$")
    expect(bench.status(), 12, "exit status")


@app("bubblewrap", ["bwrap", "--version"], "root's shell in a sandbox: all namespaces, a read-only root, own /dev, /proc, /tmp")
def bubblewrap(bench):
    in_sandbox(bench)


@app("bubblewrap_unprivileged", ["bwrap", "--version"], "the same, an ordinary user's")
def bubblewrap_unprivileged(bench):
    in_sandbox(bench, "env -C / setpriv --reuid=12345 --regid=12345 --clear-groups --inh-caps=-all")


DASH = """
trap 'echo trapped >>log' USR1
count=0
mkfifo pipe
seq 1 400 >pipe &
while read number; do
    count=$((count + number))
    echo "$number $(echo $count | tr 0-9 a-j)"
    [ $((number % 100)) -ne 0 ] || kill -USR1 $$
    while [ $number -ge 300 ] && [ ! -e go-on ]; do sleep 0.02; done
done <pipe
wait
echo sum $count
exit 9
"""


@app("dash", ["dpkg-query", "-W", "-f", "${Version}", "dash"], "a loop over a fifo with command substitutions and traps")
def dash(bench):
    bench.write("script", DASH)
    bench.start("dash", "script")
    bench.wait_lines("output", 150)
    bench.suspend_and_resume()
    expect(bench.status(), 9, "exit status")
    total, lines = 0, []
    for number in range(1, 401):
        total += number
        lines.append(f"{number} {str(total).translate(str.maketrans('0123456789', 'abcdefghij'))}\n")
    expect(bench.read("output"), "".join(lines) + f"sum {total}\n", "output")
    expect(bench.read("log"), "trapped\n" * 4, "traps")


@app("tmux", ["tmux", "-V"], "a server with an attached client and three panes in two windows, a program in each")
def tmux(bench):
    socket = bench.path("socket")
    bench.write("conf", "set -g history-limit 5000\nset -g status-left ''\nset -g default-shell /bin/bash\n"
                        "set -g default-command 'PS1=\"ready> \" bash --norc --noprofile'\n")
    bench.write("session", f"tmux -f conf -S {socket} -D & while ! tmux -N -S {socket} new-session -d -x 80 -y 23; do sleep 0.1; done 2>/dev/null\n"
                           f"script --quiet --flush --return --log-out shown --command "
                           f"'stty rows 24 cols 80; exec tmux -S {socket} attach' <keys >/dev/null\n"
                           "echo client $?; wait\n")
    bench.shown = bench.path("shown")
    keys = bench.fifo("keys")
    bench.start("sh", "session")

    def tell(*command):
        return bench.call("tmux", "-S", socket, *command)

    bench.wait_for(r"^ready>$")
    tell("split-window", "-v")
    tell("new-window", "-n", "other")
    tell("send-keys", "-t", "0.0", "seq 1 3000; read line; echo got $line", "Enter")
    tell("send-keys", "-t", "0.1", "echo as''ked; for i in 1 2 3; do read x; echo line $i $x; done", "Enter")
    # what is typed before a shell reads would be taken as typed without a line discipline
    bench.wait_until(lambda: "asked" in tell("capture-pane", "-p", "-t", "0.1"), "the second pane asks")
    tell("send-keys", "-t", "0.1", "one", "Enter")
    tell("send-keys", "-t", "1.0", "vi", "Enter")
    bench.wait_until(lambda: "3000" in tell("capture-pane", "-p", "-t", "0.0"), "the first pane has counted")
    bench.wait_until(lambda: "line 1 one" in tell("capture-pane", "-p", "-t", "0.1"), "the second pane has read a line")
    bench.wait_for(r"^~$")
    before = [tell("capture-pane", "-p", "-S", "-", "-t", pane) for pane in ("0.0", "0.1", "1.0")]
    bench.suspend_and_resume()
    after = [tell("capture-pane", "-p", "-S", "-", "-t", pane) for pane in ("0.0", "0.1", "1.0")]
    expect(after, before, "contents of the panes, with what has scrolled away")
    bench.send("ihello from vi")  # by the attached client's own terminal
    bench.wait_for(r"^hello from vi$")
    bench.send("\x1b:q!\r")
    tell("send-keys", "-t", "0.0", "again", "Enter")
    tell("send-keys", "-t", "0.1", "two", "Enter", "three", "Enter")
    bench.wait_until(lambda: "got again" in tell("capture-pane", "-p", "-t", "0.0"), "the first pane reads on")
    bench.wait_until(lambda: "line 3 three" in tell("capture-pane", "-p", "-t", "0.1"), "the second pane reads on")
    bench.send("\x02p")
    bench.wait_for(r"line 2 two")
    for pane in ("1.0", "0.1", "0.0"):
        tell("send-keys", "-t", pane, "exit", "Enter")
    bench.wait_until(lambda: "client" in bench.read("output"), "the client ends with its last window")
    tell("kill-server")
    expect(bench.status(), 0, "exit status")
    expect(bench.read("output"), "client 0\n", "what the shell said")


@app("screen", ["screen", "--version"], "a server with an attached client and two windows, a program that waits for input")
def screen(bench):
    bench.path("sockets").mkdir(mode=0o700)
    environment = {**os.environ, "HOME": str(bench.directory), "SCREENDIR": str(bench.path("sockets")), "TERM": "linux"}
    bench.write("ask", "print('asks')\nprint('got', input())\n")
    bench.start_in_terminal("screen -c /dev/null -S work bash --norc --noprofile", env=environment)
    bench.wait_for(r"bash-5")
    bench.send("PS1='one> '; value=17; clear\n")
    bench.wait_for(r"^one>$")
    bench.send("\x01c")
    bench.wait_for(r"[#$]$")
    bench.send(f"PS1='two> '; clear; python3 {bench.path('ask')}\n")
    bench.wait_for(r"^asks$")
    bench.suspend_and_resume()
    bench.send("a line\n")
    bench.wait_for(r"^got a line$")
    bench.send("\x01\x01")
    bench.wait_for(r"^one>$")
    bench.send("echo value $value\n")
    bench.wait_for(r"^value 17$")
    bench.send("\x01d")
    bench.wait_until(lambda: os.waitid(os.P_PID, bench.root, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the client is detached")
    expect(bench.status(), 0, "exit status")
    listed = subprocess.run(["screen", "-ls"], env=environment, capture_output=True, text=True, check=False).stdout
    expect("(Detached)" in listed, True, f"the server goes on ({listed.strip()})")
