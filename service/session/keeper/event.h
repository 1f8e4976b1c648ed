// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Owners for sd_event(3) and its sources.
#pragma once

#include <memory>

#include <systemd/sd-event.h>

namespace abey::session {

struct EventUnref {
    void operator()(sd_event *event) const { sd_event_unref(event); }
};
using Event = std::unique_ptr<sd_event, EventUnref>;

// A source that is dropped is not called again; dropping one in its own callback is allowed.
struct SourceUnref {
    void operator()(sd_event_source *source) const { sd_event_source_disable_unref(source); }
};
using EventSource = std::unique_ptr<sd_event_source, SourceUnref>;

} // namespace abey::session
