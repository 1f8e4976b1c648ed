#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hostile user beside another one: bob takes all that he is given and more, places traps in his home, and says what nobody says;
ada, at the same time, is served. Everything is real, the engine too."""

import concurrent.futures
import re
import subprocess
import sys

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from service_test import MANAGER, main_of
from terminal import Terminal

PLAN = ["both are checkpointed at once", "no more checkpoints than the policy allows", "ada may still have hers", "no more bytes than the policy allows", "one that would take more is refused with its size", "and its session runs on",
        "nor do two at once take what is there for one",
        "when nobody knows how many jobs he may start, he may start none", "no more jobs at a time than a user may have", "ada's job is taken meanwhile", "one job for each session: the others are told",
        "more clients than he may have are no others'",
        "no more inhibitors than a user may have", "ada gets one", "a name of a megabyte is refused", "a message of a hundred megabytes is none of ours",
        "a path for a session is refused", "a forged answer of logind's does nothing", "jobs of others are not shown",
        "a link in the home leads root nowhere", "nor does a link to another's home", "a directory that is his is not trusted with more than his own",
        "what was there is as it was", "the daemon never died", "no unit has failed"]
MANAGED = {"XDG_RUNTIME_DIR": "/run/user/5002"}
ESCAPES = ["/etc", "/home/ada", "/srv"]


def checkpoint(host, session, user):
    return abeyctl(host, "suspend", session, "--keep-running", "--json", user=user)


def listed(host):
    return json_of(abeyctl(host, "list", "--json"))["list"]


def clear(host):
    for one in listed(host):
        abeyctl(host, "remove", one["id"])


def policy(host, text):
    path = host.path("etc/abeyance/policy.toml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def tree_of(host, folder):
    """Names, times and sizes of what stands in a directory, where nothing is expected to happen."""
    return host.run(["find", folder, "-xdev", "-printf", "%p %s %T@ %u %m\\n"]).stdout


def amounts(host, checks, ada, bob):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda one: checkpoint(host, *one), [(ada, "ada"), (bob, "bob")]))
    checks.check("both are checkpointed at once", [0, 0], [one.returncode for one in results], all(one.returncode == 0 for one in results))
    clear(host)
    policy(host, "[limits]\ncheckpoints-per-user = 2\n")
    results = [checkpoint(host, bob, "bob") for _ in range(3)]
    checks.check("no more checkpoints than the policy allows", "two, then a refusal", [one.returncode for one in results] + [complaint(results[2])],
                 [one.returncode for one in results] == [0, 0, 1] and "2 checkpoints" in results[2].stderr)
    checks.check("ada may still have hers", 0, checkpoint(host, ada, "ada").returncode)
    clear(host)
    policy(host, "")
    checkpoint(host, bob, "bob")
    size = listed(host)[0]["size"]
    policy(host, f"[limits]\nsize-per-user = {size * 3 // 2}\n")
    results = [checkpoint(host, bob, "bob")]
    clear(host)
    results += [checkpoint(host, bob, "bob"), checkpoint(host, bob, "bob")]
    checks.check("no more bytes than the policy allows", "a refusal with one there, none without", [complaint(one) for one in results],
                 [one.returncode for one in results] == [1, 0, 1] and re.search(r" others take [1-9][0-9.]* [KM]iB of ", results[2].stderr) is not None)
    clear(host)


def sizes(host, checks, terminal, bob):
    """A program with much memory, and a policy under which it does not fit."""
    hold = "import sys; held = bytes(range(1, 256)) * (1 << 17); print('it', 'holds', flush=True); sys.stdin.readline(); print('still', len(held))"
    terminal.type(f"python3 -c \"{hold}\"\n")
    terminal.wait_for("^it holds$")
    policy(host, "[limits]\nsize-per-user = \"16 MiB\"\n")
    result = checkpoint(host, bob, "bob")
    checks.check("one that would take more is refused with its size", "would take ... MiB, nothing is left of it", (complaint(result), listed(host)),
                 re.search(r"would take [3-9][0-9]\.[0-9] MiB, .* of 16\.0 MiB \(size-per-user", result.stderr) is not None
                 and not listed(host) and not list(host.path("var/lib/abeyance").glob("2*")))
    terminal.type("\n")
    checks.attempt("and its session runs on", "its memory is as it was", lambda: (bool(terminal.wait_for(rf"^still {255 << 17}$")), True))
    units = [f"one-{number}.service" for number in range(2)]
    wait = "import pathlib, sys, time; held = bytes(range(1, 256)) * (1 << 17); pathlib.Path(sys.argv[1]).touch(); time.sleep(1000)"
    for unit in units:
        host.run(["systemd-run", "--user", "--unit", unit, "-p", "StandardOutput=null", "--", "/usr/bin/python3", "-c", wait, f"/var/tmp/{unit}"],
                 user="bob", env=MANAGED, check=True)
    wait_until(lambda: all(host.path(f"var/tmp/{unit}").exists() for unit in units), "their memory")
    policy(host, "[limits]\nsize-per-user = \"56 MiB\"\n")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda unit: checkpoint(host, f"5002/{unit}", "bob"), units))
    checks.check("nor do two at once take what is there for one", "one is made", [complaint(one) for one in results],
                 sorted(one.returncode for one in results) == [0, 1])
    for unit in units:
        host.run(["systemctl", "--user", "stop", unit], user="bob", env=MANAGED)
    policy(host, "")
    clear(host)


def unknown(host, checks, bob):
    """The service, and nobody else, finds something in the place of the user database that cannot be opened: whom a section is for, it cannot know."""
    policy(host, "[[user]]\nnames = [\"bob\"]\nlimits.jobs-per-minute = 1\n")
    host.run(["/usr/bin/python3", "-c", "import socket; socket.socket(socket.AF_UNIX).bind('/run/no-database')"], check=True)
    host.path("run/one-source").write_text("passwd: files\ngroup: files\n")
    daemon = host.run(["systemctl", "show", "--property=MainPID", "--value", "abeyd"]).stdout.strip()
    host.run(["nsenter", "--target", daemon, "--mount", "sh", "-euc",
              "mount --bind /run/one-source /etc/nsswitch.conf; mount --bind /run/no-database /etc/passwd"], check=True)
    result = abeyctl(host, "check", bob, user="bob")
    checks.check("when nobody knows how many jobs he may start, he may start none", "refused, with the reason", complaint(result),
                 result.returncode == 1 and "user 5002 cannot be looked up" in result.stderr)
    policy(host, "")
    host.run(["systemctl", "restart", "abeyd"], check=True)


# All at once, also where a program takes long to start; tells what those that are refused say.
FLOOD = 'for i in $(seq 12); do { said=$(abeyctl run --detach -- sleep 1000 2>&1) || echo "refused: $said"; } & done; wait'


def jobs(host, checks, ada):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flood = pool.submit(host.run, ["sh", "-c", FLOOD], user="bob")
        hers = checkpoint(host, ada, "ada")
        refusals = [line for line in flood.result().stdout.splitlines() if line.startswith("refused: ")]
    checks.check("no more jobs at a time than a user may have", "some refusals, all for that reason", refusals[:2],
                 bool(refusals) and all("jobs" in one or "too many of your calls" in one for one in refusals))
    checks.check("ada's job is taken meanwhile", 0, hers.returncode)
    for session, properties in sessions_of(host, "bob").items():
        if properties.get("Service") == "abeyance-run":
            host.run(["loginctl", "terminate-session", session])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: checkpoint(host, ada, "ada"), range(4)))
    refusals = [one for one in results if one.returncode != 0]
    checks.check("one job for each session: the others are told", "at work there", [complaint(one) for one in refusals],
                 len(refusals) < 4 and all("is at work there" in one.stderr for one in refusals))
    clear(host)


HOLDS = """
import dbus, sys
bus = dbus.SystemBus()
manager = dbus.Interface(bus.get_object('org.abeyance1', '/org/abeyance1'), 'org.abeyance1.Manager')
held = []
try:
    while len(held) < 1000:
        held.append(manager.Inhibit('', 'bob', 'because'))
except dbus.DBusException as error:
    print(len(held), error.get_dbus_name(), flush=True)
sys.stdin.read()
"""
# As many as the bus allows a user (dbus-daemon(1), max_connections_per_user), but for some that are needed
LISTENS = """
import dbus, sys
held = []
try:
    for _ in range(int(sys.argv[1])):
        held.append(dbus.SystemBus(private=True))
        held[-1].get_object('org.abeyance1', '/org/abeyance1', introspect=False).Subscribe(dbus_interface='org.abeyance1.Manager')
except dbus.DBusException as error:
    print(error, file=sys.stderr)
print(len(held), flush=True)
sys.stdin.read()
"""
# The bus takes messages of 128 MiB at the most (dbus-daemon(1)), and hangs up on whoever sends more.
SHOUTS = """
import dbus, sys
bus = dbus.SystemBus()
manager = dbus.Interface(bus.get_object('org.abeyance1', '/org/abeyance1'), 'org.abeyance1.Manager')
try:
    manager.SuspendSession('x' * int(sys.argv[1]), dbus.Dictionary(signature='sv'))
    print('taken')
except dbus.DBusException as error:
    print(error.get_dbus_name(), len(str(error)))
"""


def clients(host, checks, ada):
    """Whoever is not listened to by the service waits for the end of a job for ever."""
    listeners = [subprocess.Popen(host.command(["/usr/bin/python3", "-c", LISTENS, "230"], user=user), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True, preexec_fn=host.enter) for user in ("bob", "nobody")]
    counts = [int(one.stdout.readline() or 0) for one in listeners]
    checks.attempt("more clients than he may have are no others'", "many; her job ends", lambda: (
        (counts, (result := abeyctl(host, "suspend", ada, "--keep-running", "--json", user="ada", timeout=30)).returncode),
        min(counts) > 128 and sum(counts) > 256 and result.returncode == 0))
    for one in listeners:
        one.stdin.close()
        one.wait(20)
    clear(host)


def words(host, checks, ada):
    holder = subprocess.Popen(host.command(["/usr/bin/python3", "-c", HOLDS], user="bob"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              preexec_fn=host.enter)
    count, name = (holder.stdout.readline().split() + ["", ""])[:2]
    checks.check("no more inhibitors than a user may have", "32 org.abeyance1.Error.", f"{count} {name}", count == "32" and name.startswith("org.abeyance1.Error."))
    taken = host.run(["busctl", "call", *MANAGER, "Inhibit", "sss", ada, "ada", "hers"], user="ada")
    checks.check("ada gets one", 0, taken.returncode)
    holder.stdin.close()
    holder.wait(20)
    said = host.run(["/usr/bin/python3", "-c", SHOUTS, str(1 << 20)], user="bob").stdout.split()
    checks.check("a name of a megabyte is refused", "InvalidArgument, in a few words", said,
                 said[:1] == ["org.abeyance1.Error.InvalidArgument"] and int(said[1]) < 4096)
    said = host.run(["/usr/bin/python3", "-c", SHOUTS, str(200 << 20)], user="bob")
    checks.check("a message of a hundred megabytes is none of ours", "not taken", said.stdout, "taken" not in said.stdout)
    refused = [host.run(["busctl", "call", *MANAGER, "SuspendSession", "sa{sv}", name, "0"], user="bob").returncode
               for name in ("../1", "/etc", "5001/../x.scope", "5002/..service", "5002/a b.service")]
    checks.check("a path for a session is refused", [1] * 5, refused)
    before = len(listed(host))
    for user in ("bob", "ada"):
        for member, value in (("PrepareForSleep", "boolean:true"), ("PrepareForShutdown", "boolean:true"), ("SessionNew", "string:1")):
            host.run(["dbus-send", "--system", "--type=signal", "--dest=org.abeyance1", "/org/freedesktop/login1",
                      f"org.freedesktop.login1.Manager.{member}", value], user=user)
    abeyctl(host, "list")  # answered after them
    checks.check("a forged answer of logind's does nothing", (before, "a(osuss) 0"), (
        len(listed(host)), host.run(["busctl", "call", *MANAGER, "ListJobs"]).stdout.strip()))
    slow = subprocess.Popen(host.command(["abeyctl", "suspend", ada, "--keep-running", "--json"], user="ada"), stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, preexec_fn=host.enter)
    shown = set()
    while slow.poll() is None:
        shown.add(host.run(["busctl", "call", *MANAGER, "ListJobs"], user="bob").stdout.strip())
    checks.check("jobs of others are not shown", {"a(osuss) 0"}, shown)
    clear(host)


def traps(host, checks, terminal, bob):
    """Where root writes in a home, bob has links to elsewhere. A file of his that has no name has to be kept somewhere."""
    policy(host, '[[file]]\npath = "/home/**"\nstrategies = ["copy", "reflink", "embed"]\n[home]\nprovider = "none"\n')
    before = {folder: tree_of(host, folder) for folder in ESCAPES}
    terminal.type("cd; head -c 100000 /dev/urandom > big; exec 7<>big; rm big; echo ready\n")
    terminal.wait_for("^ready$")

    def suspended(trap):
        host.run(["sh", "-c", f"rm -rf ~/.abeyance; {trap}"], user="bob", check=True)
        result = checkpoint(host, bob, "bob")
        resumes = "made" if result.returncode == 0 else complaint(result)
        clear(host)
        return resumes

    for name, trap in (("a link in the home leads root nowhere", "ln -s /etc ~/.abeyance"),
                       ("nor does a link to another's home", "ln -s /home/ada ~/.abeyance"),
                       ("a directory that is his is not trusted with more than his own",
                        "mkdir -p ~/.abeyance && ln -s /srv ~/.abeyance/snapshots && ln -s /etc ~/.abeyance/displaced && ln -s /etc ~/.abeyance/files")):
        said = suspended(trap)
        strange = [line for folder in ESCAPES for line in set(tree_of(host, folder).splitlines()) ^ set(before[folder].splitlines())]
        checks.check(name, "nothing was written there", (said, sorted(strange)[:4]), not strange)
    host.run(["sh", "-c", "rm -rf ~/.abeyance"], user="bob")
    terminal.type("exec 7>&-\n")
    checks.check("what was there is as it was", before, {folder: tree_of(host, folder) for folder in ESCAPES})
    policy(host, "")


def run(host, checks):
    policy(host, "")
    with Terminal.login(host, "ada") as hers, Terminal.login(host, "bob") as his:
        hers.type("PS1='ada$ '\n")
        his.type("PS1='bob$ '\n")
        ada, bob = (wait_until(lambda name=name: list(sessions_of(host, name)), "the session")[0] for name in ("ada", "bob"))
        amounts(host, checks, ada, bob)
        sizes(host, checks, his, bob)
        unknown(host, checks, bob)
        jobs(host, checks, ada)
        clients(host, checks, ada)
        words(host, checks, ada)
        traps(host, checks, his, bob)
    checks.check("the daemon never died", "0", host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip())
    failed = host.run(["systemctl", "list-units", "--state=failed", "--no-legend", "--plain"]).stdout
    checks.check("no unit has failed", "", "\n".join(re.findall(r"^abey\S+", failed, re.MULTILINE)))


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
