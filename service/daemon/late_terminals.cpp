// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/late_terminals.h"

#include "daemon/log.h"
#include "daemon/logins.h"
#include "daemon/systemd.h"

#include <algorithm>
#include <ctime>
#include <vector>

namespace abey::daemon {
namespace {

// How long a client may take to ask for its terminal, and how often we look: a slow network, a hook of the user's.
constexpr uint64_t first_pause = 250'000; // microseconds
constexpr uint64_t longest_pause = 2'000'000;
constexpr uint64_t longest_wait = 20'000'000;
// Logins at the same time, of all and of one user; beyond that somebody only wants to keep us busy.
constexpr size_t most_waiting = 64;
constexpr size_t most_of_a_user = 8;

} // namespace

bool has_place(std::span<const uid_t> waiting, uid_t uid) {
    return waiting.size() < most_waiting && static_cast<size_t>(std::ranges::count(waiting, uid)) < most_of_a_user;
}

uint64_t pause_after(uint64_t waited) {
    return waited >= longest_wait ? 0 : std::clamp(waited / 2, first_pause, longest_pause);
}

void LateTerminals::wait_for(const session::Session &login) {
    std::vector<uid_t> users;
    for (const auto &one : waiting_)
        users.push_back(one.uid);
    if (!has_place(users, login.uid))
        return log_warning("new session {}: too many logins at once, its terminal is not waited for", login.id);
    auto &waiting = waiting_.emplace_back();
    waiting.self = this;
    waiting.id = login.id;
    waiting.uid = login.uid;
    if (!plan(waiting))
        forget(waiting);
}

void LateTerminals::forget(const std::string &login) {
    waiting_.remove_if([&](const Waiting &one) { return one.id == login; });
}

bool LateTerminals::plan(Waiting &waiting) {
    const auto pause = pause_after(waiting.waited);
    if (pause == 0)
        return false;
    sd_event_source *source = nullptr;
    const int result = ::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC, pause,
                                                    first_pause / 5, on_time, &waiting);
    if (result < 0) {
        log_error("new session {}: its terminal is not waited for: {}", waiting.id,
                  fail(-result, "timer").error().message());
        return false;
    }
    waiting.waited += pause;
    waiting.timer.reset(source);
    return true;
}

void LateTerminals::forget(const Waiting &waiting) {
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
    if (session && session->tty.empty() && self.plan(waiting))
        return 0;
    self.forget(waiting);
    if (session && !session->tty.empty())
        self.found_(*session);
    return 0;
}

} // namespace abey::daemon
