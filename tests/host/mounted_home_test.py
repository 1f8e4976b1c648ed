#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A home that is a btrfs subvolume and a mount point of its own, with another subvolume in it: suspended, changed, the machine
boots, resumed at the login; then once more within the same boot, in a private home, and with a snapshot that somebody has deleted."""

import subprocess
import sys

from adas_session import HOME, LOG, SWAP, AdasSession, abeyctl, complaint, json_of, still_alive, wait_until
from divergence_test import counter_in, seen_by
from observe import Log
from service_test import main_of
from session_test import resume_by_login

PARTS = ("pid", "threads", "scratch", "mapped", "state")
PLAN = ["check refuses nothing", "suspended", "nothing is left of the session", "diff tells what has changed, also in the inner subvolume",
        "counted on", "holds what it held", "the home is as it was", "the inner subvolume is as it was", "a file in it is held open again",
        "ada reaches what was displaced", "home is mounted once, as before", "the home's options stay", "only .abeyance stays mounted",
        "suspended once more", "private: resumed", "private: sees the home as it was", "private: everybody else has the live home",
        "the next boot mounts what was brought back", "btrfs tools see and delete the snapshot", "what is missing is told", "a checkpoint without it can be removed"]


def mounts(host, place):
    lines = host.path("proc/1/mountinfo").read_text().splitlines()
    return [fields for fields in (line.split(" ") for line in lines) if fields[4] == place]


def run(host, checks):
    box = host.path(f"{HOME}/box")
    subprocess.run(["btrfs", "subvolume", "create", box], check=True, stdout=subprocess.DEVNULL)
    (box / "inner.txt").write_text("old\n")
    subprocess.run(["chown", "--recursive", "5001:5001", box], check=True)
    session = AdasSession(host)
    session.terminal.type(f"tail -f {HOME}/box/inner.txt &\n")
    session.start_programs()
    result = abeyctl(host, "check", session.id)
    checks.check("check refuses nothing", 0, result.returncode, result.returncode == 0)
    report = session.ask(session.counter())
    watched = session.watch()
    result = abeyctl(host, "suspend", session.id, "--json")
    if not checks.check("suspended", "status 0", "status 0" if result.returncode == 0 else complaint(result)):
        return
    checks.check("nothing is left of the session", "none", ", ".join(still_alive(watched)) or "none")
    session.terminal.close()
    count = session.log().counts[-1]
    before = set(session.home())
    host.path(f"{HOME}/notes.txt").write_text("something else\n")
    host.path(f"{HOME}/stranger.txt").write_text("what came later\n")
    (box / "inner.txt").write_text("newer\n")
    changed = {one["path"] for one in json_of(abeyctl(host, "diff", "--json")).get("changes", [])}
    checks.check("diff tells what has changed, also in the inner subvolume", {"notes.txt", "stranger.txt", "box/inner.txt"}, changed - {"", "."})

    host.reboot()
    session.terminal, session.id, processes = resume_by_login(host, count)
    box = host.path(f"{HOME}/box")
    now = session.ask(session.counter(processes))
    log = session.log()
    checks.check("counted on", (None, None, []), (Log.gap(log.counts), Log.gap(log.beats), log.broken[:2]))
    checks.check("holds what it held", {part: report[part] for part in PARTS}, {part: now[part] for part in PARTS})
    checks.check("the home is as it was", (False, "A line that was saved.\n"),
                 (host.path(f"{HOME}/stranger.txt").exists(), host.path(f"{HOME}/notes.txt").read_text()))
    checks.check("the inner subvolume is as it was", "old\n", (box / "inner.txt").read_text())
    held = {target for process in processes if "tail" in process.name for target in map(str, process.descriptors().values())}
    checks.check("a file in it is held open again", f"{HOME}/box/inner.txt", held, any(f"{HOME}/box/inner.txt" in one for one in held))
    places = list(host.path("/run/abeyance/homes").glob("*/displaced/*"))
    inside = str(places[0]).partition("/run/abeyance")[2] if places else ""
    result = host.run(["cat", f"/run/abeyance{inside}/stranger.txt"], user="ada")
    checks.check("ada reaches what was displaced", "what came later", result.stdout.strip() or result.stderr.strip())
    lines = mounts(host, HOME)
    checks.check("home is mounted once, as before", [("/users/@ada", HOME)], [(fields[3], fields[4]) for fields in lines])
    checks.check("the home's options stay", True, bool(lines) and {"nosuid", "nodev"} <= set(lines[0][5].split(",")))
    ours = [fields[3] for line in host.path("proc/1/mountinfo").read_text().splitlines()
            if (fields := line.split(" "))[4].startswith("/run/abeyance")]
    checks.check("only .abeyance stays mounted", ["/users/.abeyance"], ours)

    result = abeyctl(host, "suspend", session.id, "--json")
    checks.check("suspended once more", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    checkpoint = json_of(result).get("checkpoint", "")
    wait_until(lambda: counter_in(host, []) is None, "the end of the session", 60)
    count = session.log().counts[-1]
    host.path(f"{HOME}/later.txt").write_text("of the live home\n")
    result = abeyctl(host, "resume", checkpoint, "--on-divergence", "private")
    checks.check("private: resumed", "status 0", "status 0" if result.returncode == 0 else complaint(result))
    private, process = wait_until(lambda: counter_in(host, []), "the resumed counter", 60)
    own = seen_by(process)
    wait_until(lambda: Log((own / LOG).read_text(errors="replace")).counts[-1] > count + 3, "the counter's going on", 60)
    checks.check("private: sees the home as it was", (False, "old\n"), ((own / "later.txt").exists(), (own / "box/inner.txt").read_text()))
    checks.check("private: everybody else has the live home", (True, count), (host.path(f"{HOME}/later.txt").exists(), session.log().counts[-1]))
    host.run(["loginctl", "terminate-session", private], check=True)
    wait_until(lambda: counter_in(host, []) is None, "the end of the session", 60)

    host.reboot()
    checks.check("the next boot mounts what was brought back", (False, True, [("/users/@ada", HOME)]), (
        host.path(f"{HOME}/stranger.txt").exists(), host.path(f"{HOME}/later.txt").exists(),
        [(fields[3], fields[4]) for fields in mounts(host, HOME)]))

    host.path(f"{HOME}/{SWAP}").unlink(missing_ok=True)  # of the vim that was ended
    session = AdasSession(host)
    session.start_programs()
    result = abeyctl(host, "suspend", session.id, "--keep-running", "--json")
    checkpoint = json_of(result).get("checkpoint", "")
    device = mounts(host, HOME)[0][-2]
    script = (f"mkdir -p /run/top && mount -t btrfs -o subvolid=5 {device} /run/top && btrfs subvolume list /run/top | grep -c snapshots/{checkpoint} && "
              f"btrfs property set -ts /run/top/users/.abeyance/snapshots/{checkpoint} ro false && "
              f"btrfs subvolume delete /run/top/users/.abeyance/snapshots/{checkpoint}/box /run/top/users/.abeyance/snapshots/{checkpoint}; umount /run/top")
    result = host.run(["sh", "-c", script])
    checks.check("btrfs tools see and delete the snapshot", "2 and deleted", result.stdout.strip().replace("\n", "; ") + result.stderr.strip(),
                 result.stdout.startswith("2\n") and result.stdout.count("Delete subvolume") == 2)
    host.run(["loginctl", "terminate-session", session.id], check=True)
    wait_until(lambda: counter_in(host, []) is None, "the end of the session", 60)
    result = abeyctl(host, "resume", checkpoint)
    checks.check("what is missing is told", f"{checkpoint} is gone", complaint(result), result.returncode != 0 and f"{checkpoint} is gone" in result.stderr)
    result = abeyctl(host, "remove", checkpoint)
    checks.check("a checkpoint without it can be removed", "status 0", "status 0" if result.returncode == 0 else complaint(result))


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run, home="btrfs-mounted"))
