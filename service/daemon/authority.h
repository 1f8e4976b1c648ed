// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Who may: asks polkit (polkit(8), interface org.freedesktop.PolicyKit1.Authority), one action for each verb, own and
// other people's things apart: org.abeyance1.VERB-own and org.abeyance1.VERB-other; what is nobody's is the machine's:
// org.abeyance1.VERB-THING. Never waits for the answer.
#pragma once

#include "daemon/answer.h"
#include "dbus/bus.h"

#include <functional>
#include <list>
#include <map>
#include <string>

#include <sys/types.h>

namespace abey::daemon {

// What somebody was found to be allowed: to act on things of `owner`. A thing that has another owner by the time the
// answer comes is not covered.
struct Permit {
    uid_t caller = 0;
    uid_t owner = 0;
};

struct Question {
    const char *verb = "";                      // "suspend"
    Permit permit;                              // what is asked for
    std::string thing;                          // for people: "session 3"
    std::map<std::string, std::string> details; // for the text that polkit shows
    const char *machines = "";                  // "policy": it is no user's, but the machine's
};

// "org.abeyance1.suspend-other"
std::string action_of(const Question &question);

class Authority {
  public:
    // What is done when it is allowed. It answers the request itself; what it refuses is answered for it.
    using Work = std::function<Answer<>(const Permit &permit, sd_bus_message *request)>;

    explicit Authority(sd_bus *bus) : bus_(bus) {}
    Authority(const Authority &) = delete;
    Authority &operator=(const Authority &) = delete;
    ~Authority() = default;

    // Root is never asked about. Others wait for polkit, and for the password that it may ask for when the request
    // allows that (flag ALLOW_INTERACTIVE_AUTHORIZATION of the D-Bus specification). Without polkit on the bus users
    // may act on what is their own. `work` is called at most once, at once or from the event loop.
    void ask(sd_bus_message *request, Question question, Work work);

  private:
    struct Pending {
        Authority *authority = nullptr;
        Question question;
        Work work;
        bool interactive = false;
        bus::Message request;
        bus::Slot slot;
    };

    Answer<> send(Pending &pending);
    static int on_answer(sd_bus_message *answer, void *userdata, sd_bus_error *error);

    sd_bus *bus_;
    std::list<Pending> pending_;
};

} // namespace abey::daemon
