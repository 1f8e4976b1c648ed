// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Starting, stopping and watching units (org.freedesktop.systemd1(5)). Calls block for as long as systemd takes to
// queue the job, not for as long as the unit takes.
#pragma once

#include "dbus/bus.h"
#include "engine/os/result.h"

#include <string>
#include <vector>

namespace abey::daemon::systemd {

// systemd sends its signals only to those who subscribe.
Result<> subscribe(sd_bus *bus);
Result<> start_unit(sd_bus *bus, const std::string &unit);
Result<> stop_unit(sd_bus *bus, const std::string &unit);
// To its main process; it is an error when there is none (yet).
Result<> signal_unit(sd_bus *bus, const std::string &unit, int signal);

// What a unit does: something is queued or under way, it stays up, or nothing.
enum class State : uint8_t { busy, up, down };
Result<State> unit_state(sd_bus *bus, const std::string &unit);

// What the service last said of itself (sd_notify(3), STATUS=).
Result<std::string> status_text(sd_bus *bus, const std::string &unit);

// Those of all processes of a unit (GetUnitProcesses), arguments joined by blanks, as systemd reads them in /proc.
Result<std::vector<std::string>> command_lines(sd_bus *bus, const std::string &unit);

std::string unit_path(const std::string &unit);

// Calls `handler` with each JobRemoved of the manager.
Result<bus::Slot> on_job_removed(sd_bus *bus, sd_bus_message_handler_t handler, void *userdata);
// Calls `handler` with each PropertiesChanged of the unit.
Result<bus::Slot> on_unit_changed(sd_bus *bus, const std::string &unit, sd_bus_message_handler_t handler,
                                  void *userdata);

} // namespace abey::daemon::systemd
