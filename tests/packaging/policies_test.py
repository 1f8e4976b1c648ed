#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shipped policies are well-formed, and say what they promise: policies_test.py BUILD ABEYCTL; prints TAP."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

build, abeyctl = sys.argv[1:]
results = []


def check(name, expected, found):
    results.append(expected == found)
    print(f"{'ok' if results[-1] else 'not ok'} {len(results)} - {name}")
    if not results[-1]:
        print(f"{name}: expected {expected}, found {found}", file=sys.stderr)


def policy(*arguments):
    return subprocess.run([abeyctl, "policy", *arguments], capture_output=True, text=True)


def said(action, file, *arguments):
    return json.loads(policy(action, "--json", "--file", file, *arguments).stdout or "{}")


installed = json.loads(subprocess.run(["meson", "introspect", build, "--installed"], check=True, capture_output=True,
                                      text=True).stdout)
sources = {pathlib.Path(target).name: source for source, target in installed.items() if target.endswith(".toml")}
places = sorted(str(pathlib.Path(target)) for target in installed.values() if target.endswith(".toml"))
check("they are installed where docs/POLICY.md says",
      ["/usr/lib/abeyance/policy.d/50-default.toml", "/usr/share/abeyance/policies/fast.toml",
       "/usr/share/abeyance/policies/paranoid.toml"], places)
for name, source in sorted(sources.items()):
    done = policy("check", "--file", source)
    check(f"{name} is well-formed", (0, "The policy is well-formed.\n", ""), (done.returncode, done.stdout, done.stderr))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(pathlib.Path(source).read_text().replace("[home]", "[hom]"))
        file.flush()
        done = policy("check", "--file", file.name)
        check(f"{name} with a mistake is not", (1, True), (done.returncode, f"{file.name}:" in done.stderr))

# All that is no rule, in the policy's own language
reader = (pathlib.Path(__file__).parents[2] / "policy/reader.cpp").read_text()
keys = {key for table in re.findall(r"_keys = \{\{\n(.*?)^\}\};", reader, re.MULTILINE | re.DOTALL) if "read_rule_list" not in table
        for key in re.findall(r'^    \{"([a-z-]+)",', table, re.MULTILINE)}
for name, source in sorted(sources.items()):
    tables = said("show", source)
    check(f"show of {name} tells every key", keys, {key for table in tables.values() for key in table})
    shown = policy("show", "--file", source).stdout
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(shown)
        file.flush()
        again = policy("show", "--file", file.name)
    check(f"show of {name} can be read back, and says the same", (shown, ""), (again.stdout, again.stderr))

homes = {name: said("show", source).get("home", {}) for name, source in sources.items()}
check("home of default", ("auto", "rollback"), (homes["50-default.toml"].get("provider"), homes["50-default.toml"].get("on-divergence")))
check("home of paranoid", {"provider": "auto", "verify": ["."], "verify-contents": True, "snapshot-directory": "",
                           "snapshot-name": "{id}", "snapshot-layout": "plain", "on-divergence": "fail"},
      homes.get("paranoid.toml"))
check("home of fast", ("none", "keep"), tuple(homes.get("fast.toml", {}).get(key) for key in ("provider", "on-divergence")))
strategies = {name: said("test", source, __file__).get("strategies") for name, source in sources.items()}
check("a deleted file", {"50-default.toml": ["reflink", "embed", "copy"], "paranoid.toml": ["embed", "fail"],
                         "fast.toml": ["reflink", "relink", "embed", "copy"]}, strategies)
print(f"1..{len(results)}")
