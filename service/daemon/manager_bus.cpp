// SPDX-License-Identifier: LGPL-2.1-or-later
//
// org.abeyance1.Manager on the bus.
#include "daemon/glue.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/systemd.h"

#include <array>

namespace abey::daemon {
namespace {

Manager &manager_of(void *userdata) { return *static_cast<Manager *>(userdata); }

// Reads an id, then options; hands them on with the caller.
template <class Work> int with_options(sd_bus_message *message, void *userdata, sd_bus_error *error, Work work) {
    const char *id = nullptr;
    if (const int result = ::sd_bus_message_read(message, "s", &id); result < 0)
        return result;
    const auto answer = [&]() -> Answer<uint32_t> {
        const auto caller = TRY(caller_of(message));
        const auto options = TRY(read_options(message));
        manager_of(userdata).clients().remember(message, caller);
        return work(manager_of(userdata), caller, id, options);
    }();
    if (!answer)
        return set_error(error, answer.error());
    return ::sd_bus_reply_method_return(message, "o", bus::job_path(*answer).c_str());
}

int on_suspend_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_options(
        message, userdata, error,
        [&](Manager &manager, uid_t caller, const char *id, const Options &options) -> Answer<uint32_t> {
            return manager.suspend(caller, id, TRY(suspend_options(options)), message);
        });
}

int on_resume_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_options(message, userdata, error,
                        [](Manager &manager, uid_t caller, const char *id, const Options &options) -> Answer<uint32_t> {
                            return manager.resume(caller, id, TRY(resume_options(options)));
                        });
}

// Reads an id and hands it on; the answer comes when the work is done.
template <class Work> int answered_later(sd_bus_message *message, void *userdata, sd_bus_error *error, Work work) {
    const char *id = nullptr;
    if (const int result = ::sd_bus_message_read(message, "s", &id); result < 0)
        return result;
    const auto answer = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager_of(userdata).clients().remember(message, caller);
        return work(manager_of(userdata), caller, id);
    }();
    return answer ? 1 : set_error(error, answer.error());
}

int on_check_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return answered_later(message, userdata, error, [&](Manager &manager, uid_t caller, const char *id) {
        return manager.check(caller, id, message);
    });
}

int on_remove_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return answered_later(message, userdata, error, [&](Manager &manager, uid_t caller, const char *id) {
        return manager.remove(caller, id, message);
    });
}

int append_checkpoint(sd_bus_message *reply, const Checkpoint &one) {
    return ::sd_bus_message_append(reply, "(sussttso)", one.id.c_str(), one.uid, bus::printable(one.user).c_str(),
                                   bus::printable(one.session).c_str(), one.created, one.size, one.state.c_str(),
                                   bus::checkpoint_path(one.id).c_str());
}

int on_list_checkpoints(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const auto list = [&]() -> Answer<std::vector<Checkpoint>> {
        const auto caller = TRY(caller_of(message));
        manager_of(userdata).clients().remember(message, caller);
        return Manager::visible_checkpoints(caller);
    }();
    if (!list)
        return set_error(error, list.error());
    sd_bus_message *reply = nullptr;
    int result = ::sd_bus_message_new_method_return(message, &reply);
    const bus::Message owner(reply);
    if (result >= 0)
        result = ::sd_bus_message_open_container(reply, 'a', "(sussttso)");
    for (auto one = list->begin(); result >= 0 && one != list->end(); ++one)
        result = append_checkpoint(reply, *one);
    if (result >= 0)
        result = ::sd_bus_message_close_container(reply);
    return result < 0 ? result : ::sd_bus_send(nullptr, reply, nullptr);
}

int on_list_jobs(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const auto caller = caller_of(message);
    if (!caller)
        return set_error(error, caller.error());
    manager_of(userdata).clients().remember(message, *caller);
    sd_bus_message *reply = nullptr;
    int result = ::sd_bus_message_new_method_return(message, &reply);
    const bus::Message owner(reply);
    if (result >= 0)
        result = ::sd_bus_message_open_container(reply, 'a', "(osuss)");
    for (const auto *running : manager_of(userdata).visible_jobs(*caller))
        if (result >= 0)
            result = ::sd_bus_message_append(reply, "(osuss)", bus::job_path(running->job.number).c_str(),
                                             std::string(job::name_of(running->job.kind)).c_str(), running->job.uid,
                                             running->job.session.c_str(), running->job.checkpoint.c_str());
    if (result >= 0)
        result = ::sd_bus_message_close_container(reply);
    return result < 0 ? result : ::sd_bus_send(nullptr, reply, nullptr);
}

int on_subscribe(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const auto caller = caller_of(message);
    if (!caller)
        return set_error(error, caller.error());
    manager_of(userdata).clients().remember(message, *caller);
    return ::sd_bus_reply_method_return(message, "");
}

int get_version(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char * /*property*/,
                sd_bus_message *reply, void * /*userdata*/, sd_bus_error * /*error*/) {
    return ::sd_bus_message_append(reply, "s", ABEYANCE_VERSION);
}

// Unprivileged: everybody may call, the handlers look at who it is.
constexpr uint64_t open = SD_BUS_VTABLE_UNPRIVILEGED;

const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("SuspendSession", SD_BUS_ARGS("s", session_id, "a{sv}", options), SD_BUS_RESULT("o", job),
                            on_suspend_session, open),
    SD_BUS_METHOD_WITH_ARGS("ResumeCheckpoint", SD_BUS_ARGS("s", checkpoint_id, "a{sv}", options),
                            SD_BUS_RESULT("o", job), on_resume_checkpoint, open),
    SD_BUS_METHOD_WITH_ARGS("CheckSession", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("a(issssb)", findings),
                            on_check_session, open),
    SD_BUS_METHOD_WITH_ARGS("ListCheckpoints", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sussttso)", checkpoints),
                            on_list_checkpoints, open),
    SD_BUS_METHOD_WITH_ARGS("RemoveCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_NO_RESULT, on_remove_checkpoint,
                            open),
    SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(osuss)", jobs), on_list_jobs, open),
    SD_BUS_METHOD_WITH_ARGS("Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_subscribe, open),
    SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("o", job, "s", kind, "s", session_id, "s", checkpoint_id), 0),
    SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("o", job, "s", result, "s", message), 0),
    SD_BUS_SIGNAL_WITH_ARGS("CheckpointAdded", SD_BUS_ARGS("s", checkpoint_id, "o", checkpoint), 0),
    SD_BUS_SIGNAL_WITH_ARGS("CheckpointRemoved", SD_BUS_ARGS("s", checkpoint_id, "o", checkpoint), 0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

} // namespace

Result<> Manager::start() {
    TRY(clients_.start());
    TRY(export_manager());
    TRY(export_jobs());
    TRY(export_checkpoints());
    slots_.push_back(TRY(systemd::on_job_removed(bus_, on_systemd_job_removed, this)));
    TRY(systemd::subscribe(bus_));
    TRY(watch_logins());
    adopt_jobs();
    remove_leftovers();
    return {};
}

Result<> Manager::export_manager() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(
        ::sd_bus_add_object_vtable(bus_, &slot, bus::manager_path, bus::manager_interface, manager_vtable, this),
        "cannot export the manager"));
    slots_.emplace_back(slot);
    return {};
}

void Manager::answer_request(RunningJob &running, const job::Outcome &outcome) {
    if (!running.request)
        return;
    auto *request = running.request.get();
    // A caller who has left gets no answer; that is no error of ours.
    if (!outcome.ok) {
        (void)::sd_bus_reply_method_errorf(request, bus::error::failed, "%s", bus::printable(outcome.message).c_str());
        return;
    }
    if (running.job.kind != job::Kind::check) {
        (void)::sd_bus_reply_method_return(request, "");
        return;
    }
    sd_bus_message *reply = nullptr;
    int result = ::sd_bus_message_new_method_return(request, &reply);
    const bus::Message owner(reply);
    if (result >= 0)
        result = ::sd_bus_message_open_container(reply, 'a', "(issssb)");
    for (const auto &one : outcome.findings)
        if (result >= 0)
            result = ::sd_bus_message_append(reply, "(issssb)", one.pid, bus::printable(one.comm).c_str(),
                                             bus::printable(one.object).c_str(), bus::printable(one.reason).c_str(),
                                             bus::printable(one.advice).c_str(), static_cast<int>(one.fatal));
    if (result >= 0)
        result = ::sd_bus_message_close_container(reply);
    if (result >= 0)
        result = ::sd_bus_send(nullptr, reply, nullptr);
    if (result < 0)
        log_warning("job {}: cannot answer the caller: {}", running.job.number,
                    fail(-result, "findings").error().message());
}

Result<> Manager::watch_logins() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(::sd_bus_match_signal(bus_, &slot, "org.freedesktop.login1", "/org/freedesktop/login1",
                                           "org.freedesktop.login1.Manager", "SessionNew", on_session_new, this),
                     "cannot watch for logins"));
    slots_.emplace_back(slot);
    return {};
}

int Manager::on_session_new(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    const char *id = nullptr;
    if (::sd_bus_message_read(message, "s", &id) < 0 || !bus::is_session_id(id))
        return 0;
    auto &manager = manager_of(userdata);
    const auto session = manager.logind_.session(id);
    if (session)
        manager.on_login(*session);
    else if (session.error().code() != ENXIO) // it may be over already
        log_warning("new session {}: {}", id, session.error().message());
    return 0;
}

} // namespace abey::daemon
