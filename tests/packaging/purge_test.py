#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the Debian package's scripts tell of states of homes that outlast it. purge_test.py SOURCE; prints TAP."""

import json
import pathlib
import subprocess
import sys
import tempfile

from tap import check, results

source = pathlib.Path(sys.argv[1])


def write(path, **members):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(members))


def said(root, script, action):
    """Its lines, and how it ended; with its paths below another root."""
    text = (source / "packaging/debian" / f"abeyance.{script}").read_text()
    for path in ("/var/lib/abeyance", "/run/abeyance", "/run/systemd"):
        text = text.replace(path, f"{root}{path}")
    done = subprocess.run(["sh", "-s", action], input=text, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines()


with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    (root / "run/systemd/system").mkdir(parents=True)
    store = root / "var/lib/abeyance"
    check("nothing to tell", ((0, []), (0, [])), (said(root, "prerm", "remove"), said(root, "postrm", "purge")))
    homes = root / "home"
    (homes / ".abeyance").mkdir(parents=True)
    places = {"one": f"{homes}/.abeyance/snapshots/one", "away": f"{homes}/.abeyance/displaced/away"}
    write(store / "one/about.json", id="one", home=f"{homes}/ada")
    write(store / "one/home.json", provider="btrfs", home=f"{homes}/ada", place=places["one"])
    write(store / "displaced/1.one", home=f"{homes}/ada", place=places["away"])
    (store / "one/image").mkdir()
    (store / "one/image/manifest").touch()
    status, lines = said(root, "prerm", "remove")
    check("a removal names each place", (0, sorted(places.values())), (status, sorted(line.strip() for line in lines if line.startswith("    "))))
    check("and how to be rid of it", (True, True), (any("abeyctl remove" in line for line in lines), any("can be resumed" in line for line in lines)))
    check("an upgrade says nothing", (0, []), said(root, "prerm", "upgrade"))
    check("a removal's end removes nothing", (0, [], True), (*said(root, "postrm", "remove"), store.exists()))
    status, lines = said(root, "postrm", "purge")
    check("a purge names each place, and where files are kept", (0, sorted([*places.values(), f"{homes}/.abeyance"])),
          (status, sorted(line.strip() for line in lines if line.startswith("    "))))
    check("and the commands", (True, True), tuple(any(word in line for line in lines) for word in ("btrfs subvolume delete", "rm -r")))
    check("the store is gone, what lies beside homes is not", (False, True), (store.exists(), (homes / ".abeyance").exists()))
print(f"1..{len(results)}")
