#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What abeyctl shows on a terminal and nowhere else: states in colour, and how far a job is. The worker is a stand-in."""

import re
import sys

from service_test import CHECKPOINT, Service, main_of, session_of
from terminal import Terminal

GREEN, YELLOW, RED, FAINT, OFF = "\x1b[32m", "\x1b[33m", "\x1b[1;31m", "\x1b[2m", "\x1b[0m"
# Command -> what of it is coloured. SESSION is ada's, which can be suspended; REFUSED is one that cannot.
WANTED = {
    "list": [f"  {GREEN}waiting{OFF}", f"  {FAINT}resumed{OFF}"],
    f"show {CHECKPOINT}": [f"State: {GREEN}waiting{OFF}"],
    "check SESSION": [f"{YELLOW}note{OFF}: process 7", f"{GREEN}can be suspended{OFF}."],
    "check REFUSED": [f"{RED}refused{OFF}: process 7"],
    "doctor": [f"{GREEN}good    {OFF} logind:", f"{RED}broken  {OFF} store: /var/lib/abeyance is not root's alone"],
}
PLAN = [f"{command}: {what}" for command in WANTED for what in ("coloured on a terminal", "not with NO_COLOR", "not where TERM is dumb", "not in a pipe")] + [
    "columns stand below each other all the same", "a job shows its bar on a terminal", "the bar is gone in the end", "no bar in a pipe"]


def shown(host, *command):
    """Every byte that the command shows on a terminal of its own."""
    terminal = Terminal(host, list(command), columns=160)
    terminal.wait_end(60)
    terminal.close()
    return terminal.raw.decode(errors="replace").replace("\r\n", "\n"), terminal


def missing(text, parts):
    return [part for part in parts if part not in text]


def colours(host, checks, command, wanted, arguments):
    text, terminal = shown(host, "abeyctl", *arguments)
    checks.check(f"{command}: coloured on a terminal", [], missing(text, wanted))
    plain = [re.sub("\x1b\\[[0-9;]*m", "", part) for part in wanted]
    for what, before in (("not with NO_COLOR", ["env", "NO_COLOR=1"]), ("not where TERM is dumb", ["env", "TERM=dumb"])):
        text, _ = shown(host, *before, "abeyctl", *arguments)
        checks.check(f"{command}: {what}", ([], False), (missing(text, plain), "\x1b" in text))
    text = host.run(["abeyctl", *arguments], env={"TERM": "linux"}).stdout
    checks.check(f"{command}: not in a pipe", ([], False), (missing(text, plain), "\x1b" in text))
    return terminal


def bar(service, ada):
    checks, host = service.checks, service.host
    service.mode("slow")
    terminal = Terminal(host, ["abeyctl", "suspend", ada])
    checks.attempt("a job shows its bar on a terminal", "[####....................]  20% freeze", lambda: terminal.wait_for(
        r"^suspend (\[#{4}\.{20}\]  20% freeze)$", 30).group(1))
    service.mode("done")
    status = terminal.wait_end(30)
    checks.check("the bar is gone in the end", (0, False), (status, "freeze" in terminal.text()))
    terminal.close()
    result = service.ctl("suspend", ada)
    checks.check("no bar in a pipe", (0, False), (result.returncode, "%" in result.stdout + result.stderr))


def run(host, checks):
    service = Service(host, checks)
    service.prepare()
    terminal, other = Terminal.login(host, "ada"), Terminal.login(host, "bob")
    ada, bob = session_of(host, "ada"), session_of(host, "bob")
    host.path("run/fatal").write_text(bob)
    service.make_checkpoint()
    service.make_checkpoint("20260102-120000-s2", created=2)
    host.path("var/lib/abeyance/20260102-120000-s2/resumed").write_text("")
    host.path("var/lib/abeyance").chmod(0o755)  # which doctor calls broken
    for command, wanted in WANTED.items():
        last = colours(host, checks, command, wanted, command.replace("SESSION", ada).replace("REFUSED", bob).split())
        if command == "list":
            places = {line.index(word) for line in last.text().splitlines() for word in ("STATE", "waiting", "resumed") if word in line}
            checks.check("columns stand below each other all the same", "one column", places, len(places) == 1)
    bar(service, ada)
    terminal.close()
    other.close()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
