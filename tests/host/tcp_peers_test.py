#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""TCP connections of a session to somebody outside, through the real service: what rules make of them, and that nothing of a kept one
stays behind, neither on disk nor in the kernel."""

import pathlib
import shutil
import sys

from adas_session import abeyctl, json_of, sessions_of, wait_until
from checks import StepFailed
from service_test import main_of
from terminal import Terminal
from worker_test import said

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = "/usr/local/lib/abeyance-test/tcp_peers_program.py"
PORTS = {"hangup": 7001, "reconnect": 7002, "keep": 7003, "fail": 7004}

PLAN = ["fail: the suspend is refused by rule", "fail: the session runs on", "the session is suspended", "the kept connection's packets are held back", "it is resumed",
        "each connection is as its rule says", "nothing is held back any more", "the store is empty", "suspended once more", "held back once more",
        "removed without a resume", "the removal lifts it", "the store is empty again"]


def rules(host, fail):
    folder = host.path("etc/abeyance/policy.d")
    folder.mkdir(parents=True, exist_ok=True)
    actions = PORTS | ({} if fail else {"hangup ": PORTS["fail"]})
    (folder / "tcp.toml").write_text("".join(f"[[peer]]\nport = {port}\naction = '{action.strip()}'\n" for action, port in reversed(actions.items())))


def answer(host, number):
    report = host.path(f"home/ada/tcp.{number}")
    if number > 1:
        host.run(["pkill", "-USR1", "-u", "ada", "-f", f"python3 {PROGRAM} connect"], check=True)
    return wait_until(lambda: report.exists() and report.read_text(), f"answer {number}")


def locks(host):
    return host.run(["/usr/bin/python3", PROGRAM, "locks"], check=True).stdout.split()


def left(host):
    """What the store has of checkpoints; a removal is a job of its own, and the daemon does it after a resume."""
    def entries():
        return sorted(entry.name for entry in host.path("var/lib/abeyance").iterdir() if entry.name not in ("pins", "displaced"))
    try:
        wait_until(lambda: not entries(), "an empty store", 20)
    except Exception:  # what there is, is the answer
        pass
    return entries()


def suspended(host, session):
    result = abeyctl(host, "suspend", session, "--json")
    if result.returncode != 0:
        raise StepFailed(f"suspend: {said(result)}")
    return json_of(result)["checkpoint"]


def run(host, checks):
    host.path(PROGRAM).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "tcp_peers_program.py", host.path(PROGRAM))
    ports = [str(port) for port in PORTS.values()]
    host.run(["systemd-run", "--unit=outside", "/usr/bin/python3", PROGRAM, "serve", *ports], check=True)
    wait_until(lambda: all(f":{port} " in host.run(["ss", "-ltn"]).stdout for port in ports), "the server")
    rules(host, fail=True)
    with Terminal.login(host, "ada") as terminal:
        session = next(iter(sessions_of(host)))
        terminal.type(f"/usr/bin/python3 {PROGRAM} connect $HOME {' '.join(ports)} &\n")
        if answer(host, 1) != "open, open, open, open":
            raise StepFailed(f"the connections: {answer(host, 1)}")
        result = abeyctl(host, "suspend", session)
        checks.check("fail: the suspend is refused by rule", "status 1, the rule", said(result), result.returncode == 1 and "tcp.toml:1" in result.stderr)
        checks.check("fail: the session runs on", "open, open, open, open", answer(host, 2))
        rules(host, fail=False)
        checkpoint = suspended(host, session)
        checks.check("the session is suspended", True, bool(checkpoint))
    checks.check("the kept connection's packets are held back", 1, len(locks(host)))
    before = set(sessions_of(host))
    result = abeyctl(host, "resume", checkpoint)
    checks.check("it is resumed", "status 0", said(result), result.returncode == 0)
    checks.check("each connection is as its rule says", "closed, open, open, closed", answer(host, 3))
    checks.check("nothing is held back any more", [], locks(host))
    abeyctl(host, "remove", checkpoint)  # unless that has happened already
    checks.check("the store is empty", [], left(host))
    again = next(iter(set(sessions_of(host)) - before))
    checkpoint = suspended(host, again)
    checks.check("suspended once more", True, bool(checkpoint))
    checks.check("held back once more", 1, len(locks(host)))
    result = abeyctl(host, "remove", checkpoint)
    checks.check("removed without a resume", "status 0", said(result), result.returncode == 0)
    checks.check("the removal lifts it", [], locks(host))
    checks.check("the store is empty again", [], left(host))


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
