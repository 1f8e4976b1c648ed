#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes back on which file system: files_table.py --build DIR [--markdown FILE]

Runs the tests of files and homes, each on file systems of its own (loop devices, a tmpfs), and the scenarios about files on
them, and writes what came of it as a table. Needs root.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

SYSTEMS = ("btrfs", "ext4", "xfs", "tmpfs", "overlay")
PROGRAMS = ("deleted_files", "files", "long_paths", "odd_files", "open_ways", "file_watches")
# What a file's name can have become; tests/scenarios/file_matrix.cpp has each with all holders
WAYS = {"named": "named, unchanged", "renamed": "renamed after opening", "directory renamed": "its directory was renamed",
        "renamed over": "renamed over: the name belongs to another file", "linked": "own name unlinked, a hard link in another directory",
        "linked beside": "own name unlinked, a hard link beside it", "deleted": "deleted", "taken": "deleted, and another file has the name",
        "orphan": "deleted with its directory", "without a name": "made by `O_TMPFILE`"}
SUBJECTS = {"FileFlags": "Flags", "ChangedFiles": "Changed files", "CutFiles": "Files that were cut", "PinnedFiles": "Pinned copies"}
MARKS = {"passed": "yes", "failed": "**no**", "skipped": "-"}
HEAD = """# Files and homes, by file system

Written by `tests/files_table.py --markdown`. Each line is a test (`tests/unit/`, `tests/scenarios/`) that was run on a file system of its own:
*yes*: passed; *-*: the file system has nothing of the kind, or the line is not about it.

Linux {kernel}.
"""
WAYS_NOTE = """
A column is the file system of the home and the provider that saves it. What the kernel of this machine cannot mount has no column{missing}. Homes on
NILFS2 are tried by `./dev test --vm`, with the same tests, on Debian's own kernel in a virtual machine, since few other kernels know that file system, and so is a
session with such a home. The cases of the tables above were not tried on it.
"""
MATRIX_NOTE = """
Each line is 21 files in one program (`scenario-file_matrix`): held by a descriptor, by a mapping without one, by both; by one process, by two that share
an open file, by two with an open file of their own each; under plain and odd names (a newline, no UTF-8, blanks, 255 bytes). Contents, mode, position, what one holder writes and the others see,
the path that `/proc` shows, link count, and what has the name now are checked, after a checkpoint and restore, a second one, and a restore of a program that had gone on.
"""


def words(name):
    """ATestsName -> A tests name."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()
    return text[0].upper() + text[1:]


def run_unit(build, program):
    """(suite, test, parameter) -> passed, failed or skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.json"
        subprocess.run([build / "tests/unit" / program, f"--gtest_output=json:{report}"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        suites = json.loads(report.read_text())["testsuites"]
    found = {}
    for suite in suites:
        for test in suite["testsuite"]:
            name, _, parameter = test["name"].partition("/")
            result = "failed" if "failures" in test else "skipped" if test["result"] == "SKIPPED" else "passed"
            found[suite["name"].rpartition("/")[2], name, parameter] = result
    return found


def run_scenarios(build, system, programs=PROGRAMS, way=""):
    """Program -> passed or failed, in all ways in which it was checkpointed."""
    command = [sys.executable, pathlib.Path(__file__).parent / "scenarios/run.py", "--build", build.resolve(), "--tap", "--jobs", "1", "--file-system", system]
    for mode in ("plain", "twice", "killed"):
        command += ["--mode", mode]
    result = subprocess.run([*command, *programs], capture_output=True, text=True, check=False, env=os.environ | ({"ABEY_MATRIX": way} if way else {}))
    found = {}
    for match in re.finditer(r"^(not ok|ok) \d+ - (\S+)", result.stdout, re.MULTILINE):
        name = match.group(2)
        if found.get(name) != "failed":
            found[name] = "passed" if match.group(1) == "ok" else "failed"
    return found


def table(title, columns, rows):
    lines = [f"\n## {title}\n", "| what | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, results in rows.items():
        lines.append(f"| {name} | " + " | ".join(MARKS[results.get(column, "skipped")] for column in columns) + " |")
    return "\n".join(lines) + "\n"


def gather(results, wanted):
    rows = {}
    for (suite, name, parameter), result in results.items():
        column = wanted(suite, parameter)
        if column:
            text = f"{SUBJECTS[suite]}: {words(name).lower()}" if suite in SUBJECTS else words(name)
            rows.setdefault(text, {})[column] = result
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("files_table.py: needs root: it mounts file systems of its own")
    files, homes = run_unit(options.build, "unit-files"), run_unit(options.build, "unit-snapshot")
    text = HEAD.format(kernel=platform.release())
    text += table("Files that a session holds", SYSTEMS, gather(files, lambda suite, parameter: parameter if parameter in SYSTEMS else None))
    scenarios = {}
    for system in SYSTEMS:
        for name, result in run_scenarios(options.build, system).items():
            scenarios.setdefault(f"`scenario-{name}`", {})[system] = result
    text += table("Whole programs", SYSTEMS, scenarios)
    matrix = {}
    for system in SYSTEMS:
        for way, text_of_way in WAYS.items():
            matrix.setdefault(text_of_way, {})[system] = run_scenarios(options.build, system, ["file_matrix"], way).get("file_matrix", "failed")
    text += table("What the name has become, by whatever the file is held", SYSTEMS, matrix)
    text += MATRIX_NOTE
    rows = gather(homes, lambda suite, parameter: parameter if suite == "TreeTest" else None)
    ways = {way for row in rows.values() for way in row}
    missing = sorted(way for way in ways if all(row.get(way) == "skipped" for row in rows.values()))
    kept = sorted(ways.difference(missing))
    rows = {name: row for name, row in rows.items() if any(row.get(way, "skipped") != "skipped" for way in kept)}
    text += table("Homes that are saved as copies", kept, rows)
    text += WAYS_NOTE.format(missing=f" ({', '.join(missing)})" if missing else "")
    kinds = {"BtrfsTest": "a subvolume", "MountedHomeTest": "a mount point", "NestedTest": "with subvolumes in it"}
    text += table("Homes that are subvolumes of btrfs", list(kinds.values()), gather(homes, lambda suite, parameter: kinds.get(suite)))
    if options.markdown:
        options.markdown.write_text(text)
    else:
        print(text, end="")
    failed = any(result == "failed" for results in (files, homes) for result in results.values())
    return 1 if failed or any("failed" in row.values() for row in [*scenarios.values(), *matrix.values()]) else 0


if __name__ == "__main__":
    sys.exit(main())
