#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A low battery on a test host, told by the real UPower, to which umockdev shows a battery; the real worker, two users."""

import json
import subprocess
import sys

from adas_session import abeyctl, wait_until
from service_test import HERE, main_of
from terminal import Terminal

PLAN = ["UPower is told of the battery", "a full battery makes no checkpoint", "a low one makes one of each session",
        "a still lower one makes no more", "the sessions run on"]
UPOWER = ["org.freedesktop.UPower", "/org/freedesktop/UPower/devices/DisplayDevice"]


def display(host, name):
    # An ordinary question would start a UPower that sees no battery
    shown = host.run(["busctl", "--auto-start=no", "--json=short", "call", *UPOWER, "org.freedesktop.DBus.Properties", "Get", "ss",
                      "org.freedesktop.UPower.Device", name])
    return json.loads(shown.stdout)["data"][0]["data"] if shown.returncode == 0 else None


def checkpoints(host):
    return sorted((one["user"], one["state"]) for one in json.loads(abeyctl(host, "list", "--json").stdout))


def run(host, checks):
    host.path("usr/local/lib/laptop.py").write_bytes((HERE / "laptop.py").read_bytes())
    command = ["umockdev-wrapper", "/usr/bin/python3", "/usr/local/lib/laptop.py", "/usr/libexec/upowerd"]
    with Terminal.login(host, "ada") as ada, Terminal.login(host, "bob") as bob:
        laptop = subprocess.Popen(host.command(command), stdin=subprocess.PIPE, stdout=sys.stderr, text=True, bufsize=1, preexec_fn=host.enter)

        def charge(percent):
            laptop.stdin.write(f"{percent}\n")
            return wait_until(lambda: display(host, "Percentage") == percent, f"{percent} %", 60) and percent

        try:
            # What is told before it listens is lost
            wait_until(lambda: display(host, "Percentage") == 100, "UPower's start", 60)
            checks.attempt("UPower is told of the battery", 64, lambda: charge(64))
            checks.check("a full battery makes no checkpoint", [], checkpoints(host))
            charge(8)
            made = [("ada", "waiting"), ("bob", "waiting")]
            checks.attempt("a low one makes one of each session", made,
                           lambda: wait_until(lambda: len(checkpoints(host)) == 2, "both", 60) and checkpoints(host))
            level = display(host, "WarningLevel")
            charge(7)
            checks.check("a still lower one makes no more", (level, made), (display(host, "WarningLevel"), checkpoints(host)))
        finally:
            laptop.stdin.close()
            laptop.wait(20)
        for terminal in (ada, bob):
            terminal.type("clear; echo here-$((40 + 2))\n")
        checks.attempt("the sessions run on", ["here-42"] * 2, lambda: [one.wait_for(r"^here-42$").group() for one in (ada, bob)])


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
