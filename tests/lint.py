#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write DIR/lint.ninja, by which clang-tidy reads each source file once for as long as nothing that it is made of changes.

    lint.py DIR checks|analyzer

DIR is a build directory of meson. What has been read well leaves a stamp in DIR/lint: `ninja -C DIR -f lint.ninja` goes on where it
was interrupted, and begins again with what has changed (.clang-tidy, clang-tidy, the command that compiles the file, a header of ours).
clang-tidy reads the headers of a file for ten seconds: `checks` is for a build in which the files of a library are compiled
together. The analyzer only looks at what is no header: `analyzer` is for one in which each file is compiled alone.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys

TIDY = "clang-tidy-19"
SETTINGS = (".clang-tidy", "tests/.clang-tidy")
READINGS = {
    "checks": r"--header-filter='/(service|policy|dbus)/.*\.(h|cpp)$$' --checks='-clang-analyzer-*,-bugprone-suspicious-include'",
    # A third of the analyzer's limit for a function (its own for quick looks) takes half of the time; the rest had nothing more to tell
    "analyzer": "--checks='-bugprone-*,-cert-*,-concurrency-*,-cppcoreguidelines-*,-misc-*,-modernize-*,-performance-*,-readability-*'"
                " --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=75000",
}


def rule(reading):
    # clang's preprocessor writes what it has read, which clang-tidy has no option for
    return (f"builddir = lint\n"
            f"rule {reading}\n"
            f"  command = {TIDY} -p . --quiet {READINGS[reading]} --extra-arg=-Wp,-MMD,$out.d $in 2> /dev/null && echo $compiled > $out\n"
            f"  description = {reading}: $in\n"
            f"  depfile = $out.d\n"
            f"  deps = gcc\n")


def statements(reading, where):
    """One for each source file of a build but for what protoc writes."""
    settings = " ".join(os.path.relpath(name, where) for name in SETTINGS)
    compiled = {each["file"]: each["command"] for each in json.loads((where / "compile_commands.json").read_text())}
    for source, command in sorted(compiled.items()):
        if not source.endswith(".pb.cc"):
            yield (f"build lint/{source.replace('../', '')}: {reading} {source} | {settings} {shutil.which(TIDY)}\n"
                   f"  compiled = {hashlib.sha256(command.encode()).hexdigest()}\n")


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in READINGS:
        sys.exit(__doc__)
    where, reading = pathlib.Path(sys.argv[1]), sys.argv[2]
    (where / "lint.ninja").write_text("\n".join([rule(reading), *statements(reading, where)]))


if __name__ == "__main__":
    main()
