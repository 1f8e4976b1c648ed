// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/login_ends.h"

#include "daemon/log.h"
#include "daemon/manager.h"
#include "session/login_list.h"
#include "session/session_policy.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

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

void LoginEnds::on_job_ended(const job::Job &job, bool ok) {
    if (busy_.empty())
        return;
    const auto lists = session::noted_logins();
    const auto living = living_sessions();
    if (!lists || !living)
        return log_error("not looking for logins that have ended: {}",
                         (lists ? living.error() : lists.error()).message());
    for (const auto &id : std::exchange(busy_, {})) {
        // Attached to again from another login meanwhile, or suspended by the job that was waited for
        const auto list = lists->find(id);
        const bool is_left = list != lists->end() && std::ranges::none_of(list->second, [&](const std::string &login) {
                                 return living->contains(login);
                             });
        if (is_left && !(ok && makes_up_for(job, id, policy::Act::suspend)))
            on_last_login_ended(id);
    }
}

void LoginEnds::suspend(const session::Session &session) {
    const auto started = manager_.act_on(session, policy::Act::suspend, "logout");
    if (started)
        return;
    if (!is_for_now(started.error()))
        return log_warning("session {} of {} stays: {}", session.id, session.user, started.error().text);
    log_info("session {} of {} has to wait: {}", session.id, session.user, started.error().text);
    busy_.insert(session.id);
    manager_.make_way(session, policy::Act::suspend, "logout");
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
        return suspend(*found);
    case policy::OnLoginEnd::end:
        log_info("session {} of {}: its last login has ended, and so does it", id, found->user);
        if (const auto ended = manager_.logind().terminate(id); !ended && ended.error().code() != ENXIO)
            log_error("{}", ended.error().message());
        return;
    }
}

} // namespace abey::daemon
