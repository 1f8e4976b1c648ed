// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Owners of sd-bus objects, and its errors as Result. Nothing more: calls are made with sd-bus itself.
#pragma once

#include "engine/os/result.h"

#include <memory>
#include <string>

#include <systemd/sd-bus.h>

namespace abey::bus {

struct Close {
    void operator()(sd_bus *bus) const { ::sd_bus_flush_close_unref(bus); }
    void operator()(sd_bus_message *message) const { ::sd_bus_message_unref(message); }
    void operator()(sd_bus_slot *slot) const { ::sd_bus_slot_unref(slot); }
    void operator()(sd_bus_track *track) const { ::sd_bus_track_unref(track); }
    void operator()(sd_bus_creds *creds) const { ::sd_bus_creds_unref(creds); }
};

using Bus = std::unique_ptr<sd_bus, Close>;
using Message = std::unique_ptr<sd_bus_message, Close>;
using Slot = std::unique_ptr<sd_bus_slot, Close>;
using Track = std::unique_ptr<sd_bus_track, Close>;
using Creds = std::unique_ptr<sd_bus_creds, Close>;

// The system bus; a connection of its own, because a worker forks and ends in many ways.
Result<Bus> open_system();

// The error a peer answered with.
class CallError {
  public:
    CallError() = default;
    CallError(const CallError &) = delete;
    CallError &operator=(const CallError &) = delete;
    ~CallError() { ::sd_bus_error_free(&error_); }

    [[nodiscard]] sd_bus_error *get() { return &error_; }
    [[nodiscard]] bool is(const char *name) const { return ::sd_bus_error_has_name(&error_, name) > 0; }
    [[nodiscard]] std::string name() const { return error_.name != nullptr ? error_.name : ""; }
    // The peer's own words; the errno's when it gave none.
    [[nodiscard]] std::string text(int code) const;

  private:
    sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

// A new method call, to be filled with sd_bus_message_append(3).
Result<Message> method_call(sd_bus *bus, const char *destination, const std::string &path, const char *interface,
                            const char *member);
// Sends it and waits for the answer, `timeout` microseconds long (0: 25 s). The error holds the peer's text; its name
// goes to `error_name` when not null.
Result<Message> call(sd_bus *bus, const Message &message, std::string *error_name = nullptr, uint64_t timeout = 0);

// Turns sd-bus's negative errno into a failure: TRY(checked(sd_bus_message_read(...), "answer of logind")).
Result<int> checked(int result, std::string_view what);

// A property of type "s".
Result<std::string> string_property(sd_bus *bus, const char *destination, const std::string &path,
                                    const char *interface, const char *name);

} // namespace abey::bus
