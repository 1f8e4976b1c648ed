// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Programs that want a moment before their session is suspended, as logind has it (org.freedesktop.login1(5), delay
// locks): each holds the writing end of a pipe, and whoever closes it, or dies, holds nothing up any more.
#pragma once

#include "daemon/answer.h"
#include "engine/os/fd.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <sys/types.h>

struct sd_event; // <systemd/sd-event.h>
struct sd_event_source;

namespace abey::daemon {

struct Inhibitor {
    uid_t uid = 0;       // whose it is: root's are for everybody's sessions, others' for their own
    std::string session; // empty: all of them
    std::string who, why;
};

class Inhibitors {
  public:
    explicit Inhibitors(sd_event *event) : event_(event) {}
    Inhibitors(const Inhibitors &) = delete;
    Inhibitors &operator=(const Inhibitors &) = delete;
    ~Inhibitors() = default;

    // The descriptor for the client. `released` is called when it has been closed.
    Answer<Fd> take(Inhibitor inhibitor, std::function<void()> released);
    // Of those that hold up this user's session the first; null: there is none.
    [[nodiscard]] const Inhibitor *holding(uid_t owner, const std::string &session) const;

    static constexpr size_t text_limit = 256;

  private:
    static constexpr size_t limit = 512, user_limit = 32;
    struct Unref {
        void operator()(sd_event_source *source) const;
    };
    struct Held {
        Inhibitors *all = nullptr;
        uint64_t number = 0;
        Inhibitor inhibitor;
        std::function<void()> released;
        Fd reading; // closed after its source
        std::unique_ptr<sd_event_source, Unref> source;
    };
    static int on_closed(sd_event_source *source, int fd, uint32_t events, void *userdata);

    sd_event *event_;
    uint64_t next_ = 1;
    std::map<uint64_t, std::unique_ptr<Held>> held_;
};

} // namespace abey::daemon
