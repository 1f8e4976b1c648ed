#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots where the policy wants them, laid out as snapper's: what each alone holds, and what happens when another tool deletes one."""

import os
import subprocess
import sys

from adas_session import HOME, AdasSession, abeyctl, complaint, json_of, still_alive, wait_until
from divergence_test import counter_in
from service_test import main_of

PLACE = "/home/.snapper-ada"
PLAN = ["a place in the home is refused beforehand", "suspended", "the snapshot lies where the policy says", "snapper's layout", "list tells what it alone holds", "the bus tells it, too",
        "btrfs tools see and delete the snapshot", "list tells that it is gone", "show tells it", "a resume that needs it is refused", "nothing is lost by that",
        "resumed with the home as it is", "the next one goes with its checkpoint"]


def ok(result):
    return "status 0" if result.returncode == 0 else complaint(result)


def listed(host, checkpoint):
    return next((one for one in json_of(abeyctl(host, "list", "--json"))["list"] if one["id"] == checkpoint), {})


def run(host, checks):
    policy = host.path("etc/abeyance/policy.d/10-snapshots.toml")
    policy.parent.mkdir(parents=True, exist_ok=True)
    session = AdasSession(host)
    session.start_programs()
    policy.write_text(f'[home]\nsnapshot-directory = "{HOME}/states"\n')
    result = abeyctl(host, "suspend", session.id)
    checks.check("a place in the home is refused beforehand", "is in home", complaint(result), result.returncode != 0 and "is in home" in result.stderr)
    policy.write_text('[home]\nsnapshot-directory = "/home/.snapper-{home}"\nsnapshot-name = "abeyance-{id}"\nsnapshot-layout = "snapper"\n')
    home = host.path(HOME)
    data = home / "large"
    data.write_bytes(os.urandom(4 << 20))
    os.chown(data, 5001, 5001)
    watched = session.watch()
    result = abeyctl(host, "suspend", session.id, "--json")
    if not checks.check("suspended", "status 0", ok(result)):
        return
    still_alive(watched, 60)
    session.terminal.close()
    checkpoint = json_of(result)["checkpoint"]
    count = session.log().counts[-1]
    snapshot = f"{PLACE}/.snapshots/1/snapshot"
    checks.check("the snapshot lies where the policy says", True, host.path(f"{snapshot}/large").read_bytes() == data.read_bytes())
    info = host.path(f"{PLACE}/.snapshots/1/info.xml").read_text()
    checks.check("snapper's layout", ("<num>1</num>", f"<description>abeyance-{checkpoint}</description>"), info,
                 "<num>1</num>" in info and f"<description>abeyance-{checkpoint}</description>" in info)
    data.write_bytes(b"")
    subprocess.run(["sync", "-f", home], check=True)
    one = listed(host, checkpoint)
    checks.check("list tells what it alone holds", ("4 MiB and little more", ""), (one.get("exclusive"), one.get("problem")),
                 4 << 20 <= (one.get("exclusive") or 0) < 5 << 20 and one.get("problem") == "")
    objects = host.run(["busctl", "--json=short", "call", "org.abeyance1", "/org/abeyance1", "org.freedesktop.DBus.ObjectManager",
                        "GetManagedObjects"]).stdout
    checks.check("the bus tells it, too", f'"Exclusive":{{"type":"t","data":{one.get("exclusive")}}}', objects,
                 f'"Exclusive":{{"type":"t","data":{one.get("exclusive")}}}' in objects)

    result = host.run(["sh", "-c", f"btrfs subvolume list -s /home | grep -c {snapshot[6:]} && btrfs subvolume delete {snapshot}"])
    checks.check("btrfs tools see and delete the snapshot", "1 and deleted", result.stdout.strip() + result.stderr.strip(),
                 result.stdout.startswith("1\n") and result.returncode == 0)
    gone = f"{snapshot} is gone"
    one = listed(host, checkpoint)
    checks.check("list tells that it is gone", gone, one.get("problem"), gone in one.get("problem", "") and gone in abeyctl(host, "list").stdout)
    shown = abeyctl(host, "show", checkpoint).stdout
    checks.check("show tells it", gone, shown, gone in shown)
    result = abeyctl(host, "resume", checkpoint)
    checks.check("a resume that needs it is refused", gone, complaint(result), result.returncode != 0 and gone in result.stderr)
    checks.check("nothing is lost by that", ("waiting", b"", count), (listed(host, checkpoint).get("state"), data.read_bytes(), session.log().counts[-1]))
    result = abeyctl(host, "resume", checkpoint, "--on-divergence", "keep")
    checks.check("resumed with the home as it is", "status 0", ok(result))
    identifier, _ = wait_until(lambda: counter_in(host, []), "the resumed counter", 60)
    wait_until(lambda: session.log().counts[-1] > count + 3, "the counter's going on", 60)

    result = abeyctl(host, "suspend", identifier, "--keep-running", "--json")
    there = host.path(f"{PLACE}/.snapshots/2/snapshot/large").exists() or host.path(f"{PLACE}/.snapshots/1/snapshot/large").exists()
    removed = abeyctl(host, "remove", json_of(result).get("checkpoint", ""))
    left = sorted(entry.name for entry in host.path(f"{PLACE}/.snapshots").iterdir())
    checks.check("the next one goes with its checkpoint", ("status 0", True, "status 0", []), (ok(result), there, ok(removed), left))
    host.run(["loginctl", "terminate-session", identifier], check=True)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
