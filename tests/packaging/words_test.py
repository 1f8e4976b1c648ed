#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever abeyctl and the bus offer stands in the man pages and completions. words_test.py SOURCE ABEYCTL; prints TAP."""

import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

source, abeyctl = pathlib.Path(sys.argv[1]), sys.argv[2]
packaging = source / "packaging"
results = []


def check(name, missing):
    results.append(not missing)
    print(f"{'ok' if not missing else 'not ok'} {len(results)} - {name}")
    if missing:
        print(f"{name}: missing {sorted(missing)}", file=sys.stderr)


def completed(shell, script, *words):
    """What a shell offers for the last of the words."""
    done = subprocess.run([shell, "-c", script, shell, *words], capture_output=True, text=True, cwd=packaging / "completions", stdin=subprocess.DEVNULL)
    return [line.split("\t")[0] for line in (done.stdout + done.stderr).splitlines()]


def help_of(*words):
    return subprocess.run([abeyctl, *words, "--help"], check=True, capture_output=True, text=True).stdout


def text_of(path):
    return (packaging / path).read_text().replace("\\-", "-")


commands = re.findall(r"^  ([a-z]+) +\S", help_of().partition("Subcommands:")[2], re.MULTILINE)
assert len(commands) > 8, commands
options = {command: set(re.findall(r"^  --([a-z-]+)", help_of(command), re.MULTILINE)) - {"help", "json"} for command in commands}
assert "keep-running" in options["suspend"], options
check("every command prints JSON, too", {one for one in commands if "--json" not in help_of(one)})
page, bash, zsh, fish = (text_of(name) for name in ("man/abeyctl.1", "completions/abeyctl", "completions/_abeyctl", "completions/abeyctl.fish"))
offered = re.search(r"compgen -W '([^']*)'", bash).group(1).split()
check("bash knows the commands", set(commands) - set(offered))
check("zsh knows the commands", {one for one in commands if f"'{one}:" not in zsh})
check("fish knows the commands", {one for one in commands if f"-a {one} " not in fish})
check("the man page knows the commands", {one for one in commands if not re.search(rf"^(\\fB|\.B ){one}\b", page, re.MULTILINE)})
for name, text, form in (("the man page", page, "--{}"), ("bash", bash, "--{}"), ("zsh", zsh, "--{}"), ("fish", fish, "-l {}")):
    check(f"{name} knows the options", {f"{command} --{one}" for command, all_of in options.items() for one in all_of
                                      if form.format(one) not in text})
members = [member.get("name") for member in xml.etree.ElementTree.parse(source / "dbus/org.abeyance1.xml").getroot().iter()
           if member.tag in ("method", "signal", "property")]
assert "SuspendSession" in members
check("org.abeyance1(5) knows the interface", {one for one in members if not re.search(rf"\b{one}\b", text_of("man/org.abeyance1.5"))})
SHELLS = {"bash": '. ./abeyctl; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}\n'
                  '_abeyctl abeyctl "${COMP_WORDS[COMP_CWORD]}"; printf "%s\\n" "${COMPREPLY[@]}"',
          "fish": 'source abeyctl.fish; complete -C "$argv[2..]"'}
for shell, script in SHELLS.items():
    name = f"{shell} completes a command and its option"
    if shutil.which(shell):
        offers = [completed(shell, script, "abeyctl", "sus"), completed(shell, script, "abeyctl", "suspend", "--keep")]
        check(name, [] if offers == [["suspend"], ["--keep-running"]] else offers)
    else:
        results.append(True)
        print(f"ok {len(results)} - {name} # SKIP {shell} is not installed")
errors = re.findall(r'"org\.abeyance1\.Error\.(\w+)"', (source / "dbus/names.h").read_text())
check("org.abeyance1(5) and the contract know the errors", {one for one in errors if f".{one}" not in text_of("man/org.abeyance1.5")
                                                          or f".{one}" not in (source / "dbus/org.abeyance1.xml").read_text()})
keys = set(re.findall(r'^    \{"([a-z-]+)",', (source / "policy/reader.cpp").read_text(), re.MULTILINE))
assert "on-lock" in keys
check("abeyance.toml(5) knows the keys", {one for one in keys if one not in text_of("man/abeyance.toml.5")})
check("docs/POLICY.md knows the keys", {one for one in keys if one not in (source / "docs/POLICY.md").read_text()})
print(f"1..{len(results)}")
