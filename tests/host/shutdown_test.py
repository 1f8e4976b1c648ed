#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two users are logged in when the machine is rebooted, and nobody has asked for anything: their sessions are suspended before they would be
ended (PrepareForShutdown of logind's), and come back at the next login. Service and engine are real, and so is the reboot."""

import re
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from service_test import main_of
from terminal import Terminal
from triggers_test import Watched

PLAN = ["without a drop-in there are five seconds", "with the drop-in copied as it says there is a minute", "the reboot suspends a session of each", "and not those for which it is said not to", "both wait after it", "ada's comes back at her login", "bob is asked",
        "and brings his back", "what they had is there", "the next reboot suspends what was resumed", "the daemon never died"]
POLICY = """[[user]]
names = "bob"
resume.on-login = "ask"
[[session]]
ttys = "{}"
triggers.on-shutdown = "nothing"
"""


def begin(host, user):
    terminal = Terminal.login(host, user)
    terminal.type(f"kept='by {user}'; PS1='$ '\n")
    terminal.type("clear; echo \"<$$>\"\n")
    return terminal, terminal.wait_for(r"^<(\d+)>$", 20).group(1)


def reboot(host):
    """As a person does it, by way of logind: Host.reboot() asks systemd, which asks nobody."""
    before = host.leader
    host.run(["systemctl", "reboot"], check=True)
    wait_until(lambda: (host.refresh(), host.leader not in (0, before))[1], "the reboot", 120, 0.2)


def waiting(host):
    listed = wait_until(lambda: (result := abeyctl(host, "list", "--json")).returncode == 0 and json_of(result), "the service", 60)["list"]
    return {one["user"]: one["id"] for one in listed if one["state"] == "waiting"}, len(listed)


def attached(host, user, terminal):
    """What a resumed shell has to say."""
    wait_until(lambda: [one for one, has in sessions_of(host, user).items() if has.get("Service") == "abeyance"], "the resumed session", 60)
    terminal.type("abeyctl attach\n")
    terminal.wait_for(r"^\$ ?$", 60)
    terminal.type("clear; echo \"<$$ $kept>\"\n")
    said = terminal.wait_for(r"^<(\d.*)>$", 30).group(1)
    terminal.type("\x1c\x04")
    terminal.wait_for("detached", 30)
    return said


def budget(host, service):
    """Milliseconds that a sleep leaves to the service, by its own account. The sessions run on, and nothing is kept of it."""
    service.sleep()
    service.idle()
    service.clear()
    return [int(found) for found in re.findall(r"^sleep: \d+ sessions, (\d+) ms$", host.run(["journalctl", "-b", "-o", "cat", "-u", "abeyd"]).stdout, re.MULTILINE)][-1]


def time_to_act(host, checks, service):
    checks.attempt("without a drop-in there are five seconds", "at most 5000 ms", lambda: (lambda found: (found, 2500 < found <= 5000))(budget(host, service)))
    host.run(["install", "-D", "-m", "644", "/usr/share/doc/abeyance/logind.conf.d-abeyance.conf", "/etc/systemd/logind.conf.d/abeyance.conf"], check=True)
    host.run(["systemctl", "restart", "systemd-logind"], check=True)
    checks.attempt("with the drop-in copied as it says there is a minute", "at most 60000 ms", lambda: (lambda found: (found, 30000 < found <= 60000))(budget(host, service)))


def run(host, checks):
    service = Watched(host, checks)
    shells = {}
    for user in ("ada", "bob"):
        _, shells[user] = begin(host, user)
    time_to_act(host, checks, service)
    spared = Terminal.login(host, "bob")
    spared.type("clear; tty\n")
    service.policy(POLICY.format(spared.wait_for(r"^/dev/(\S+)$", 20).group(1)))
    reboot(host)
    found, count = waiting(host)
    checks.check("the reboot suspends a session of each", {"ada": "shutdown", "bob": "shutdown"}, {user: service.property(one, "Trigger") for user, one in found.items()})
    checks.check("and not those for which it is said not to", 2, count)
    checks.check("both wait after it", ["ada", "bob"], sorted(found))
    with Terminal.login(host, "ada") as hers, Terminal.login(host, "bob") as his:
        checks.attempt("ada's comes back at her login", f"{shells['ada']} by ada", lambda: attached(host, "ada", hers))
        checks.attempt("bob is asked", found["bob"], lambda: his.wait_for(re.escape(found["bob"]), 30).group())
        his.type(f"clear; abeyctl resume {found['bob']}; echo status $?\n")
        checks.attempt("and brings his back", "status 0", lambda: his.wait_for(r"^status \d+", 60).group())
        checks.attempt("what they had is there", f"{shells['bob']} by bob", lambda: attached(host, "bob", his))
        service.policy("")
    reboot(host)
    found, _ = waiting(host)
    checks.check("the next reboot suspends what was resumed", {"ada": "shutdown", "bob": "shutdown"}, {user: service.property(one, "Trigger") for user, one in found.items()})
    checks.check("the daemon never died", "0", host.run(["systemctl", "show", "--property=NRestarts", "--value", "abeyd"]).stdout.strip())


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
