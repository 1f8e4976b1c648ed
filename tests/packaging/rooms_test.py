#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A room uses what stands above it, and nothing below: every #include of every room, as TAP."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As in the top meson.build. abey-engine works without the service, so it stands above all that needs one.
ORDER = ["service/engine", "policy", "service/files", "service/snapshot", "service/store", "service/suspend",
         "service/resume", "service/ctl/engine", "service/transfer", "service/job", "service/hooks", "dbus",
         "service/session", "service/session/keeper", "service/ctl", "service/worker", "service/daemon"]
ENDS = {"service/ctl/engine", "service/ctl", "service/worker", "service/daemon"}  # programs: nobody uses their parts


def room_of(path):
    """The room of a file or of what an #include names: the longest folder that is one."""
    folders = [str(folder) for folder in pathlib.PurePath(path).parents]
    found = [room for room in ORDER if room in folders or room.removeprefix("service/") in folders]
    return max(found, key=len, default=None)


def wrong_includes(room):
    for source in sorted((ROOT / room).rglob("*")):
        name = source.relative_to(ROOT)
        if source.suffix not in (".cpp", ".h") or room_of(name) != room:
            continue
        for number, line in enumerate(source.read_text().splitlines(), 1):
            include = re.match(r'#include "([^"]+)"', line)
            used = room_of(include.group(1)) if include else None
            if used is None or used == room:
                continue
            if ORDER.index(used) > ORDER.index(room) or used in ENDS:
                yield f"{name}:{number}: {room} uses {used}, which stands below it"


def main():
    print(f"1..{len(ORDER)}")
    failed = False
    for number, room in enumerate(ORDER, 1):
        wrong = list(wrong_includes(room))
        sources = [path for path in (ROOT / room).rglob("*.cpp")]
        ok = not wrong and bool(sources)
        failed |= not ok
        print(f"{'ok' if ok else 'not ok'} {number} - {room} uses only what stands above it")
        for line in wrong or ([] if sources else [f"{room} has no sources"]):
            print(f"# {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
