// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <list>
#include <memory>
#include <string>

#include <sys/types.h>

struct sd_event; // <systemd/sd-event.h>
struct sd_event_source;
struct inotify_event;

namespace abey::daemon {

// Messages to terminals of users who are just logging in: logind tells of a session before login(1) has given the
// terminal to its user. A message waits for that, some seconds long.
class Messenger {
  public:
    explicit Messenger(sd_event *event) : event_(event) {}
    Messenger(const Messenger &) = delete;
    Messenger &operator=(const Messenger &) = delete;
    ~Messenger() = default;

    void tell(const std::string &tty, uid_t owner, const std::string &text);

  private:
    struct Unref {
        void operator()(sd_event_source *source) const;
    };
    using Source = std::unique_ptr<sd_event_source, Unref>;
    struct Waiting {
        Messenger *messenger = nullptr;
        std::string tty;
        uid_t owner = 0;
        std::string text;
        Source change, limit;
    };

    Result<> wait(Waiting &waiting);
    void drop(const Waiting *waiting);
    static int on_change(sd_event_source *source, const inotify_event *event, void *userdata);
    static int on_limit(sd_event_source *source, uint64_t time, void *userdata);

    sd_event *event_;
    std::list<Waiting> waiting_;
};

} // namespace abey::daemon
