#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a program suspends a login session over D-Bus: suspend_session.py SESSION [--keep-running]

Prints the checkpoint, or what stands in the way. The interface: /usr/share/dbus-1/interfaces/org.abeyance1.xml.
"""

import sys

import dbus
import dbus.mainloop.glib
from gi.repository import GLib


def main(session, *options):
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus, loop = dbus.SystemBus(), GLib.MainLoop()
    manager = dbus.Interface(bus.get_object("org.abeyance1", "/org/abeyance1"), "org.abeyance1.Manager")
    ended, made = {}, {}

    def removed(path, result, message):
        ended[path] = (result, message)
        loop.quit()

    # Signals go to those who have asked for them, and before the call: the job may be over before we look.
    manager.connect_to_signal("JobRemoved", removed)
    manager.connect_to_signal("JobNew", lambda path, kind, of, checkpoint: made.update({path: checkpoint}))
    manager.Subscribe()
    settings = dbus.Dictionary({"keep-running": "--keep-running" in options}, signature="sv")
    # The session itself, but of a graphical one what the policy takes in its place
    for part in manager.ListParts(session):
        job = manager.SuspendSession(part, settings)
        while job not in ended:
            loop.run()
        result, message = ended[job]
        print(made.get(job, "") if result == "done" else f"{result}: {message}")
    return 0 if all(result == "done" for result, _ in ended.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except dbus.DBusException as error:
        sys.exit(f"{error.get_dbus_name()}: {error.get_dbus_message()}")
