#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traps in a home, for root to walk into: links to places of root's, names that change while the home is copied, and names that lead elsewhere
by the time of the resume. For each provider of homes; service and engine are real."""

import subprocess
import sys

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from hostile_test import clear, policy, tree_of
from service_test import main_of
from terminal import Terminal

PROVIDERS = {"btrfs": "ada", "rsync": "bob", "tar": "bob"}  # ada's home is a subvolume
KINDS = ["fifo", "file", "directory", "working", "socket"]  # of what a program holds without its name
PLAN = [f"{provider}: {what}" for provider in PROVIDERS for what in (
    "names that change meanwhile give away nothing", "it is suspended with traps in the home", "it comes back over a home full of links",
    "the home is as it was", "root has written nowhere else")] + [f"{what}: nothing is made where a link leads at the resume" for what in KINDS] + [
    "the daemon never died"]
# A file that everybody could read, if the directory above it let them.
SECRET = "root's alone"
CLOSED = "srv/closed"
OUTSIDE = ["/etc", "/srv"]

PLANT = f"""cd && rm -rf trap && mkdir trap && cd trap
ln -s /etc/shadow shadow; ln -s /{CLOSED} closed; ln -s / root; ln -s trap loop; mkfifo fifo
cp /bin/true set-uid; chmod 6755 set-uid; ln set-uid second-name
mkdir flip; echo mine > flip/secret; mkdir -p in/side; echo deep > in/side/file; chmod 0 in/side/file"""
# In the place of a directory, for moments, stands a link to one of root's with a file of that name.
FLIP = f"""cd ~/trap || exit
while [ ! -e ~/stop ]; do mv flip away; ln -s /{CLOSED}/open flip; rm flip; mv away flip; done; rm ~/stop"""
# What the session has left in its home by the time of the resume leads out of it.
SPRING = "cd ~/trap && rm -rf in fifo && ln -s /srv in && ln -s /srv/new fifo && rm -rf flip && ln -s /srv flip"
# Held by a program without its name: it has to be made again, by name, for a moment.
HOLDS = """
import os, socket, sys, time
os.chdir(os.path.expanduser("~"))
os.mkdir("held")
what = sys.argv[1]
if what == "fifo":
    os.mkfifo("held/name")
    held = os.open("held/name", os.O_RDWR)
    os.unlink("held/name")
elif what == "file":
    held = os.open("held/name", os.O_RDWR | os.O_CREAT, 0o666)
    os.write(held, b"kept")
    os.unlink("held/name")
elif what == "directory":
    os.mkdir("held/name")
    held = os.open("held/name", os.O_RDONLY)
    os.rmdir("held/name")
elif what == "working":
    os.mkdir("held/name")
    os.chdir("held/name")
    os.rmdir("../name")
elif what == "socket":
    held = socket.socket(socket.AF_UNIX)
    held.bind("held/name")
    held.listen()
print("hol" + "ding", flush=True)
time.sleep(100000)
"""


def look(host, user):
    """What a tree of traps is, without times."""
    return sorted(host.run(["find", f"/home/{user}/trap", "-printf", "%P %y %m %u:%g %n %l\\n"], check=True).stdout.splitlines())


def session_of(host, user, service="login"):
    return wait_until(lambda: [one for one, has in sessions_of(host, user).items() if has.get("Service") == service], "the session")[0]


def given_away(host):
    """Where the secret is found outside of root's place: copies of homes, and the store."""
    return host.run(["grep", "-rlsF", SECRET, "/home", "/var/lib/abeyance"]).stdout.split()


def end(host, user):
    for one in sessions_of(host, user):
        host.run(["loginctl", "terminate-session", one])
    wait_until(lambda: not sessions_of(host, user), "the end of the sessions", 30)
    clear(host)


def home(host, checks, provider, user):
    policy(host, f'[home]\nprovider = "{provider}"\non-divergence = "rollback"\n[resume]\non-login = "never"\n')
    host.run(["sh", "-euc", PLANT], user=user, check=True)
    before = {place: tree_of(host, place) for place in OUTSIDE}
    planted = look(host, user)
    with Terminal.login(host, user) as terminal:
        session = session_of(host, user)
        flipping = subprocess.Popen(host.command(["sh", "-c", FLIP], user=user), stdin=subprocess.DEVNULL, preexec_fn=host.enter)
        found = []
        for _ in range(4):
            result = abeyctl(host, "suspend", session, "--keep-running", "--json")
            found.append(("made" if result.returncode == 0 else complaint(result), given_away(host)))
            clear(host)
        host.run(["touch", f"/home/{user}/stop"], user=user, check=True)
        flipping.wait(30)
        checks.check(f"{provider}: names that change meanwhile give away nothing", "no copy of what is root's", found,
                     all(not files and (said == "made" or "was not suspended: home " in said) for said, files in found))
        host.run(["sh", "-euc", PLANT], user=user, check=True)
        result = abeyctl(host, "suspend", session, "--json")
        checkpoint = json_of(result).get("checkpoint", "")
        checks.check(f"{provider}: it is suspended with traps in the home", ("status 0", "no secret"),
                     ("status 0" if result.returncode == 0 else complaint(result), given_away(host) or "no secret"))
        terminal.wait_end(30)
    host.run(["sh", "-euc", SPRING], user=user, check=True)
    result = abeyctl(host, "resume", checkpoint, "--json")
    checks.check(f"{provider}: it comes back over a home full of links", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checks.check(f"{provider}: the home is as it was", planted, look(host, user))
    strange = [line for place in OUTSIDE for line in set(tree_of(host, place).splitlines()) ^ set(before[place].splitlines())]
    checks.check(f"{provider}: root has written nowhere else", [], strange)
    end(host, user)


def kept_home(host, checks):
    """With the home that is there now: what a program held without a name would be made where a link of its user leads."""
    policy(host, '[home]\nprovider = "none"\non-divergence = "keep"\n[resume]\non-login = "never"\n')
    host.path("srv/place").mkdir()
    host.path("home/bob/holds.py").write_text(HOLDS)
    for what in KINDS:
        host.run(["rm", "-rf", "/home/bob/held"])
        with Terminal.login(host, "bob") as terminal:
            terminal.type(f"/usr/bin/python3 holds.py {what}\n")
            terminal.wait_for("^holding$", 30)
            result = abeyctl(host, "suspend", session_of(host, "bob"), "--json")
            checkpoint = json_of(result).get("checkpoint", "")
            terminal.wait_end(30)
        host.run(["sh", "-euc", "cd; rm -rf held; ln -s /srv/place held"], user="bob", check=True)
        before = {place: tree_of(host, place) for place in OUTSIDE}
        resumed = abeyctl(host, "resume", checkpoint, "--json")
        said = "resumed" if resumed.returncode == 0 else complaint(resumed)
        strange = [line for place in OUTSIDE for line in set(tree_of(host, place).splitlines()) ^ set(before[place].splitlines())]
        checks.check(f"{what}: nothing is made where a link leads at the resume", "suspended, and nothing there", (checkpoint, said, strange),
                     bool(checkpoint) and not strange)
        end(host, "bob")


def run(host, checks):
    host.path(f"{CLOSED}/open").mkdir(parents=True)
    host.path(f"{CLOSED}/open/secret").write_text(SECRET)
    host.path(CLOSED).chmod(0o700)
    for provider, user in PROVIDERS.items():
        home(host, checks, provider, user)
    kept_home(host, checks)
    checks.check("the daemon never died", "0", host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip())


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
