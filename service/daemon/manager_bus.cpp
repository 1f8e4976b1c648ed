// SPDX-License-Identifier: LGPL-2.1-or-later
//
// org.abeyance1.Manager on the bus.
#include "daemon/glue.h"
#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/systemd.h"
#include "engine/os/user.h"
#include "policy/policy.h"

#include <array>
#include <climits>

namespace abey::daemon {
namespace {

Manager &manager_of(void *userdata) { return *static_cast<Manager *>(userdata); }

// For polkit's dialogue.
std::string user_name(uid_t uid) {
    const auto user = os::user_of(uid);
    return user ? user->name : fmt::format("{}", uid);
}

// Reads an id; begins what the caller asks for, or refuses it.
template <class Begin> int with_id(sd_bus_message *message, void *userdata, sd_bus_error *error, Begin begin) {
    const char *id = nullptr;
    if (const int result = ::sd_bus_message_read(message, "s", &id); result < 0)
        return result;
    const auto begun = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager_of(userdata).clients().remember(message, caller);
        return begin(manager_of(userdata), caller, std::string(id));
    }();
    return begun ? 1 : set_error(error, begun.error());
}

Question about_session(const char *verb, uid_t caller, uid_t owner, const std::string &id) {
    return {verb, {caller, owner}, "session " + id, {{"session", id}, {"owner", user_name(owner)}}};
}

Question about_checkpoint(const char *verb, uid_t caller, uid_t owner, const std::string &id) {
    return {verb, {caller, owner}, "checkpoint " + id, {{"checkpoint", id}, {"owner", user_name(owner)}}};
}

Answer<> answer_with_job(sd_bus_message *request, uint32_t number) {
    (void)::sd_bus_reply_method_return(request, "o", bus::job_path(number).c_str());
    return {};
}

int on_suspend_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto raw = TRY(read_options(message));
        const auto options = TRY(suspend_options(raw));
        const auto owner = TRY(manager.owner_of_session(id));
        manager.authority().ask(message, about_session("suspend", caller, owner, id),
                                [&manager, id, options](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    return answer_with_job(request, TRY(manager.suspend(permit, id, options, request)));
                                });
        return {};
    });
}

int on_list_parts(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(manager.owner_of_session(id));
        manager.authority().ask(message, about_session("check", caller, owner, id),
                                [&manager, id](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    const auto append = [](sd_bus_message *reply, const std::string &part) {
                                        return ::sd_bus_message_append(reply, "s", part.c_str());
                                    };
                                    (void)answer_with_list(request, "s", TRY(manager.parts(permit, id)), append);
                                    return {};
                                });
        return {};
    });
}

int on_resume_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto raw = TRY(read_options(message));
        const auto options = TRY(resume_options(raw));
        const auto owner = TRY(Manager::owner_of_checkpoint(id));
        manager.authority().ask(message, about_checkpoint("resume", caller, owner, id),
                                [&manager, id, options](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    return answer_with_job(request, TRY(manager.resume(permit, id, options)));
                                });
        return {};
    });
}

int on_resume_on_login(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        manager.authority().ask(
            message, {"resume", {caller, caller}, "what waits", {}},
            [&manager, id](const Permit &permit, sd_bus_message *request) -> Answer<> {
                const auto begun = TRY(manager.resume_on_login(permit, id));
                const auto job = begun.checkpoint.empty() ? std::string("/") : bus::job_path(begun.job);
                (void)::sd_bus_reply_method_return(request, "so", begun.checkpoint.c_str(), job.c_str());
                return {};
            });
        return {};
    });
}

Answer<std::vector<std::string>> read_strings(sd_bus_message *message, const char *what, size_t &size) {
    const auto malformed = [&] {
        return refuse(bus::error::invalid_argument, "{}: {} strings and {} bytes are the most", what,
                      job::command_count_limit, job::command_size_limit);
    };
    std::vector<std::string> strings;
    if (::sd_bus_message_enter_container(message, 'a', "s") < 0)
        return malformed();
    const char *text = nullptr;
    int more = 0;
    while ((more = ::sd_bus_message_read(message, "s", &text)) > 0) {
        size += std::string_view(text).size();
        if (size > job::command_size_limit || strings.size() == job::command_count_limit)
            return malformed();
        strings.emplace_back(text);
    }
    if (more < 0 || ::sd_bus_message_exit_container(message) < 0)
        return malformed();
    return strings;
}

Answer<job::Job> read_run(sd_bus_message *message) {
    job::Job wanted;
    size_t size = 0;
    wanted.command = TRY(read_strings(message, "command", size));
    wanted.environment = TRY(read_strings(message, "environment", size));
    const char *directory = nullptr;
    if (::sd_bus_message_read(message, "sqq", &directory, &wanted.rows, &wanted.columns) < 0)
        return refuse(bus::error::invalid_argument, "malformed arguments");
    wanted.directory = directory;
    if (wanted.directory.size() >= PATH_MAX || (!wanted.directory.empty() && !wanted.directory.starts_with('/')))
        return refuse(bus::error::invalid_argument, "the directory is no absolute path");
    if (!wanted.command.empty() && wanted.command.front().empty())
        return refuse(bus::error::invalid_argument, "the command has no name");
    for (const auto &variable : wanted.environment)
        if (const auto equals = variable.find('='); equals == std::string::npos || equals == 0)
            return refuse(bus::error::invalid_argument, "environment: \"{}\" is not NAME=value",
                          bus::printable(std::string_view(variable).substr(0, 64)));
    return wanted;
}

// Everybody's own: nobody starts a session for somebody else.
int on_run_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    auto &manager = manager_of(userdata);
    const auto asked = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager.clients().remember(message, caller);
        auto wanted = TRY(read_run(message));
        manager.authority().ask(message, {"run", {caller, caller}, "a session", {}},
                                [&manager, wanted](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    return answer_with_job(request, TRY(manager.run(permit, wanted)));
                                });
        return {};
    }();
    return asked ? 1 : set_error(error, asked.error());
}

// Owners are not asked about: the socket is theirs, and they need no service for it.
int on_attach_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(manager.owner_of_session(id));
        const auto attach = [&manager, id](const Permit &permit, sd_bus_message *request) -> Answer<> {
            const auto connection = TRY(manager.attach(permit, id));
            (void)::sd_bus_reply_method_return(request, "h", connection.get());
            return {};
        };
        if (caller == owner)
            return attach({caller, owner}, message);
        manager.authority().ask(message, about_session("attach", caller, owner, id), attach);
        return {};
    });
}

// These answer when the work is done.
int on_explain_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(manager.owner_of_session(id));
        manager.authority().ask(message, about_session("explain", caller, owner, id),
                                [&manager, id](const Permit &permit, sd_bus_message *request) {
                                    return manager.check(permit, id, request, "explain");
                                });
        return {};
    });
}

int on_diff_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(Manager::owner_of_checkpoint(id));
        manager.authority().ask(message, about_checkpoint("diff", caller, owner, id),
                                [&manager, id](const Permit &permit, sd_bus_message *request) {
                                    return manager.diff(permit, id, request);
                                });
        return {};
    });
}

int on_measure_checkpoints(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    auto &manager = manager_of(userdata);
    const auto asked = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager.clients().remember(message, caller);
        manager.authority().ask(
            message, {"check", {caller, caller}, "checkpoints", {}},
            [&manager](const Permit &permit, sd_bus_message *request) { return manager.measure(permit, request); });
        return {};
    }();
    return asked ? 1 : set_error(error, asked.error());
}

int on_check_session(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(manager.owner_of_session(id));
        manager.authority().ask(message, about_session("check", caller, owner, id),
                                [&manager, id](const Permit &permit, sd_bus_message *request) {
                                    return manager.check(permit, id, request);
                                });
        return {};
    });
}

int on_remove_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(Manager::owner_of_checkpoint(id));
        manager.authority().ask(message, about_checkpoint("remove", caller, owner, id),
                                [&manager, id](const Permit &permit, sd_bus_message *request) {
                                    return manager.remove(permit, id, request);
                                });
        return {};
    });
}

int set_pin(sd_bus_message *message, void *userdata, sd_bus_error *error, bool pinned) {
    return with_id(message, userdata, error, [&](Manager &manager, uid_t caller, const std::string &id) -> Answer<> {
        const auto owner = TRY(Manager::owner_of_checkpoint(id));
        manager.authority().ask(message, about_checkpoint("pin", caller, owner, id),
                                [&manager, id, pinned](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    TRY(manager.set_pinned(permit, id, pinned));
                                    (void)::sd_bus_reply_method_return(request, "");
                                    return {};
                                });
        return {};
    });
}

int on_pin_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return set_pin(message, userdata, error, true);
}

int on_unpin_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return set_pin(message, userdata, error, false);
}

int append_pruned(sd_bus_message *reply, const Pruned &one) {
    return ::sd_bus_message_append(reply, "(sus)", bus::printable(one.id).c_str(), one.uid, one.reason.c_str());
}

// Root's call is about everybody's checkpoints, another user's about their own.
int on_prune(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    auto &manager = manager_of(userdata);
    const auto asked = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager.clients().remember(message, caller);
        const auto raw = TRY(read_options(message));
        const auto options = TRY(prune_options(raw));
        manager.authority().ask(message, {"prune", {caller, caller}, "your checkpoints", {}},
                                [&manager, options](const Permit &permit, sd_bus_message *request) -> Answer<> {
                                    const auto of =
                                        permit.caller == 0 ? std::optional<uid_t>() : std::optional(permit.owner);
                                    const auto pruned = TRY(manager.prune(of, options));
                                    (void)answer_with_list(request, "(sus)", pruned, append_pruned);
                                    return {};
                                });
        return {};
    }();
    return asked ? 1 : set_error(error, asked.error());
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
        return manager_of(userdata).visible_checkpoints(caller);
    }();
    if (!list)
        return set_error(error, list.error());
    return answer_with_list(message, "(sussttso)", *list, append_checkpoint);
}

int append_displaced(sd_bus_message *reply, const DisplacedHome &one) {
    return ::sd_bus_message_append(reply, "(ussstb)", one.uid, bus::printable(one.home).c_str(),
                                   bus::printable(one.place).c_str(), one.checkpoint.c_str(), one.created,
                                   static_cast<int>(one.needed));
}

int on_list_displaced(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const auto list = [&]() -> Answer<std::vector<DisplacedHome>> {
        const auto caller = TRY(caller_of(message));
        manager_of(userdata).clients().remember(message, caller);
        return Manager::visible_displaced_homes(caller);
    }();
    if (!list)
        return set_error(error, list.error());
    return answer_with_list(message, "(ussstb)", *list, append_displaced);
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

int on_inhibit(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const char *session = nullptr;
    const char *who = nullptr;
    const char *why = nullptr;
    if (const int result = ::sd_bus_message_read(message, "sss", &session, &who, &why); result < 0)
        return result;
    const auto taken = [&]() -> Answer<Fd> {
        const auto caller = TRY(caller_of(message));
        manager_of(userdata).clients().remember(message, caller);
        return manager_of(userdata).inhibit(caller, session, who, why);
    }();
    return taken ? ::sd_bus_reply_method_return(message, "h", taken->get()) : set_error(error, taken.error());
}

int on_subscribe(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const auto caller = caller_of(message);
    if (!caller)
        return set_error(error, caller.error());
    manager_of(userdata).clients().remember(message, *caller);
    return ::sd_bus_reply_method_return(message, "");
}

// What is planned begins anew, and clients ask again: not for everybody to have done as often as they like.
int on_reload_policy(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    auto &manager = manager_of(userdata);
    const auto asked = [&]() -> Answer<> {
        const auto caller = TRY(caller_of(message));
        manager.clients().remember(message, caller);
        manager.authority().ask(
            message,
            {.verb = "reload", .permit = {caller, 0}, .thing = "the policy", .details = {}, .machines = "policy"},
            [&manager](const Permit & /*permit*/, sd_bus_message *request) -> Answer<> {
                TRY(manager.reload_policy());
                (void)::sd_bus_reply_method_return(request, "");
                return {};
            });
        return {};
    }();
    return asked ? 1 : set_error(error, asked.error());
}

int on_announce_checkpoint(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const char *id = nullptr;
    if (const int result = ::sd_bus_message_read(message, "s", &id); result < 0)
        return result;
    const auto told = [&]() -> Answer<> {
        if (TRY(caller_of(message)) != 0)
            return refuse(bus::error::access_denied, "only root makes checkpoints without the service");
        return manager_of(userdata).announce_checkpoint(id);
    }();
    return told ? ::sd_bus_reply_method_return(message, "") : set_error(error, told.error());
}

int get_version(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char * /*property*/,
                sd_bus_message *reply, void * /*userdata*/, sd_bus_error * /*error*/) {
    return ::sd_bus_message_append(reply, "s", ABEYANCE_VERSION);
}

int get_busy(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char * /*property*/,
             sd_bus_message *reply, void *userdata, sd_bus_error * /*error*/) {
    return ::sd_bus_message_append(reply, "b", static_cast<int>(manager_of(userdata).is_busy()));
}

int get_policy_problem(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char * /*property*/,
                       sd_bus_message *reply, void *userdata, sd_bus_error * /*error*/) {
    return ::sd_bus_message_append(reply, "s", bus::printable(manager_of(userdata).policy().problem()).c_str());
}

int get_policy_files(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char * /*property*/,
                     sd_bus_message *reply, void *userdata, sd_bus_error * /*error*/) {
    int result = ::sd_bus_message_open_container(reply, 'a', "s");
    for (const auto &file : manager_of(userdata).policy().files())
        if (result >= 0)
            result = ::sd_bus_message_append(reply, "s", bus::printable(file).c_str());
    return result < 0 ? result : ::sd_bus_message_close_container(reply);
}

// Unprivileged: everybody may call, the handlers look at who it is.
constexpr uint64_t open = SD_BUS_VTABLE_UNPRIVILEGED;

const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("SuspendSession", SD_BUS_ARGS("s", session_id, "a{sv}", options), SD_BUS_RESULT("o", job),
                            on_suspend_session, open),
    SD_BUS_METHOD_WITH_ARGS("ListParts", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("as", parts), on_list_parts, open),
    SD_BUS_METHOD_WITH_ARGS("ResumeCheckpoint", SD_BUS_ARGS("s", checkpoint_id, "a{sv}", options),
                            SD_BUS_RESULT("o", job), on_resume_checkpoint, open),
    SD_BUS_METHOD_WITH_ARGS("ResumeOnLogin", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("s", checkpoint_id, "o", job),
                            on_resume_on_login, open),
    SD_BUS_METHOD_WITH_ARGS("RunSession",
                            SD_BUS_ARGS("as", command, "as", environment, "s", directory, "q", rows, "q", columns),
                            SD_BUS_RESULT("o", job), on_run_session, open),
    SD_BUS_METHOD_WITH_ARGS("AttachSession", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("h", connection),
                            on_attach_session, open),
    SD_BUS_METHOD_WITH_ARGS("CheckSession", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("a(issssb)", findings),
                            on_check_session, open),
    SD_BUS_METHOD_WITH_ARGS("ExplainSession", SD_BUS_ARGS("s", session_id), SD_BUS_RESULT("s", files),
                            on_explain_session, open),
    SD_BUS_METHOD_WITH_ARGS("DiffCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_RESULT("s", changes),
                            on_diff_checkpoint, open),
    SD_BUS_METHOD_WITH_ARGS("MeasureCheckpoints", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", measured), on_measure_checkpoints,
                            open),
    SD_BUS_METHOD_WITH_ARGS("ListCheckpoints", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sussttso)", checkpoints),
                            on_list_checkpoints, open),
    SD_BUS_METHOD_WITH_ARGS("ListDisplaced", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ussstb)", homes), on_list_displaced,
                            open),
    SD_BUS_METHOD_WITH_ARGS("RemoveCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_NO_RESULT, on_remove_checkpoint,
                            open),
    SD_BUS_METHOD_WITH_ARGS("PinCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_NO_RESULT, on_pin_checkpoint,
                            open),
    SD_BUS_METHOD_WITH_ARGS("UnpinCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_NO_RESULT, on_unpin_checkpoint,
                            open),
    SD_BUS_METHOD_WITH_ARGS("Prune", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(sus)", pruned), on_prune, open),
    SD_BUS_METHOD_WITH_ARGS("ListJobs", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(osuss)", jobs), on_list_jobs, open),
    SD_BUS_METHOD_WITH_ARGS("Inhibit", SD_BUS_ARGS("s", session_id, "s", who, "s", why), SD_BUS_RESULT("h", inhibitor),
                            on_inhibit, open),
    SD_BUS_METHOD_WITH_ARGS("Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_subscribe, open),
    SD_BUS_METHOD_WITH_ARGS("ReloadPolicy", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_reload_policy, open),
    SD_BUS_METHOD_WITH_ARGS("AnnounceCheckpoint", SD_BUS_ARGS("s", checkpoint_id), SD_BUS_NO_RESULT,
                            on_announce_checkpoint, open),
    SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("o", job, "s", kind, "s", session_id, "s", checkpoint_id), 0),
    SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("o", job, "s", result, "s", message), 0),
    SD_BUS_SIGNAL_WITH_ARGS("PrepareForSuspend", SD_BUS_ARGS("b", begins, "s", session_id, "b", keep_running), 0),
    SD_BUS_SIGNAL_WITH_ARGS("CheckpointAdded", SD_BUS_ARGS("s", checkpoint_id, "o", checkpoint), 0),
    SD_BUS_SIGNAL_WITH_ARGS("CheckpointRemoved", SD_BUS_ARGS("s", checkpoint_id, "o", checkpoint), 0),
    SD_BUS_SIGNAL_WITH_ARGS("SessionResumed", SD_BUS_ARGS("s", session_id, "s", checkpoint_id), 0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Busy", "b", get_busy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PolicyFiles", "as", get_policy_files, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
    SD_BUS_PROPERTY("PolicyProblem", "s", get_policy_problem, 0, SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
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
    TRY(triggers_.start());
    if (const auto started = login_ends_.start(); !started)
        log_error("sessions stay when their logins end: {}", started.error().message());
    return {};
}

Result<> Manager::export_manager() {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(
        ::sd_bus_add_object_vtable(bus_, &slot, bus::manager_path, bus::manager_interface, manager_vtable, this),
        "cannot export the manager"));
    slots_.emplace_back(slot);
    TRY(bus::checked(::sd_bus_add_object_manager(bus_, &slot, bus::manager_path), "cannot export the objects' list"));
    slots_.emplace_back(slot);
    return {};
}

void Manager::emit_busy() const {
    (void)::sd_bus_emit_properties_changed(bus_, bus::manager_path, bus::manager_interface, "Busy", nullptr);
}

Answer<> Manager::reload_policy() {
    const auto policy = policy::Policy::load_system();
    triggers_.on_policy_read();
    policy_.forget();
    (void)::sd_bus_emit_properties_changed(bus_, bus::manager_path, bus::manager_interface, "PolicyFiles",
                                           "PolicyProblem", nullptr);
    if (!policy)
        return refuse_for(policy.error());
    for (const auto &warning : policy->warnings())
        log_warning("{}", warning);
    return {};
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
