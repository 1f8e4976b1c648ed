#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shipped policies are well-formed, and say what they promise: policies_test.py BUILD ABEYCTL; prints TAP."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from tap import check, results

build, abeyctl = sys.argv[1:]


def policy(*arguments):
    return subprocess.run([abeyctl, "policy", *arguments], capture_output=True, text=True)


def said(action, file, *arguments):
    return json.loads(policy(action, "--json", "--file", file, *arguments).stdout or "{}")


installed = json.loads(subprocess.run(["meson", "introspect", build, "--installed"], check=True, capture_output=True,
                                      text=True).stdout)
sources = {pathlib.Path(target).name: source for source, target in installed.items() if target.endswith(".toml")}
places = sorted(str(pathlib.Path(target)) for target in installed.values() if target.endswith(".toml"))
check("they are installed where docs/POLICY.md says",
      ["/usr/lib/abeyance/policy.toml", "/usr/share/abeyance/policies/fast.toml",
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
    check(f"show of {name} tells every key", keys, {key for name, table in tables.items() if isinstance(table, dict) and name != "origins" for key in table})
    rules = re.findall(r"^\[\[([a-z]+)\]\]", pathlib.Path(source).read_text(), re.MULTILINE)
    check(f"show of {name} tells every rule, and its line", sorted((rule, f"{source}:{number}") for number, line in enumerate(pathlib.Path(source).read_text().splitlines(), 1)
                                                                     for rule in re.findall(r"^\[\[([a-z]+)\]\]", line)),
          sorted((rule, one["origin"]) for rule in set(rules) for one in tables.get(rule, [])))
    shown = policy("show", "--file", source).stdout
    check(f"show of {name} has values with their units, and rules with their lines", True,
          all(re.search(part, shown, re.MULTILINE) for part in (r'^embed-limit = "\d+ [MG]iB"  # ', r'^idle-after = "30 min"  # ', rf"^\[\[file\]\]  # {re.escape(source)}:\d+$")))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(shown)
        file.flush()
        again = policy("show", "--file", file.name)
    without = [re.sub(r"  # .*", "", text) for text in (shown, again.stdout)]
    check(f"show of {name} can be read back, and says the same", (without[0], ""), (without[1], again.stderr))

homes = {name: said("show", source).get("home", {}) for name, source in sources.items()}
check("home of default", ("auto", "rollback"), (homes["policy.toml"].get("provider"), homes["policy.toml"].get("on-divergence")))
check("home of paranoid", {"provider": "auto", "verify": ["."], "verify-contents": True, "snapshot-directory": "",
                           "snapshot-name": "{id}", "snapshot-layout": "plain", "on-divergence": "fail"},
      homes.get("paranoid.toml"))
check("home of fast", ("none", "keep"), tuple(homes.get("fast.toml", {}).get(key) for key in ("provider", "on-divergence")))
strategies = {name: said("test", source, __file__).get("strategies") for name, source in sources.items()}
check("a deleted file", {"policy.toml": ["reflink", "embed", "copy"], "paranoid.toml": ["embed", "fail"],
                         "fast.toml": ["reflink", "relink", "embed", "copy"]}, strategies)
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write("""[home]
provdr = "tar"
[[user]]
name = "ada"
[[file]]
path = "/srv/gone/**"
min-size = "1 GiB"
use = "mapped"
owner = 12
strategy = "fail"
""")
    file.flush()
    done = policy("check", "--file", file.name)
    check("check tells every mistake", (1, [f"{file.name}:2:1", f"{file.name}:4:1"]),
          (done.returncode, re.findall(r"^abeyctl: (\S+:\d+:\d+): unknown key", done.stderr, re.MULTILINE)))
    check("and each part of it apart", [("provdr", 2, "provider"), ("name", 4, "names")],
          [(one["key"], one["line"], one["nearest"]) for one in said("check", file.name).get("mistakes", []) if one["file"] == file.name and one["column"] and one["message"]])
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write("""[[file]]
path = "/srv/gone/**"
min-size = "1 GiB"
use = "mapped"
owner = 12
writable = false
strategy = "fail"
[[peer]]
address = "192.0.2.0/24"
port = 443
action = ["keep", "fail"]
[[device]]
path = "/dev/net/tun"
action = "drop"
""")
    file.flush()
    large = ("--size", "1 GiB", "--use", "mapped", "--owner", "12", "--read-only")
    check("test takes a file that is not there, as it would be", (["fail"], f"{file.name}:1", "deleted"),
          tuple(said("test", file.name, "/srv/gone/file", *large).get(key) for key in ("strategies", "rule", "state")))
    check("or otherwise", (["reflink", "embed", "relink", "copy"], "built-in default", "unnamed", "btrfs"),
          tuple(said("test", file.name, "/srv/gone/file", "--state", "unnamed", "--file-system", "btrfs").get(key) for key in ("strategies", "rule", "state", "file-system")))
    check("test of an address", (["keep", "fail"], f"{file.name}:8"), tuple(said("test", file.name, "--address", "192.0.2.7", "--port", "443").get(key) for key in ("action", "rule")))
    check("test of a socket", (["reconnect"], "built in"), tuple(said("test", file.name, "--socket", "/run/user/7/keyring/ssh").get(key) for key in ("action", "rule")))
    check("test of a device", ("drop", f"{file.name}:12"), tuple(said("test", file.name, "--device", "/dev/net/tun").get(key) for key in ("action", "rule")))
    refused = [policy("test", "--file", file.name, *words) for words in ((), ("/a", "--socket", "/b"), ("--address", "x", "--port", "1"), ("--port", "1"), ("--socket", "/b", "--size", "1"))]
    check("what makes no sense is refused", [1] * len(refused), [one.returncode for one in refused])
print(f"1..{len(results)}")
