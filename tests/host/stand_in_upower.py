#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands in for UPower on a test host's system bus: its DisplayDevice has the warning levels that are read from standard input, one a
line, each signalled as often as the line says: "LEVEL TIMES"."""

import os
import sys

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

DEVICE = "org.freedesktop.UPower.Device"


class Display(dbus.service.Object):
    level = dbus.UInt32(int(sys.argv[1]))

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="ss", out_signature="v")
    def Get(self, _interface, _name):
        return self.level

    @dbus.service.signal(dbus.PROPERTIES_IFACE, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    def read(self, *_):
        lines = os.read(0, 4096).decode().splitlines()  # several may have come
        if not lines:
            sys.exit(0)
        for level, times in (line.split() for line in lines):
            self.level = dbus.UInt32(int(level))
            for _ in range(int(times)):
                self.PropertiesChanged(DEVICE, {"Percentage": dbus.Double(4), "WarningLevel": self.level}, [])
        return True


dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
display = Display(bus, "/org/freedesktop/UPower/devices/DisplayDevice")
name = dbus.service.BusName("org.freedesktop.UPower", bus)
GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, display.read)
print("ready", flush=True)
GLib.MainLoop().run()
