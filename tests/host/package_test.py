#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian package on the test host: package_test.py --package FILE.deb [--tap]

Installed, upgraded while a session is suspended and again while it is resumed, removed, purged, each by dpkg. The package comes from
packaging/build-deb, the newer one is the same with another version.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from adas_session import abeyctl, complaint, json_of, sessions_of, wait_until
from checks import Checks, StepFailed, first_line
from host import Host, HostError
from terminal import Terminal, TerminalError

PLAN = ["it is not there at first", "it installs", "its files are as packaged", "the service answers", "a session is suspended",
        "upgraded while it is suspended", "the session comes back", "upgraded while it is resumed", "the session runs on", "a removal says what stays",
        "a removal takes the programs", "the checkpoint is there after a new installation", "a purge leaves nothing"]
# What a purge takes; homes are not touched.
PATHS = ["usr/bin/abeyctl", "usr/lib/abeyance", "lib/systemd/system/abeyd.service", "etc/pam.d/abeyance", "var/lib/abeyance", "run/abeyance",
         "usr/share/polkit-1/actions/org.abeyance1.policy", "usr/share/dbus-1/system.d/org.abeyance1.conf"]


def newer(package, number, folder):
    """The same package with a higher version."""
    tree, made = folder / f"tree-{number}", folder / f"abeyance-{number}.deb"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text("\n".join(f"{line}+{number}" if line.startswith("Version:") else line for line in lines) + "\n")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def install(host, package):
    """dpkg's complaint, or the version that is installed now."""
    inside = host.path("root/abeyance.deb")
    inside.write_bytes(package.read_bytes())
    done = host.run(["dpkg", "-i", "/root/abeyance.deb"], env={"DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode != 0:
        return f"status {done.returncode}: {done.stderr.strip()[-300:]}"
    return host.run(["dpkg-query", "-W", "-f", "${Status} ${Version}", "abeyance"]).stdout


def version_of(package):
    return "install ok installed " + subprocess.run(["dpkg-deb", "-f", package, "Version"], check=True, capture_output=True,
                                                    text=True).stdout.strip()


def ask(terminal, command):
    terminal.type(f"clear; echo \"<$({command})>\"\n")
    return terminal.wait_for(r"^<(.*)>$", 60).group(1)


def suspended(host, session):
    result = abeyctl(host, "suspend", session, "--json")
    if result.returncode != 0:
        return complaint(result), ""
    return "status 0", json_of(result).get("checkpoint", "")


def test(host, checks, packages):
    checks.check("it is not there at first", [], [path for path in PATHS if host.path(path).exists()])
    if not checks.check("it installs", version_of(packages[0]), install(host, packages[0])):
        raise StepFailed("there is nothing to go on with")
    checks.check("its files are as packaged", "", host.run(["dpkg", "--verify", "abeyance"]).stdout)
    checks.attempt("the service answers", [], lambda: wait_until(
        lambda: (result := abeyctl(host, "list", "--json")).returncode == 0 and json_of(result), "an answer", 60)["list"])
    terminal = Terminal.login(host, "ada")
    terminal.type("kept=by-the-shell; PS1='shell$ '\n")
    shell = ask(terminal, "echo $$")
    found, checkpoint = suspended(host, next(iter(sessions_of(host))))
    if not checks.check("a session is suspended", "status 0", found):
        raise StepFailed("nothing is suspended")
    terminal.close()
    checks.check("upgraded while it is suspended", version_of(packages[1]), install(host, packages[1]))
    result = abeyctl(host, "resume", checkpoint, "--json")
    session = json_of(result).get("session", "")
    with Terminal.login(host, "ada") as terminal:
        terminal.wait_for(r"\$ ?$", 60)
        terminal.type(f"abeyctl attach {session}\n")
        terminal.wait_for(r"^shell[$]", 60)
        checks.attempt("the session comes back", f"{shell} by-the-shell", lambda: ask(terminal, "echo $$ $kept"))
        checks.check("upgraded while it is resumed", version_of(packages[2]), install(host, packages[2]))
        checks.attempt("the session runs on", f"{shell} by-the-shell", lambda: ask(terminal, "echo $$ $kept"))
        terminal.type("\x1c\x04")
        terminal.wait_for("detached", 60)
    found, checkpoint = suspended(host, session)
    removed = host.run(["dpkg", "--remove", "abeyance"])
    checks.check("a removal says what stays", "status 0, where the session is", f"{found}; {removed.returncode}, {removed.stderr.strip()}",
                 removed.returncode == 0 and "suspended sessions stay in /var/lib/abeyance" in removed.stderr)
    checks.check("a removal takes the programs", (False, True), (host.path("usr/bin/abeyctl").exists(),
                                                               bool(checkpoint) and host.path(f"var/lib/abeyance/{checkpoint}/image/manifest").exists()))
    install(host, packages[2])
    checks.attempt("the checkpoint is there after a new installation", [checkpoint], lambda: wait_until(
        lambda: [one["id"] for one in json_of(abeyctl(host, "list", "--json")).get("list", []) if one["state"] == "waiting"], "the list", 60))
    purged = host.run(["dpkg", "--purge", "abeyance"])
    checks.check("a purge leaves nothing", (0, []), (purged.returncode, [path for path in PATHS if host.path(path).exists()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", required=True, type=pathlib.Path)
    parser.add_argument("--tap", action="store_true")
    options = parser.parse_args()
    checks = Checks(PLAN, options.tap)
    try:
        with tempfile.TemporaryDirectory() as folder, Host() as host:
            packages = [options.package] + [newer(options.package, number, pathlib.Path(folder)) for number in (1, 2)]
            try:
                test(host, checks, packages)
            except (StepFailed, HostError, TerminalError, OSError, LookupError, subprocess.SubprocessError) as error:
                checks.step(f"stopped: {type(error).__name__}: {first_line(error)}")
            if not all(checks.results.values()):
                checks.say(host.run(["journalctl", "-b", "-o", "short-monotonic", "--no-pager", "-n", "40"]).stdout)
    except HostError as error:
        checks.step(f"the test host: {error}")
    passed, planned = checks.finish()
    checks.say(f"package: {passed} of {planned} checks passed")
    return checks.status()


if __name__ == "__main__":
    sys.exit(main())
