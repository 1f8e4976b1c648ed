#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session on a virtual console of this machine: agetty, login(1), a real keyboard's way in, what the screen shows."""

import sys

from adas_session import abeyctl, json_of, sessions_of
from console import Console, no_console
from service_test import main_of
from terminal import Terminal

PLAN = ["check tells that another terminal takes its place", "the policy may forbid that", "it is suspended", "the console is free",
        "a login brings it back", "attach shows the editor", "what was not saved is there", "programs find a terminal of the usual kind",
        "a second suspend, of that one"]
UNSAVED = "This line is not saved."


def findings(host, session):
    document = json_of(abeyctl(host, "check", session, "--json"))
    return [(one["object"], one["reason"], one["fatal"]) for one in document["findings"] if "terminal" in one["object"]]


def set_policy(host, text):
    policy = host.path("etc/abeyance/policy.toml")
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(text)


def run(host, checks):
    with Console.login(host, "ada") as console:
        session = next(iter(sessions_of(host)))
        console.type("PS1='con''sole$ '; kept='as before'; clear\n")
        console.wait_for(r"^console\$ ?$", 20)
        console.type("vim notes\n")
        console.wait_for(r"0,0-1 +All *$", 20)
        console.type("i" + UNSAVED)
        console.wait_for(UNSAVED, 20)
        replaced = f"the virtual console {console.name} is replaced by a pseudo-terminal after the restore"
        checks.check("check tells that another terminal takes its place", [(f"terminal /dev/{console.name}", replaced, False)],
                     findings(host, session))
        set_policy(host, f'[[device]]\npath = "/dev/{console.name}"\naction = "fail"\n')
        refused = abeyctl(host, "suspend", session)
        checks.check("the policy may forbid that", (1, True), (refused.returncode, "is not to be replaced by a pseudo-terminal" in refused.stderr))
        set_policy(host, "")
        result = abeyctl(host, "suspend", session)
        checks.check("it is suspended", "status 0", result.stderr or "status 0", result.returncode == 0)
        checks.attempt("the console is free", "its program has ended", lambda: console.wait_end(20) is not None and "its program has ended")
    with Terminal.login(host, "ada") as again:
        checks.attempt("a login brings it back", "told", lambda: again.wait_for("has been resumed as session", 30) and "told")
        again.type("\nclear; abeyctl attach\n")
        checks.attempt("attach shows the editor", "-- INSERT --", lambda: again.wait_for("-- INSERT --").group(0))
        checks.check("what was not saved is there", UNSAVED, again.text().splitlines()[0])
        again.type("\x1b:wq\n")
        again.wait_for(r"console\$ ?$", 20)
        again.type("clear; tty; echo $kept $TERM; wc -l <notes\n")
        shown = again.wait_for(r"^/dev/pts/\d+\n(.*\n.*)\nconsole", 20)
        checks.check("programs find a terminal of the usual kind", "as before linux\n1", shown.group(1))
        resumed = next(one for one, has in sessions_of(host).items() if has.get("Service") != "login")
        result = abeyctl(host, "suspend", resumed)
        checks.check("a second suspend, of that one", "status 0", result.stderr or "status 0", result.returncode == 0)


if __name__ == "__main__":
    reason = no_console()
    if reason:
        print(f"1..0 # SKIP {reason}")
        sys.exit(0)
    sys.exit(main_of(__doc__, PLAN, run))
