#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every example in the manual pages (.nf to .fi in EXAMPLES) is run on a test host as it stands there: commands by root, one after the other, policies by
the checker. What a page calls session 3, process 4711 and checkpoint ID is one that there is."""

import pathlib
import re
import sys

from adas_session import abeyctl, complaint, json_of, sessions_of
from service_test import main_of
from terminal import Terminal

PAGES = pathlib.Path(__file__).resolve().parent.parent.parent / "packaging/man"
NAMES = ("abeyctl.1", "abeyd.8", "abey-engine.1", "abeyance.toml.5", "org.abeyance1.5")


def examples_of(page):
    """The pages' own language has no more than these in examples."""
    text = (PAGES / page).read_text().partition("\n.SH EXAMPLE")[2].replace("\\-", "-").replace("\\e", "\\")
    return [example.strip("\n") for example in re.findall(r"^\.nf\n(.*?)^\.fi$", text, re.MULTILINE | re.DOTALL)]


EXAMPLES = [(page, number, example) for page in NAMES for number, example in enumerate(examples_of(page), 1)]
PLAN = [f"{page} has examples" for page in NAMES] + [f"{page}: {line}" for page, number, example in EXAMPLES
                                                     for line in (example.splitlines() if not example.startswith("[") else [f"policy {number}"])]


def run(host, checks):
    for page in NAMES:
        count = sum(1 for one, _, _ in EXAMPLES if one == page)
        checks.check(f"{page} has examples", "some", count, count > 0)
    terminals = [Terminal.login(host, "ada") for _ in range(6)]
    taken = set()

    def filled(line):
        """With ids of now: a session that runs, a process in one, the checkpoint that waits."""
        if "3" in re.findall(r"\b3\b", line):
            session = next(one for one in sessions_of(host) if one not in taken and sessions_of(host)[one].get("Service") == "login")
            if "suspend" in line or "Suspend" in line:
                taken.add(session)
            line = re.sub(r"\b3\b", session, line)
        if "4711" in line:
            started = host.run(["sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"], check=True).stdout.strip()
            line = line.replace("4711", started)
        if "CHECKPOINT" in line:
            waiting = [one["id"] for one in json_of(abeyctl(host, "list", "--json"))["list"] if one["state"] == "waiting"]
            line = line.replace("CHECKPOINT", waiting[0] if waiting else "none")
        return line

    def good(name, result):
        checks.check(name, "status 0", "status 0" if result.returncode == 0 else complaint(result))

    for page, number, example in EXAMPLES:
        if example.startswith("["):
            host.path("tmp/example.toml").write_text(example + "\n")
            good(f"{page}: policy {number}", abeyctl(host, "policy", "check", "--file", "/tmp/example.toml"))
            continue
        for line in example.splitlines():
            good(f"{page}: {line}", host.run(["sh", "-c", filled(line)]))
    for terminal in terminals:
        terminal.close()


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
