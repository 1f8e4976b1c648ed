#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shipped policies are well-formed, and say what they promise: policies_test.py BUILD ABEYCTL; prints TAP."""

import json
import pathlib
import subprocess
import sys
import tempfile
import tomllib

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

# Rules, and places that are not lasting, are patterns: `policy test` tells what they come to
tables = tomllib.loads(pathlib.Path(sources["50-default.toml"]).read_text())
shown = said("show", sources["50-default.toml"])
check("every value is shown", [], [f"{table}.{key}" for table in ("limits", "home", "resume", "attach", "triggers", "retention") for key in tables[table]
                                   if key not in shown.get(table, {})])
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
