#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demo's session, suspended under one kernel, comes back under another.

    kernel_session.py leave|return --build DIR STATE

Both runs are in the virtual machine; STATE is a directory on the disk that they share. The test host is on it, and has the machine's kernel.
"""

import argparse
import os
import pathlib
import pickle
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "host"))

from adas_session import AdasSession  # noqa: E402
from checks import Checks  # noqa: E402
from demo import PLAN, Demo  # noqa: E402
from host import Host  # noqa: E402

LEFT = PLAN[:PLAN.index("clocks start over")]
BACK = PLAN[PLAN.index("clocks start over") + 1:]  # the machine's clocks do that, not the host's alone
KNOWN = ("told", "descriptors", "pids", "tree", "log_before")  # what the demo knows of the session


def leave(demo, known):
    if demo.go(demo.set_up, demo.suspend, demo.meddle):
        known.write_bytes(pickle.dumps(({name: getattr(demo, name) for name in KNOWN}, demo.session.id, demo.session.screen, os.uname().release)))


def come_back(demo, known):
    facts, session, screen, kernel = pickle.loads(known.read_bytes())
    if kernel == os.uname().release:
        raise SystemExit(f"the session was left under this kernel, {kernel}")
    demo.__dict__.update(facts)
    demo.session = object.__new__(AdasSession)  # it is there already: suspended
    demo.session.host, demo.session.id, demo.session.screen = demo.host, session, screen
    demo.checks.step(f"5. From Linux {kernel} to {os.uname().release}")
    if demo.go(demo.occupy, demo.come_back):
        demo.compare()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("leave", "return"))
    parser.add_argument("--build", required=True)
    parser.add_argument("state", type=pathlib.Path)
    options = parser.parse_args()
    checks = Checks(LEFT if options.what == "leave" else BACK)
    with Host(directory=options.state / "host", build=options.build) as host:
        (leave if options.what == "leave" else come_back)(Demo(host, checks), options.state / "session")
    passed, planned = checks.finish()
    checks.say(f"session {options.what}: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
