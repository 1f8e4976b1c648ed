// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/late_terminals.h"

#include "daemon/log.h"
#include "daemon/logins.h"
#include "daemon/systemd.h"

#include <ctime>

namespace abey::daemon {
namespace {

// How long a client may take to ask for its terminal, and how often we look: a slow network, a hook of the user's.
constexpr uint64_t interval = 250'000; // microseconds
constexpr int most_tries = 80;
// Logins at the same time; beyond that somebody only wants to keep us busy.
constexpr size_t most_waiting = 64;

} // namespace

void LateTerminals::wait_for(const session::Session &login) {
    if (waiting_.size() >= most_waiting)
        return log_warning("new session {}: too many logins at once, its terminal is not waited for", login.id);
    auto &waiting = waiting_.emplace_back();
    waiting.self = this;
    waiting.id = login.id;
    plan(waiting);
}

void LateTerminals::forget(const std::string &login) {
    waiting_.remove_if([&](const Waiting &one) { return one.id == login; });
}

void LateTerminals::plan(Waiting &waiting) {
    sd_event_source *source = nullptr;
    const int result = ::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC, interval,
                                                    interval / 5, on_time, &waiting);
    if (result < 0)
        log_error("new session {}: its terminal is not waited for: {}", waiting.id,
                  fail(-result, "timer").error().message());
    waiting.timer.reset(source);
    if (result < 0)
        waiting_.remove_if([&](const Waiting &one) { return &one == &waiting; });
}

// logind knows the terminal where sshd writes utmp(5); elsewhere sshd's own title tells it.
Result<session::Session> LateTerminals::look(const std::string &id) const {
    auto session = TRY(logind_.session(id));
    if (!session.tty.empty() || session.scope.empty())
        return session;
    for (const std::string &command : TRY(systemd::command_lines(bus_, session.scope)))
        if (session.tty = terminal_in_title(command); !session.tty.empty())
            break;
    return session;
}

int LateTerminals::on_time(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &waiting = *static_cast<Waiting *>(userdata);
    auto &self = *waiting.self;
    const auto session = self.look(waiting.id);
    if (session && session->tty.empty() && ++waiting.tries < most_tries) {
        self.plan(waiting);
        return 0;
    }
    self.waiting_.remove_if([&](const Waiting &one) { return &one == &waiting; });
    if (session && !session->tty.empty())
        self.found_(*session);
    return 0;
}

} // namespace abey::daemon
