// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The life of a job: its file, its unit, its end. Only systemd knows whether a worker still works, so only systemd is
// asked.
#include "daemon/glue.h"
#include "daemon/log.h"
#include "daemon/logins.h"
#include "daemon/manager.h"
#include "daemon/systemd.h"
#include "dbus/names.h"
#include "engine/os/date.h"

#include <array>
#include <utility>

#include <systemd/sd-event.h>

namespace abey::daemon {
namespace {

constexpr const char *service_interface = "org.freedesktop.systemd1.Service";
// microseconds
constexpr uint64_t stop_after = 30'000'000;
constexpr uint64_t look_again_after = 5'000'000;
constexpr const char *unit_interface = "org.freedesktop.systemd1.Unit";

std::string printable_line(const job::Outcome &outcome) { return bus::printable(outcome.message); }

// Those whose unit stays with the session that it has brought about.
bool has_keeper(job::Kind kind) { return kind == job::Kind::resume || kind == job::Kind::run; }

std::string canceled_text(const RunningJob &running) {
    return running.why_canceled.empty() ? "canceled" : "canceled, " + running.why_canceled;
}

// From here on the session ends, or the resumed processes run: there is no way back.
bool is_past_return(const RunningJob &running) { return running.phase == "end" || running.phase == "release"; }

} // namespace

bool is_public(job::Kind kind) {
    return kind == job::Kind::suspend || kind == job::Kind::resume || kind == job::Kind::run;
}

Answer<RunningJob *> Manager::make_job(job::Job job, sd_bus_message *request) {
    const auto refused = [](const Error &error) { return refuse(bus::error::failed, "{}", error.message()); };
    auto number = job::next_number();
    if (!number)
        return refused(number.error());
    job.number = *number;
    if (auto stored = job::store(job); !stored)
        return refused(stored.error());
    auto running = std::make_unique<RunningJob>();
    running->manager = this;
    running->unit = job::unit_of(job);
    running->job = std::move(job);
    running->begun = os::microseconds_of(CLOCK_MONOTONIC);
    running->request.reset(::sd_bus_message_ref(request));
    if (auto watched = watch(*running); !watched) {
        job::forget(*number);
        return refused(watched.error());
    }
    return jobs_.emplace(*number, std::move(running)).first->second.get();
}

Result<> Manager::watch(RunningJob &running) {
    running.changes = TRY(systemd::on_unit_changed(bus_, running.unit, on_unit_changed, &running));
    return {};
}

Answer<> Manager::start_job(RunningJob &running) {
    const auto number = running.job.number;
    if (is_held_up(running)) {
        announce(running);
        return {};
    }
    if (auto started = systemd::start_unit(bus_, running.unit); !started) {
        auto refusal = refuse(bus::error::failed, "cannot start the worker: {}", started.error().message());
        job::forget(number);
        jobs_.erase(number);
        return refusal;
    }
    running.started = true;
    announce(running);
    return {};
}

uint64_t time_left(const RunningJob &running) {
    if (running.percent == 0 || running.percent >= 100 || running.begun == 0)
        return 0;
    const auto passed = os::microseconds_of(CLOCK_MONOTONIC) - running.begun;
    return passed / running.percent * (100 - running.percent);
}

Answer<> Manager::start_after_disconnect(RunningJob &running, sd_bus_message *request) {
    sd_bus_track *track = nullptr;
    int result = ::sd_bus_track_new(bus_, &track, on_caller_left, &running);
    running.disconnects.reset(track);
    if (result >= 0)
        result = ::sd_bus_track_add_sender(track, request);
    if (result < 0) {
        job::forget(running.job.number);
        jobs_.erase(running.job.number);
        return refuse(bus::error::failed, "{}", fail(-result, "cannot wait for the caller to leave").error().message());
    }
    announce(running);
    return {};
}

void Manager::announce(RunningJob &running) {
    const auto &job = running.job;
    if (!is_public(job.kind))
        return;
    if (job.kind == job::Kind::run)
        log_info("job {}: {} for user {}", job.number, job.command.empty() ? "a login shell" : "a command", job.uid);
    else
        log_info("job {}: {} of {}{} for user {}", job.number, job::name_of(job.kind),
                 job.kind == job::Kind::suspend ? "session " : "checkpoint ",
                 job.kind == job::Kind::suspend ? job.session : job.checkpoint, job.uid);
    clients_.send("JobNew", job.uid, [&](sd_bus_message *signal) {
        return ::sd_bus_message_append(signal, "osss", bus::job_path(job.number).c_str(),
                                       std::string(job::name_of(job.kind)).c_str(), job.session.c_str(),
                                       job.checkpoint.c_str());
    });
    (void)::sd_bus_emit_interfaces_added(bus_, bus::job_path(job.number).c_str(), bus::job_interface, nullptr);
    emit_busy();
}

Answer<> Manager::cancel(const Permit &permit, uint32_t number, std::string_view why) {
    const auto found = jobs_.find(number);
    if (found == jobs_.end() || !is_public(found->second->job.kind))
        return refuse(bus::error::no_such_job, "there is no job {}", number);
    auto &running = *found->second;
    if (permit.caller != 0 && running.job.uid != permit.owner)
        return refuse(bus::error::access_denied, "job {} is another one by now", number);
    return cancel(running, why);
}

Answer<> Manager::cancel(RunningJob &running, std::string_view why) {
    if (is_past_return(running))
        return refuse(bus::error::not_cancelable, "job {} is nearly done: it cannot be canceled any more",
                      running.job.number);
    if (!std::exchange(running.canceled, true))
        running.why_canceled = why;
    if (!running.started) {
        end_job(running, {.message = canceled_text(running)}, "canceled");
        return {};
    }
    // The phase that was heard last may be a former one. A keeper looks by itself whether a cancel comes in time; a
    // stop of its unit would end the session that is there by then.
    if (has_keeper(running.job.kind) && systemd::signal_unit(bus_, running.unit, job::cancel_signal)) {
        running.delay = timer(running, stop_after, on_cancel_unheard);
        return {};
    }
    if (auto stopped = systemd::stop_unit(bus_, running.unit); !stopped)
        return refuse(bus::error::failed, "cannot stop the worker: {}", stopped.error().message());
    return {};
}

// A keeper that hears nothing waits for PAM, say, before anything has been brought back.
int Manager::on_cancel_unheard(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &running = *static_cast<RunningJob *>(userdata);
    auto *bus = running.manager->bus_;
    const auto state = systemd::unit_state(bus, running.unit);
    if (state && *state != systemd::State::busy) {
        running.manager->finish(running); // running is gone
        return 0;
    }
    if (const auto stopped = systemd::stop_unit(bus, running.unit); !stopped)
        log_error("job {}: cannot stop the worker: {}", running.job.number, stopped.error().message());
    return 0;
}

void Manager::adopt_jobs() {
    const auto numbers = job::list();
    if (!numbers)
        return log_error("not taking up former jobs: {}", numbers.error().message());
    for (const auto number : *numbers) {
        auto job = job::load(number);
        if (!job) {
            log_warning("forgetting job {}: {}", number, job.error().message());
            job::forget(number);
            continue;
        }
        auto running = std::make_unique<RunningJob>();
        running->manager = this;
        running->unit = job::unit_of(*job);
        running->job = std::move(*job);
        running->started = true;
        if (auto watched = watch(*running); !watched)
            log_warning("job {}: its progress will not be seen: {}", number, watched.error().message());
        auto &adopted = *jobs_.emplace(number, std::move(running)).first->second;
        if (const auto status = systemd::status_text(bus_, adopted.unit); status)
            on_status(adopted, *status);
        look_after(adopted);
    }
}

void Manager::look_after(RunningJob &running) {
    running.look_again.reset();
    const auto state = systemd::unit_state(bus_, running.unit);
    if (!state) {
        log_error("job {}: cannot ask for its state, asking again: {}", running.job.number, state.error().message());
        // What it would tell by a signal may be the very thing that was to be asked for
        running.look_again = timer(running, look_again_after, on_look_again);
    } else if (*state != systemd::State::busy) {
        finish(running);
    }
}

int Manager::on_look_again(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &running = *static_cast<RunningJob *>(userdata);
    running.manager->look_after(running);
    return 0;
}

RunningJob::Timer Manager::timer(RunningJob &running, uint64_t after, sd_event_time_handler_t handler) {
    sd_event_source *source = nullptr;
    if (const int result = ::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC, after, 0,
                                                        handler, &running);
        result < 0)
        log_error("job {}: {}", running.job.number, fail(-result, "cannot watch the time").error().message());
    return RunningJob::Timer(source);
}

void Manager::finish(RunningJob &running) {
    auto outcome = job::load_outcome(running.job.number);
    if (!outcome) {
        const auto why = running.service_result.empty() ? "" : fmt::format(" ({})", running.service_result);
        if (outcome.error().code() != ENOENT)
            log_warning("job {}: {}", running.job.number, outcome.error().message());
        outcome = job::Outcome{
            .message = running.canceled
                           ? canceled_text(running)
                           : fmt::format("the worker ended without a result{}; the journal of {} may say more", why,
                                         running.unit)};
    }
    end_job(running, *outcome, outcome->ok ? "done" : running.canceled ? "canceled" : "failed");
}

void Manager::end_job(RunningJob &running, const job::Outcome &outcome, const char *result) {
    const auto job = running.job;
    if (is_public(job.kind)) {
        running.figures = outcome.figures;
        if (!outcome.ok && !running.canceled)
            running.error = bus::error::of_failure(outcome.error);
        if (has_keeper(job.kind) && bus::is_session_id(outcome.session))
            running.job.session = outcome.session;
        if (outcome.ok)
            running.percent = 100;
        emit_job_changed(running, {"Error", "Figures", "Session", "Percent", "TimeLeft"});
        if (outcome.ok)
            log_info("job {}: done", job.number);
        else
            log_error("job {}: {}: {}", job.number, result, printable_line(outcome));
    }
    answer_request(running, outcome);
    tell_user(running.job, outcome);
    if (job.kind == job::Kind::suspend)
        tell_applications(running, false);
    if (is_public(job.kind))
        clients_.send("JobRemoved", job.uid, [&](sd_bus_message *signal) {
            return ::sd_bus_message_append(signal, "oss", bus::job_path(job.number).c_str(), result,
                                           printable_line(outcome).c_str());
        });
    const bool removed_checkpoint = outcome.ok && job.kind == job::Kind::remove && job.displaced.empty();
    if (removed_checkpoint)
        tell_of_no_checkpoint(job.checkpoint, job.uid);
    if (outcome.ok && job.kind == job::Kind::resume) {
        tell_of_change(job.checkpoint, job.uid, {"State"});
        clients_.send("SessionResumed", job.uid, [&](sd_bus_message *signal) {
            return ::sd_bus_message_append(signal, "ss", running.job.session.c_str(), job.checkpoint.c_str());
        });
    }
    if (outcome.ok && job.kind == job::Kind::suspend)
        tell_that_added(job.checkpoint, job.uid);
    if (removed_checkpoint)
        clients_.send("CheckpointRemoved", job.uid, [&](sd_bus_message *signal) {
            return ::sd_bus_message_append(signal, "so", job.checkpoint.c_str(),
                                           bus::checkpoint_path(job.checkpoint).c_str());
        });
    if (removed_checkpoint && !outcome.message.empty())
        log_warning("checkpoint {}: {}", job.checkpoint, printable_line(outcome));
    if (!outcome.ok && job.kind == job::Kind::remove)
        log_error("{} {} is not wholly removed: {}", job.displaced.empty() ? "checkpoint" : "displaced home",
                  job.displaced.empty() ? job.checkpoint : job.displaced, printable_line(outcome));
    job::forget(job.number);
    jobs_.erase(job.number); // running is gone
    if (is_public(job.kind)) {
        // Its object is not there any more: what it was cannot be asked for now
        std::string interface = bus::job_interface;
        std::array<char *, 2> gone = {interface.data(), nullptr};
        (void)::sd_bus_emit_interfaces_removed_strv(bus_, bus::job_path(job.number).c_str(), gone.data());
        emit_busy();
    }
    triggers_.on_job_ended(job, outcome.ok);
    login_ends_.on_job_ended(job, outcome.ok);
    if (outcome.ok && job.automatic && job.kind == job::Kind::suspend)
        if (const auto pruned = prune(job.uid, {}); !pruned)
            log_warning("not looking for old checkpoints: {}", pruned.error().text);
    // What it held lives on; the same state twice would be two sessions that write to the same files.
    if (outcome.ok && job.kind == job::Kind::resume)
        remove_unasked(job.uid, job.checkpoint);
    go_on_removing();
}

void Manager::tell_that_added(const std::string &id, uid_t owner) const {
    tell_of_checkpoint(id, owner);
    clients_.send("CheckpointAdded", owner, [&](sd_bus_message *signal) {
        return ::sd_bus_message_append(signal, "so", id.c_str(), bus::checkpoint_path(id).c_str());
    });
}

Answer<> Manager::announce_checkpoint(const std::string &id) {
    tell_that_added(id, TRY(owner_of_checkpoint(id)));
    return {};
}

void Manager::tell_user(const job::Job &job, const job::Outcome &outcome) {
    if (job.tty.empty())
        return;
    if (job.kind == job::Kind::suspend) {
        if (!outcome.ok)
            messenger_.tell(job.tty, job.uid,
                            fmt::format("Session {} was not suspended: {}", job.session, printable_line(outcome)));
        return;
    }
    const auto found = checkpoint(job.checkpoint);
    const auto known = found ? *found : Checkpoint{.id = job.checkpoint, .uid = job.uid};
    const auto all = checkpoints();
    const auto more = all ? waiting_besides(known, *all) : 0;
    messenger_.tell(job.tty, job.uid,
                    outcome.ok ? resumed_text(known, job.session, more)
                               : not_resumed_text(known, outcome.message, more));
}

int Manager::on_systemd_job_removed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    auto &manager = *static_cast<Manager *>(userdata);
    uint32_t id = 0;
    const char *path = nullptr;
    const char *unit = nullptr;
    const char *result = nullptr;
    if (::sd_bus_message_read(message, "uoss", &id, &path, &unit, &result) < 0)
        return 0;
    for (const auto &[number, running] : manager.jobs_)
        if (running->started && running->unit == unit) {
            manager.look_after(*running);
            break;
        }
    return 0;
}

int Manager::on_unit_changed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    auto &running = *static_cast<RunningJob *>(userdata);
    const char *interface = nullptr;
    if (::sd_bus_message_read(message, "s", &interface) < 0 ||
        (std::string_view(interface) != service_interface && std::string_view(interface) != unit_interface))
        return 0;
    bool has_ended = false;
    if (::sd_bus_message_enter_container(message, 'a', "{sv}") < 0)
        return 0;
    while (::sd_bus_message_enter_container(message, 'e', "sv") > 0) {
        const char *name = nullptr;
        if (::sd_bus_message_read(message, "s", &name) < 0)
            return 0;
        const std::string_view property(name);
        const char *value = nullptr;
        if (property == "StatusText" || property == "Result" || property == "ActiveState") {
            if (::sd_bus_message_read(message, "v", "s", &value) < 0)
                return 0;
        } else if (::sd_bus_message_skip(message, "v") < 0) {
            return 0;
        }
        if (property == "ActiveState")
            has_ended = std::string_view(value) == "inactive" || std::string_view(value) == "failed";
        else if (property == "Result")
            running.service_result = value;
        else if (property == "StatusText")
            running.manager->on_status(running, value);
        if (::sd_bus_message_exit_container(message) < 0)
            return 0;
    }
    // A session may be over before we have looked at it after its start: its unit was stopping then, and no job of
    // systemd's tells of the end of that.
    if (has_ended && running.started)
        running.manager->look_after(running);
    return 0;
}

void Manager::on_status(RunningJob &running, std::string_view status) {
    const auto progress = job::progress_from(status);
    if (!progress)
        return;
    running.phase = progress->phase;
    running.percent = progress->percent;
    if (is_public(running.job.kind))
        emit_job_changed(running, {"Phase", "Percent", "TimeLeft"});
}

int Manager::on_caller_left(sd_bus_track * /*track*/, void *userdata) {
    auto &running = *static_cast<RunningJob *>(userdata);
    auto &manager = *running.manager;
    if (!running.started && !running.told && !manager.is_held_up(running))
        manager.launch(running);
    return 1; // 0 would have the track call again
}

void Manager::answer_request(RunningJob &running, const job::Outcome &outcome) {
    if (!running.request)
        return;
    auto *request = running.request.get();
    // A caller who has left gets no answer; that is no error of ours.
    if (!outcome.ok) {
        (void)::sd_bus_reply_method_errorf(request, bus::error::of_failure(outcome.error), "%s",
                                           bus::printable(outcome.message).c_str());
        return;
    }
    if (running.job.kind != job::Kind::check) {
        (void)::sd_bus_reply_method_return(request, "");
        return;
    }
    if (!running.job.question.empty()) {
        (void)::sd_bus_reply_method_return(request, "s", bus::printable(outcome.answer).c_str());
        return;
    }
    const int result =
        answer_with_list(request, "(issssb)", outcome.findings, [](sd_bus_message *reply, const auto &one) {
            return ::sd_bus_message_append(reply, "(issssb)", one.pid, bus::printable(one.comm).c_str(),
                                           bus::printable(one.object).c_str(), bus::printable(one.reason).c_str(),
                                           bus::printable(one.advice).c_str(), static_cast<int>(one.fatal));
        });
    if (result < 0)
        log_warning("job {}: cannot answer the caller: {}", running.job.number,
                    fail(-result, "findings").error().message());
}

} // namespace abey::daemon
