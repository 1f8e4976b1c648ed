#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run meson's test suites one after the other and add up what they say.

    run.py [--filter TEXT] TITLE:BUILD:SUITE...

Every case counts, not only every program: GoogleTest's and TAP's cases stand one by one in meson's JUnit log. A suite
that could not be run at all is a failure. What failed is told once more at the end, with what the tests said of it. The
last line is `N passed, N failed, N skipped`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree


def tests_of(build, suite, text):
    """The names of a suite's tests that contain a text, as meson test takes them."""
    listed = json.loads(subprocess.run(["meson", "introspect", "--tests", build], check=True, capture_output=True,
                                       text=True).stdout)
    names = []
    for test in listed:
        suites = {entry.rpartition(":")[2] for entry in test["suite"]}
        if suite in suites and text in test["name"] and test["name"] not in names:
            names.append(test["name"])
    return names


def count(log):
    """Passed, failed, skipped in a JUnit file."""
    passed = failed = skipped = 0
    for case in xml.etree.ElementTree.parse(log).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def shorten(lines, most=12, width=300):
    lines = [line if len(line) <= width else line[: width - 3] + "..." for line in lines if line.strip()]
    return lines if len(lines) <= most else [*lines[: most - 1], f"... and {len(lines) - most + 1} lines more"]


def failures(log):
    """Of each program that failed: which of its cases, and what was said of them, as lines."""
    for suite in xml.etree.ElementTree.parse(log).iter("testsuite"):
        failed = [(case.get("name"), child) for case in suite.iter("testcase") for child in case if child.tag in ("failure", "error")]
        if not failed and suite.get("errors", "0") == "0":
            continue
        yield suite.get("name")
        for name, child in failed[:20]:
            yield f"  {name}"
            yield from (f"    {line}" for line in shorten((child.get("message") or child.text or "").splitlines()))
        said = [line for line in (suite.findtext("system-err") or "").splitlines()
                if not line.startswith("(test program exited") and not line.endswith(": not reached")]
        said += [line for line in (suite.findtext("system-out") or "").splitlines() if line.startswith("# ")]
        yield from (f"    {line}" for line in shorten(said))


def run_suite(build, suite, names, title):
    base = "testlog-" + title.replace(" ", "-")
    log = pathlib.Path(build) / "meson-logs" / f"{base}-{suite}.junit.xml"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", build, "--no-rebuild", "--suite", suite, "--logbase", base, "--print-errorlogs"]
    status = subprocess.run(command + names, check=False).returncode
    # meson puts the suite into the name of the file, except in versions which do not
    found = [path for path in (log, log.with_name(f"{base}.junit.xml")) if path.exists()]
    if not found:
        return (0, 1, 0), [f"{suite}: meson left no account of it"]
    passed, failed, skipped = count(found[0])
    if status != 0 and failed == 0:
        failed = 1  # a program that broke before it could name a case
    return (passed, failed, skipped), list(failures(found[0])) if failed else []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filter", default="")
    parser.add_argument("suites", nargs="+")
    options = parser.parse_args()
    total, told = [0, 0, 0], []
    for entry in options.suites:
        title, build, suite = entry.split(":")
        names = tests_of(build, suite, options.filter)
        if not names:
            if not options.filter:
                print(f"== {title}: no tests in suite '{suite}'", flush=True)
            continue
        print(f"== {title}", flush=True)
        begin = time.monotonic()
        result, lines = run_suite(build, suite, names, title)
        told += lines
        print(f"== {title}: {result[0]} passed, {result[1]} failed, {result[2]} skipped, "
              f"{time.monotonic() - begin:.1f} s", flush=True)
        total = [a + b for a, b in zip(total, result)]
    if sum(total) == 0:
        print(f"run.py: no test's name contains '{options.filter}'", file=sys.stderr)
    if told:
        print("== what failed", *told, sep="\n")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 0 if total[1] == 0 and total[0] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
