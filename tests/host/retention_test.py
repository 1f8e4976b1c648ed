#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""abeyance-prune.service with the real worker: two users, checkpoints of sessions that run on, rules for their number, their age and the
space that is left; pinned ones stay, and states of homes go with their checkpoints and no others."""

import json
import sys
import time

from adas_session import abeyctl, complaint, wait_until
from checks import StepFailed
from service_test import main_of
from terminal import Terminal

STORE = "var/lib/abeyance"
PLAN = ["each checkpoint has a state of its home", "prune's service ends well", "each user's youngest stay, and what is pinned", "bob's are kept by his own number, but not beyond their age",
        "states of homes went with the others", "and no others did", "with little space all go that are not pinned", "their states of homes, too", "the sessions ran on", "nothing is left half removed", "the daemon never died"]


def checkpoints(host):
    return {one["id"]: one for one in json.loads(abeyctl(host, "list", "--json").stdout)}


def make(host, user, count):
    """Ids of so many new checkpoints, the oldest first."""
    made = []
    for _ in range(count):
        before = set(checkpoints(host))
        result = abeyctl(host, "checkpoint", user)
        new = set(checkpoints(host)) - before
        if result.returncode != 0 or len(new) != 1:
            raise StepFailed(f"checkpoint of {user}: {complaint(result)}, {len(new)} new")
        made += new
        time.sleep(1.1)  # an id has the second in it
    return made


def place_of(host, identifier):
    return json.loads(host.path(f"{STORE}/{identifier}/home.json").read_text())["place"]


def make_older(host, identifier, seconds):
    about = host.path(f"{STORE}/{identifier}/about.json")
    record = json.loads(about.read_text())
    record["created"] -= seconds * 1_000_000
    about.write_text(json.dumps(record))


def policy(host, text):
    path = host.path("etc/abeyance/policy.d/60-retention.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def prune(host, left):
    """Fires the service; what is left of `left` checkpoints, when removals have ended."""
    result = host.run(["systemctl", "start", "abeyance-prune.service"])
    try:
        wait_until(lambda: len(checkpoints(host)) <= left, "removals", 60, 0.2)
        wait_until(lambda: not host.run(["systemctl", "list-units", "--no-legend", "--plain", "abeyance-remove@*"]).stdout.strip(), "their end", 60, 0.2)
    except Exception:  # what is there, is the answer
        pass
    return result, set(checkpoints(host))


def run(host, checks):
    policy(host, "[retention]\ncheckpoints = 100\n")  # none goes by itself
    with Terminal.login(host, "ada") as hers, Terminal.login(host, "bob") as his:
        for terminal in (hers, his):
            terminal.type("kept=here; clear; echo rea''dy\n")
            terminal.wait_for("^ready$", 30)
        ada, bob = make(host, "ada", 3), make(host, "bob", 4)
        places = {one: place_of(host, one) for one in ada + bob}
        there = lambda: {one for one, place in places.items() if host.path(place).is_dir()}
        checks.check("each checkpoint has a state of its home", (7, 7), (len(set(places.values())), len(there())))
        pinned = ada[0]
        if abeyctl(host, "pin", pinned).returncode != 0:
            raise StepFailed("the pin")
        make_older(host, bob[0], 3 * 86400)
        make_older(host, bob[1], 2 * 86400)  # kept by its number, and by now older than his rule says
        policy(host, '[retention]\ncheckpoints = 1\nmin-free = "0 B"\n[[user]]\nnames = "bob"\nretention.checkpoints = 3\nretention.max-age = "1 day"\n')
        wanted = {pinned, ada[2], bob[2], bob[3]}
        result, left = prune(host, len(wanted))
        checks.check("prune's service ends well", 0, result.returncode)
        checks.check("each user's youngest stay, and what is pinned", {pinned, ada[2]}, left & set(ada))
        checks.check("bob's are kept by his own number, but not beyond their age", {bob[2], bob[3]}, left & set(bob))
        checks.check("states of homes went with the others", set(), there() - wanted)
        checks.check("and no others did", wanted, there())
        policy(host, '[retention]\ncheckpoints = 100\nmin-free = "1000 TiB"\n')
        _, left = prune(host, 1)
        checks.check("with little space all go that are not pinned", {pinned}, left)
        checks.check("their states of homes, too", {pinned}, there())
        ran = []
        for terminal in (hers, his):
            terminal.type("clear; echo \"<$kept>\"\n")
            ran.append(terminal.wait_for(r"^<(.*)>$", 30).group(1))
        checks.check("the sessions ran on", ["here", "here"], ran)
        entries = {entry.name for entry in host.path(STORE).iterdir()} - {"pins", "displaced"}
        checks.check("nothing is left half removed", {pinned}, entries)
        checks.check("the daemon never died", "0", host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip())


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
