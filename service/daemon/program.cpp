// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/program.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "dbus/bus.h"
#include "dbus/names.h"
#include "session/logind.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>

#include <sys/stat.h>

#include <systemd/sd-event.h>

namespace abey::daemon {
namespace {

struct Unref {
    void operator()(sd_event *event) const { ::sd_event_unref(event); }
};

// tmpfiles.d makes these; made here too so that a fresh installation works before the next boot.
Result<> make_directories() {
    struct Directory {
        const char *path;
        mode_t mode;
    };
    for (const auto &[path, mode] : {Directory{"/run/abeyance", 0711}, Directory{job::jobs_directory, 0700}})
        if (::mkdir(path, mode) < 0 && errno != EEXIST)
            return fail(errno, "cannot make {}", path);
    return {};
}

Result<> run() {
    TRY(make_directories());
    sd_event *raw_event = nullptr;
    TRY(bus::checked(::sd_event_default(&raw_event), "cannot make an event loop"));
    const std::unique_ptr<sd_event, Unref> event(raw_event);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    // No handler: the default one ends the loop.
    for (const int signal : {SIGTERM, SIGINT})
        TRY(bus::checked(::sd_event_add_signal(event.get(), nullptr, signal, nullptr, nullptr),
                         "cannot wait for signals"));

    const auto system_bus = TRY(bus::open_system());
    TRY(bus::checked(::sd_bus_attach_event(system_bus.get(), event.get(), SD_EVENT_PRIORITY_NORMAL),
                     "cannot attach the bus to the event loop"));
    Manager manager(system_bus.get(), session::Logind::over(system_bus.get()));
    TRY(manager.start());
    // Last, because from now on calls come, and systemd takes the unit for started.
    TRY(bus::checked(::sd_bus_request_name(system_bus.get(), bus::service_name, 0),
                     "cannot take the name org.abeyance1 on the bus"));
    // The bus hanging up ends the loop, not with an error but with a status: systemd starts us again, and there is a
    // bus.
    TRY(bus::checked(::sd_bus_set_exit_on_disconnect(system_bus.get(), 1), "cannot watch the bus"));
    if (const int status = TRY(bus::checked(::sd_event_loop(event.get()), "the event loop failed")); status != 0)
        return fail(0, "the system bus has hung up: look at the journal of dbus.service; systemd starts abeyd again");
    return {};
}

} // namespace

int program(int argc, char ** /*argv*/) {
    if (argc > 1) {
        (void)std::fputs("abeyd: takes no arguments; it is started by systemd (abeyd.service)\n", stderr);
        return 2;
    }
    ::umask(077);
    try {
        if (auto result = run(); !result) {
            log_error("{}", result.error().message());
            return 1;
        }
    } catch (const std::exception &error) {
        (void)std::fprintf(stderr, SD_ERR "%s\n", error.what());
        return 1;
    }
    return 0;
}

} // namespace abey::daemon
