#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real UPower with a battery that umockdev shows it: umockdev-wrapper laptop.py UPOWERD, with percentages on standard input, one a line."""

import subprocess
import sys

import gi

gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev  # noqa: E402

FULL = 60_000_000  # microwatt hours

testbed = UMockdev.Testbed.new()
battery = testbed.add_device("power_supply", "BAT0", None, [
    "type", "Battery", "present", "1", "status", "Discharging", "energy_full", str(FULL), "energy_full_design", str(FULL),
    "energy_now", str(FULL), "voltage_now", "12000000", "capacity", "100"], ["POWER_SUPPLY_ONLINE", "1"])
upower = subprocess.Popen(sys.argv[1:])
try:
    for line in sys.stdin:
        testbed.set_attribute(battery, "energy_now", str(FULL * int(line) // 100))
        testbed.set_attribute(battery, "capacity", line.strip())
        testbed.uevent(battery, "change")
finally:
    upower.terminate()
    upower.wait()
