# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks of a test that prints TAP (testanything.org)."""

import sys

results = []


def check(name, expected, found):
    results.append(expected == found)
    print(f"{'ok' if results[-1] else 'not ok'} {len(results)} - {name}")
    if not results[-1]:
        print(f"{name}: expected {expected}, found {found}", file=sys.stderr)
