#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages' descriptions agree with the tree: packages_test.py SOURCE BUILD; prints TAP.

They are read here, not built: rpmspec does so where it is installed, bash for the PKGBUILD.
"""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from tap import check, results

source, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
packaging = source / "packaging"

# As Fedora's macros have them; libexecdir as this build has it.
MACROS = {"_sysconfdir": "/etc", "_bindir": "/usr/bin", "_libexecdir": "/usr/lib", "_prefix": "/usr", "_datadir": "/usr/share",
          "_mandir": "/usr/share/man", "_unitdir": "/usr/lib/systemd/system", "_presetdir": "/usr/lib/systemd/system-preset",
          "_tmpfilesdir": "/usr/lib/tmpfiles.d"}


def introspect(what):
    return json.loads(subprocess.run(["meson", "introspect", build, what], check=True, capture_output=True, text=True).stdout)


def owned_by_spec(spec):
    """Patterns of the paths in %files."""
    for line in spec.partition("\n%files\n")[2].partition("\n\n")[0].splitlines():
        if line.startswith(("%license", "%doc", "%dir")):
            continue
        path = re.sub(r"^%config\(noreplace\) ", "", line)
        path = re.sub(r"%\{(\w+)\}", lambda macro: MACROS[macro.group(1)], path)
        yield path + "*" if path.endswith("/") else path


def pkgbuild(expression):
    return subprocess.run(["bash", "-euc", f'. "$1"; printf "%s\\n" {expression}', "bash", packaging / "arch/PKGBUILD"],
                          check=True, capture_output=True, text=True).stdout.split("\n")[:-1]


version = introspect("--projectinfo")["version"]
installed = sorted(introspect("--installed").values())
assert "/usr/bin/abeyctl" in installed, installed
spec = (packaging / "rpm/abeyance.spec").read_text()
patterns = list(owned_by_spec(spec))
check("the RPM has every file", [], [path for path in installed if not any(fnmatch.fnmatch(path, one) for one in patterns)])
check("the RPM has no file that there is not", [], [one for one in patterns if not fnmatch.filter(installed, one)])
check("Debian's version", version, re.match(r"abeyance \(([^)-]+)", (packaging / "debian/changelog").read_text()).group(1))
check("the RPM's version", version, re.search(r"^Version:\s*(\S+)$", spec, re.MULTILINE).group(1))
check("Arch's version", [version], pkgbuild('"$pkgver"'))
check("Arch keeps what the administrator changes", [path for path in installed if path.startswith("/etc/")],
      [f"/{path}" for path in pkgbuild('"${backup[@]}"')])
check("Arch builds and installs", ["function", "function"], pkgbuild('$(type -t build) $(type -t package)'))
units = {path.name.removesuffix(".in") for path in (source / "units").iterdir()}
check("the RPM's scripts name units that there are", [], [unit for line in re.findall(r"^%systemd_\w+ (.*)$", spec, re.MULTILINE)
                                                        for unit in line.split() if unit not in units])
# What the programs are linked with, as Arch calls it. rpmbuild and dpkg-shlibdeps find that out by themselves.
ARCH_LIBRARIES = {"libbtrfsutil": "btrfs-progs", "libc": "glibc", "libfmt": "fmt", "libgcc_s": "gcc-libs", "libm": "glibc", "libpam": "pam",
                  "libprotobuf-lite": "protobuf", "libstdc++": "gcc-libs", "libsystemd": "systemd-libs", "libtomlplusplus": "tomlplusplus",
                  "libtsm": "libtsm", "libxxhash": "xxhash"}


def libraries(program):
    shown = subprocess.run(["readelf", "--dynamic", program], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[([^\]]+?)\.so", shown))


linked = set.union(*(libraries(path) for path, to in introspect("--installed").items() if pathlib.Path(path).parent.is_relative_to(build)
                     and os.access(path, os.X_OK) and pathlib.Path(path).read_bytes()[:4] == b"\x7fELF"))
check("each library is a dependency of Arch's package", [],
      sorted({ARCH_LIBRARIES.get(one, one) for one in linked} - {re.split("[<>=]", one)[0] for one in pkgbuild('"${depends[@]}"')}))
check("each PAM file calls for one stack", {"abeyance": "common-session", "abeyance.redhat": "password-auth", "abeyance.arch": "system-login",
                                             "abeyance-run": "abeyance"},
      {path.name: re.search(r"^(?:@include|session +include) +(common-session|\S+)$", path.read_text(), re.MULTILINE).group(1)
       if path.name != "abeyance" else re.findall(r"^@include (\S+)$", path.read_text(), re.MULTILINE)[-1]
       for path in (packaging / "pam.d").iterdir()})
if shutil.which("rpmspec"):
    parsed = subprocess.run(["rpmspec", "-P", packaging / "rpm/abeyance.spec"], capture_output=True, text=True)
    check("rpmspec reads the RPM's", (0, ""), (parsed.returncode, "\n".join(line for line in parsed.stderr.splitlines()
                                                                             if "error" in line)))
else:
    results.append(True)
    print(f"ok {len(results)} - rpmspec reads the RPM's # SKIP rpmspec is not installed")
print(f"1..{len(results)}")
