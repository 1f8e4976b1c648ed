// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Applications are told that their session is about to be suspended, and are waited for when they have asked for that.
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/systemd.h"
#include "dbus/names.h"
#include "session/session_policy.h"

#include <algorithm>

#include <systemd/sd-event.h>

namespace abey::daemon {
namespace {

constexpr uint64_t second = 1'000'000;
constexpr uint64_t accuracy = 10'000;
constexpr uint64_t longest_delay = 600;

uint64_t application_delay(const Answer<session::Session> &session) {
    const auto policy = session ? session::policy_for(*session) : policy::Policy::load_system();
    return std::min((policy ? policy->service().user_limits : policy::UserLimits()).application_delay, longest_delay);
}

} // namespace

void RunningJob::Unref::operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }

void Manager::tell_applications(const RunningJob &running, bool begins) const {
    clients_.send("PrepareForSuspend", running.job.uid, [&](sd_bus_message *signal) {
        return ::sd_bus_message_append(signal, "bsb", static_cast<int>(begins), running.job.session.c_str(),
                                       static_cast<int>(running.job.keep_running));
    });
}

bool Manager::is_held_up(RunningJob &running) {
    if (running.job.kind != job::Kind::suspend || running.told)
        return false;
    running.told = true;
    tell_applications(running, true);
    const auto delay = std::min(application_delay(find_session(running.job.session)) * second,
                                triggers_.most_delay(running.job.trigger));
    const auto *inhibitor = inhibitors_.holding(running.job.uid, running.job.session);
    if (inhibitor == nullptr || delay == 0)
        return false;
    sd_event_source *source = nullptr;
    if (::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC, delay, accuracy, on_delay_over,
                                     &running) < 0)
        return false;
    running.delay.reset(source);
    log_info("job {}: waits for {} ({}), {} ms at the most", running.job.number, bus::printable(inhibitor->who),
             bus::printable(inhibitor->why), delay / 1000);
    return true;
}

void Manager::launch(RunningJob &running) {
    running.delay.reset();
    if (auto started = systemd::start_unit(bus_, running.unit); started)
        running.started = true;
    else
        end_job(running, {.message = started.error().message()}, "failed");
}

void Manager::on_inhibitor_released() {
    std::vector<RunningJob *> ready;
    for (const auto &[number, running] : jobs_)
        if (running->delay && !running->started &&
            inhibitors_.holding(running->job.uid, running->job.session) == nullptr)
            ready.push_back(running.get());
    for (auto *running : ready)
        launch(*running);
}

int Manager::on_delay_over(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &running = *static_cast<RunningJob *>(userdata);
    if (const auto *inhibitor = running.manager->inhibitors_.holding(running.job.uid, running.job.session))
        log_warning("job {}: does not wait any longer for {}", running.job.number, bus::printable(inhibitor->who));
    running.manager->launch(running);
    return 0;
}

Answer<Fd> Manager::inhibit(uid_t caller, const std::string &session, const std::string &who, const std::string &why) {
    if (who.empty() || who.size() > Inhibitors::text_limit || why.size() > Inhibitors::text_limit)
        return refuse(bus::error::invalid_argument, "who and why: {} bytes are the most, and who is not empty",
                      Inhibitors::text_limit);
    if (!session.empty() && TRY(owner_of_session(session)) != caller && caller != 0)
        return refuse(bus::error::access_denied, "session {} is not yours", session);
    return inhibitors_.take({.uid = caller, .session = session, .who = who, .why = why},
                            [this] { on_inhibitor_released(); });
}

} // namespace abey::daemon
