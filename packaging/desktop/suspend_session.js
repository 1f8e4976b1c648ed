#!/usr/bin/gjs -m
// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How a program suspends a login session over D-Bus, as in an extension of a desktop: suspend_session.js SESSION [--keep-running]
// Prints the checkpoint, or what stands in the way. The interface: /usr/share/dbus-1/interfaces/org.abeyance1.xml.
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import System from 'system';

const [session, ...options] = System.programArgs;
const bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, null);
const loop = new GLib.MainLoop(null, false);
const ended = new Map(), made = new Map();

// Signals go to those who have asked for them, and before the call: the job may be over before we look.
bus.signal_subscribe('org.abeyance1', 'org.abeyance1.Manager', null, '/org/abeyance1', null, Gio.DBusSignalFlags.NONE,
    (_connection, _sender, _path, _interface, signal, parameters) => {
        const [job, ...rest] = parameters.deepUnpack();
        if (signal === 'JobNew')
            made.set(job, rest[2]);
        if (signal === 'JobRemoved')
            ended.set(job, rest);
        loop.quit();
    });

function call(method, parameters) {
    return bus.call_sync('org.abeyance1', '/org/abeyance1', 'org.abeyance1.Manager', method, parameters, null,
        Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, -1, null);
}

try {
    call('Subscribe', null);
    const settings = {'keep-running': GLib.Variant.new_boolean(options.includes('--keep-running'))};
    // The session itself, but of a graphical one what the policy takes in its place
    const [parts] = call('ListParts', new GLib.Variant('(s)', [session])).deepUnpack();
    let status = 0;
    for (const part of parts) {
        const [job] = call('SuspendSession', new GLib.Variant('(sa{sv})', [part, settings])).deepUnpack();
        while (!ended.has(job))
            loop.run();
        const [result, message] = ended.get(job);
        print(result === 'done' ? made.get(job) : `${result}: ${message}`);
        status |= result === 'done' ? 0 : 1;
    }
    System.exit(status);
} catch (error) {
    printerr(error.message);
    System.exit(1);
}
