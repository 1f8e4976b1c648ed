#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measure how long a session stands still while its home is saved: home.py --build DIR [--rounds N] [--markdown FILE] [KIND...]

On the test host (tests/host), for each kind of home, clean and with 1 GiB written just before the suspend: medians of the time
of `abeyctl suspend --keep-running`, how long the session stood still, and how much of that the home took. Needs root.
"""

import argparse
import json
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "host"))

from adas_session import HOME, AdasSession, abeyctl, complaint, json_of  # noqa: E402
from bench import BenchError, machine, replace_section  # noqa: E402
from host import Host, HostError  # noqa: E402

KINDS = ("btrfs", "btrfs-mounted", "ext4", "xfs")
MIB = 1 << 20
FIGURES = ("total_time", "frozen_time", "snapshot_time")


def write(host, size):
    """Data of its own each time, which nobody has asked to be written to the disk."""
    path = host.path(f"{HOME}/written")
    with open("/dev/urandom", "rb") as source, open(path, "wb") as file:
        chunk = source.read(MIB)
        for number in range(size // MIB):
            file.write(chunk[number % MIB:] + chunk[:number % MIB])


def measure(host, session, dirty):
    host.path(f"{HOME}/written").unlink(missing_ok=True)
    host.run(["sync"], check=True)
    write(host, dirty)
    result = abeyctl(host, "suspend", session.id, "--keep-running", "--json")
    if result.returncode != 0:
        raise BenchError(complaint(result))
    done = json_of(result)
    abeyctl(host, "remove", done["checkpoint"])
    return {name: done["figures"][name] / 1e3 for name in FIGURES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="MiB that are dirty")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="puts the table into this page as well")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"of: {', '.join(KINDS)}")
    options = parser.parse_args()
    lines = [f"Measured by `tests/bench/home.py`: {machine()}. Milliseconds, medians of {options.rounds} rounds.", "",
             "| home | written just before | suspend | stands still | of that for the home |", "| --- | --- | --- | --- | --- |"]
    print("\n".join(lines), flush=True)
    try:
        for kind in options.kinds or KINDS:
            with Host(build=options.build, home=kind) as host:
                session = AdasSession(host)
                session.start_programs()
                for dirty in (0, options.size * MIB):
                    rounds = [measure(host, session, dirty) for _ in range(options.rounds)]
                    middle = [statistics.median(one[name] for one in rounds) for name in FIGURES]
                    lines.append(f"| {kind} | {dirty // MIB} MiB | " + " | ".join(f"{value:.1f}" for value in middle) + " |")
                    print(lines[-1], flush=True)
        if options.markdown:
            replace_section(options.markdown, "home", "\n".join(lines) + "\n")
    except (BenchError, HostError, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"home: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
