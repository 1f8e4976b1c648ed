// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/login_ends.h"

#include "daemon/log.h"
#include "daemon/manager.h"
#include "session/login_list.h"
#include "session/session_policy.h"

#include <cstdlib>
#include <string_view>

#include <sys/epoll.h>

#include <systemd/sd-event.h>
#include <systemd/sd-login.h>

namespace abey::daemon {
namespace {

// A closing one only waits for processes that were left behind.
bool is_over(const char *id) {
    char *state = nullptr;
    if (::sd_session_get_state(id, &state) < 0)
        return true;
    const bool closing = std::string_view(state) == "closing";
    std::free(state);
    return closing;
}

Result<std::set<std::string>> living_sessions() {
    char **ids = nullptr;
    TRY(bus::checked(::sd_get_sessions(&ids), "cannot list the sessions"));
    std::set<std::string> living;
    for (char **id = ids; id != nullptr && *id != nullptr; ++id) {
        if (!is_over(*id))
            living.insert(*id);
        std::free(*id);
    }
    std::free(static_cast<void *>(ids));
    return living;
}

} // namespace

void LoginEnds::Unref::operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }
void LoginEnds::Unref::operator()(sd_login_monitor *monitor) const { ::sd_login_monitor_unref(monitor); }

Result<> LoginEnds::start() {
    sd_login_monitor *monitor = nullptr;
    TRY(bus::checked(::sd_login_monitor_new("session", &monitor), "cannot watch for the end of logins"));
    monitor_.reset(monitor);
    sd_event_source *source = nullptr;
    TRY(bus::checked(::sd_event_add_io(::sd_bus_get_event(bus_), &source, ::sd_login_monitor_get_fd(monitor), EPOLLIN,
                                       on_change, this),
                     "cannot watch for the end of logins"));
    changes_.reset(source);
    look();
    return {};
}

int LoginEnds::on_change(sd_event_source * /*source*/, int /*descriptor*/, uint32_t /*events*/, void *userdata) {
    auto &self = *static_cast<LoginEnds *>(userdata);
    (void)::sd_login_monitor_flush(self.monitor_.get());
    self.look();
    return 0;
}

void LoginEnds::look() {
    const auto lists = session::noted_logins();
    if (!lists)
        return log_error("not looking for logins that have ended: {}", lists.error().message());
    auto living = living_sessions();
    if (!living)
        return log_error("not looking for logins that have ended: {}", living.error().message());
    for (const auto &session : last_.lost(*lists, std::move(*living)))
        on_last_login_ended(session);
}

void LoginEnds::on_last_login_ended(const std::string &id) {
    const auto found = manager_.logind().session(id);
    if (!found) {
        if (found.error().code() == ENXIO)
            return session::forget_logins(id);
        return log_error("session {}: its login has ended: {}", id, found.error().message());
    }
    if (found->state == "closing")
        return;
    const auto policy = session::policy_for(*found);
    if (!policy)
        return log_error("session {} of {} stays, its login has ended: {}", id, found->user, policy.error().message());
    switch (policy->on_login_end()) {
    case policy::OnLoginEnd::stay:
        return;
    case policy::OnLoginEnd::suspend:
        log_info("session {} of {}: its last login has ended, it is suspended", id, found->user);
        if (const auto started = manager_.act_on(*found, policy::Act::suspend, "logout"); !started)
            log_warning("session {} of {} stays: {}", id, found->user, started.error().text);
        return;
    case policy::OnLoginEnd::end:
        log_info("session {} of {}: its last login has ended, and so does it", id, found->user);
        if (const auto ended = manager_.logind().terminate(id); !ended && ended.error().code() != ENXIO)
            log_error("{}", ended.error().message());
        return;
    }
}

} // namespace abey::daemon
