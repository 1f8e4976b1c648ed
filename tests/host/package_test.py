#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A package on the test host: package_test.py KIND [--folder FOLDER] [--tap]

KIND is deb, rpm or arch. Built of what is committed, installed, upgraded while a session is suspended and again while it is resumed,
removed, and all of it removed, each by the system's own tool. The newer packages are the same with another version.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from checks import Checks, StepFailed
from host import Host, HostError
from packages import KINDS, MESSAGE, BuildFailed
from terminal import Terminal, TerminalError

PLAN = ["it is not there at first", "it installs", "its files are as packaged", "the service answers", "a session is suspended",
        "upgraded while it is suspended", "the session comes back", "upgraded while it is resumed", "the session runs on", "a removal says what stays",
        "a removal takes the programs", "the checkpoint is there after a new installation", "the last removal leaves nothing else"]


def install(kind, host, package):
    """The tool's complaint, or the version that is installed now."""
    inside = host.path(f"root/{package.name}")
    inside.write_bytes(package.read_bytes())
    done = kind.install(host, f"/root/{package.name}")
    if done.returncode != 0:
        return f"status {done.returncode}: {done.stderr.strip()[-300:]}"
    return kind.installed(host)


def there(kind, host):
    """What of ours is on the host."""
    return [path for path in kind.paths + ["var/lib/abeyance"] if host.path(path).exists()]


def ask(terminal, command):
    terminal.type(f"clear; echo \"<$({command})>\"\n")
    return terminal.wait_for(r"^<(.*)>$", 60).group(1)


def suspended(host, session):
    result = abeyctl(host, "suspend", session, "--json")
    if result.returncode != 0:
        return complaint(result), ""
    return "status 0", json_of(result).get("checkpoint", "")


def test(kind, host, checks, packages):
    kind.prepare(host)
    checks.check("it is not there at first", [], there(kind, host))
    if not checks.check("it installs", kind.version(packages[0]), install(kind, host, packages[0])):
        raise StepFailed("there is nothing to go on with")
    checks.check("its files are as packaged", "", kind.changed(host))
    checks.attempt("the service answers", [], lambda: wait_until(
        lambda: (result := abeyctl(host, "list", "--json")).returncode == 0 and json_of(result), "an answer", 60)["list"])
    terminal = Terminal.login(host, "ada")
    terminal.type("kept=by-the-shell; PS1='shell$ '\n")
    shell = ask(terminal, "echo $$")
    found, checkpoint = suspended(host, next(iter(sessions_of(host))))
    if not checks.check("a session is suspended", "status 0", found):
        raise StepFailed("nothing is suspended")
    terminal.close()
    checks.check("upgraded while it is suspended", kind.version(packages[1]), install(kind, host, packages[1]))
    result = abeyctl(host, "resume", checkpoint, "--json")
    session = json_of(result).get("session", "")
    with Terminal.login(host, "ada") as terminal:
        terminal.wait_for(r"\$ ?$", 60)
        terminal.type(f"abeyctl attach {session}\n")
        terminal.wait_for(r"^shell[$]", 60)
        checks.attempt("the session comes back", f"{shell} by-the-shell", lambda: ask(terminal, "echo $$ $kept"))
        checks.check("upgraded while it is resumed", kind.version(packages[2]), install(kind, host, packages[2]))
        checks.attempt("the session runs on", f"{shell} by-the-shell", lambda: ask(terminal, "echo $$ $kept"))
        terminal.type("\x1c\x04")
        terminal.wait_for("detached", 60)
    found, checkpoint = suspended(host, session)
    removed = kind.remove(host)
    checks.check("a removal says what stays", "status 0, where the session is", f"{found}; {removed.returncode}, {removed.stderr.strip()}",
                 removed.returncode == 0 and MESSAGE in removed.stdout + removed.stderr)
    checks.check("a removal takes the programs", (False, True), (host.path("usr/bin/abeyctl").exists(),
                                                               bool(checkpoint) and host.path(f"var/lib/abeyance/{checkpoint}/image/manifest").exists()))
    install(kind, host, packages[2])
    checks.attempt("the checkpoint is there after a new installation", [checkpoint], lambda: wait_until(
        lambda: [one["id"] for one in json_of(abeyctl(host, "list", "--json")).get("list", []) if one["state"] == "waiting"], "the list", 60))
    removed = kind.remove_all(host)
    checks.check("the last removal leaves nothing else", (0, kind.left), (removed.returncode, there(kind, host)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/package"), help="where it is built, in a folder of its kind")
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    kind = KINDS[options.kind]()
    checks = Checks(PLAN, options.tap)
    if missing := [command for command in kind.commands if not shutil.which(command)]:
        checks.say(f"{kind.name}: not installed: {' '.join(missing)}")
        return 1
    folder = options.folder.resolve() / kind.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        packages = kind.build(folder, folder / "build.log")
        with Host() as host:
            try:
                test(kind, host, checks, packages)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.stop(error)
            if not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40"]).stdout)
    except (HostError, BuildFailed) as error:
        checks.stop(error)
    passed, planned = checks.finish()
    checks.say(f"{kind.name} package: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
