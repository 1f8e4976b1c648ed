#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session with two terminals, one of which is not its login's: both come back, and are joined by their numbers."""

import contextlib
import itertools
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from service_test import main_of
from terminal import Terminal

PLAN = ["both are listed", "each is joined, one by its number", "what is typed goes to the program on that terminal",
        "each has the size of whom it is shown to", "a table tells them apart", "a number that is none is refused", "root may attach"]


def listed(host):
    found = json_of(abeyctl(host, "attach", "--json", user="ada")).get("list", [])
    return {one["terminal"]: one["attached"] for one in (found[0]["terminals"] if found else [])}


def attach(people, host, *arguments, user="ada", **size):
    """A terminal of the caller's on which `abeyctl attach` runs."""
    return people.enter_context(Terminal(host, ["/usr/sbin/runuser", "--user", user, "--", "abeyctl", "attach", *map(str, arguments)], **size))


def run(host, checks):
    policy = host.path("etc/abeyance/policy.toml")
    policy.parent.mkdir(exist_ok=True)
    policy.write_text('[resume]\non-login = "never"\n')
    with contextlib.ExitStack() as people:
        # Somebody else's terminal that a program of the session has opened; who made it is not part of the session
        other = people.enter_context(Terminal(host, ["sh", "-c", "chown ada $(tty); tty; exec sleep 10000"]))
        name = other.wait_for(r"^/dev/pts/\d+$", 20).group()
        own = people.enter_context(Terminal.login(host, "ada"))
        own.type(f"(exec <{name} >{name} 2>&1; echo sec''ond; while read -r line; do set -- $(stty size); echo \"got $line ($1 rows)\"; done) &\n")
        other.wait_for("^second$", 20)
        own.type("PS1='own$ '; kept='as before'; clear\n")
        own.wait_for(r"^own\$ ?$", 20)
        result = json_of(abeyctl(host, "suspend", next(iter(sessions_of(host))), "--json"))
    session = json_of(abeyctl(host, "resume", result["checkpoint"], "--json"))["session"]
    numbers = listed(host)
    checks.check("both are listed", [False, False], list(numbers.values()))
    with contextlib.ExitStack() as people:
        # Without a number: any that is free
        any_one = attach(people, host)
        wait_until(lambda: any(listed(host).values()), "the first")
        number = next(one for one, attached in listed(host).items() if not attached)
        by_number = attach(people, host, session, "--terminal", number, rows=31)
        checks.attempt("each is joined, one by its number", dict.fromkeys(numbers, True), lambda: wait_until(
            lambda: all((now := listed(host)).values()) and now, "the second"))
        for terminal in (any_one, by_number):
            terminal.type("two\n")  # no command of the shell's
        shown = {terminal: terminal.wait_for(r"got two \(\d+ rows\)|^own\$ two\n.*not found", 30).group() for terminal in (any_one, by_number)}
        shell, program = (any_one, by_number) if "got" in shown[by_number] else (by_number, any_one)
        checks.check("what is typed goes to the program on that terminal", True, "got two" in shown[program] and "got two" not in shown[shell])
        asked = itertools.count()

        def sizes():
            now = next(asked)
            shell.type(f"clear; echo $kept {now}; stty size\n")
            program.type(f"size{now}\n")
            return {int(shell.wait_for(rf"^as before {now}\n(\d+) 80$", 20).group(1)),
                    int(program.wait_for(rf"got size{now} \((\d+) rows\)", 20).group(1))}

        # A terminal that was just joined is one row short for a moment, so that its programs draw again
        checks.attempt("each has the size of whom it is shown to", {24, 31},
                       lambda: wait_until(lambda: (now := sizes()) == {24, 31} and now, "the sizes"))
        rows = [line.split() for line in host.run(["abeyctl", "attach", "--list"], user="ada").stdout.splitlines() if line.startswith(session)]
        checks.check("a table tells them apart", {("80x24", "yes"), ("80x31", "yes"), "bash"},
                     {(row[3], row[4]) for row in rows} | {row[5] for row in rows if row[5] != "-"})
        wrong = attach(people, host, session, "--terminal", 999)
        checks.attempt("a number that is none is refused", 1, lambda: wrong.wait_for(r"no terminal pts/999", 20) and wrong.wait_end(20))
    with contextlib.ExitStack() as people:
        root = attach(people, host, session, user="root")
        checks.attempt("root may attach", "attached", lambda: wait_until(lambda: any(listed(host).values()) and "attached", "root's"))
    host.run(["loginctl", "terminate-session", session])


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
