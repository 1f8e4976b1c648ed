#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connections of a session to unix sockets outside: what rules make of them at a suspend and a resume. The journal, the
ssh-agent, the gpg-agent and both buses are real."""

import argparse
import pathlib
import shutil
import subprocess
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from terminal import Terminal, TerminalError
from worker_test import said

HERE = pathlib.Path(__file__).resolve().parent
CLIENT = "/usr/local/lib/abeyance-test/peers_client.py"
AGENT = "/tmp/ssh-agent-of-ada/agent.1"
RULES = "etc/abeyance/policy.d/peers.toml"
GPG_AGENT, OWN_BUS = "/run/user/5001/gnupg/S.gpg-agent", "/run/user/5001/bus"
ALL_OPEN = "agent 0, bus open, own bus open, gpg-agent open"

PLAN = ["check names each with the rule that applies", "fail: the suspend is refused by rule", "fail: the session runs on",
        "the session is suspended", "it is resumed", "the agent answers over a new connection", "the connections to the buses have ended", "so has that to the gpg-agent, which greets anew",
        "the lines in the journal go on under their label", "none of them is lost or repeated"]


def rules(host, bus):
    host.path(RULES).parent.mkdir(parents=True, exist_ok=True)
    host.path(RULES).write_text(f"[[peer]]\nbus = 'system'\naction = '{bus}'\n"
                                "[[peer]]\nsocket = '/run/user/*/gnupg/S.gpg-agent'\naction = 'hangup'\n")


def lines(host):
    """What the journal has of the client."""
    shown = host.run(["journalctl", "-b", "-t", "teller", "-o", "cat", "--no-pager"], check=True).stdout
    return [int(line.split()[1]) for line in shown.splitlines() if line.startswith("line ")]


def client(host):
    return host.run(["pgrep", "-u", "ada", "-f", f"python3 {CLIENT}"]).stdout.split()


def answer(host, number):
    report = host.path(f"home/ada/answer.{number}")
    if number > 1:
        host.run(["kill", "-USR1", client(host)[0]], check=True)
    return wait_until(lambda: report.exists() and report.read_text(), f"answer {number}").strip()


def prepare(host):
    host.path(CLIENT).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "peers_client.py", host.path(CLIENT))
    host.run(["install", "-d", "-o", "ada", "-m", "700", str(pathlib.Path(AGENT).parent)], check=True)
    host.run(["systemd-run", "--unit=agent", "--uid=ada", "ssh-agent", "-D", "-a", AGENT], check=True)
    wait_until(lambda: host.path(AGENT.lstrip("/")).exists(), "the agent")
    rules(host, "fail")


def run(host, checks):
    prepare(host)
    with Terminal.login(host, "ada") as terminal:
        session = next(iter(sessions_of(host)))
        terminal.type(f"systemd-cat -t teller /usr/bin/python3 {CLIENT} {AGENT} $HOME &\n")
        if answer(host, 1) != ALL_OPEN:
            raise StepFailed(f"the client: {answer(host, 1)}")
        wait_until(lambda: lines(host), "its lines in the journal")
        found = json_of(abeyctl(host, "check", session, "--json"))["findings"]
        reasons = "\n".join(finding["reason"] for finding in found)
        found_by = {"AGENT": (AGENT, "it will be a new connection to there (/usr/lib/abeyance/policy.toml:"), "bus": ("/run/dbus/system_bus_socket", f"the policy says `fail` (/{RULES}:1)"),
                    "gpg-agent": (GPG_AGENT, f"it will be closed (/{RULES}:4)"), "own bus": (OWN_BUS, "it will be closed (built in)"),
                    "journal": ("/run/systemd/journal/stdout", "it will be a new connection to there (/usr/lib/abeyance/policy.toml:")}
        checks.check("check names each with the rule that applies", [], [
            name for name, (path, rule) in found_by.items() if not any(f"to {path} " in line and rule in line for line in reasons.splitlines())])
        result = abeyctl(host, "suspend", session)
        checks.check("fail: the suspend is refused by rule", "status 1, the rule", said(result),
                     result.returncode == 1 and "system_bus_socket" in result.stderr)
        checks.check("fail: the session runs on", ALL_OPEN, answer(host, 2))
        rules(host, "hangup")
        result = abeyctl(host, "suspend", session, "--json")
        if not checks.check("the session is suspended", "status 0", said(result), result.returncode == 0):
            raise StepFailed("nothing to resume")
        checkpoint = json_of(result)["checkpoint"]
    before = lines(host)
    result = abeyctl(host, "resume", checkpoint)
    checks.check("it is resumed", "status 0", said(result), result.returncode == 0)
    told = answer(host, 3).split(", ")
    checks.check("the agent answers over a new connection", "agent 0", told[0])
    checks.check("the connections to the buses have ended", ["bus closed", "own bus closed"], told[1:3])
    checks.check("so has that to the gpg-agent, which greets anew", ["gpg-agent closed", "greets anew"], told[3:])
    checks.attempt("the lines in the journal go on under their label", True, lambda: wait_until(lambda: len(lines(host)) > len(before), "a line", 20))
    after = lines(host)
    checks.check("none of them is lost or repeated", list(range(1, len(after) + 1)), after)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with Host(build=options.build) as host:
            try:
                run(host, checks)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if len(checks.results) < len(PLAN) or not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "50"]).stdout)
    except HostError as error:
        checks.stop(error, "the test host")
    passed, planned = checks.finish()
    checks.say(f"peers: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
