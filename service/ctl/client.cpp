// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"

#include "ctl/agent.h"
#include "dbus/names.h"
#include "session/logind.h"
#include "session/user_unit.h"

#include <algorithm>
#include <cstdlib>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <systemd/sd-login.h>

namespace abey::ctl {
namespace {

// Seconds for what answers when its work is done: as long as the unit may take (units/abeyance-*@.service.in), and some
// for what is before and after it.
constexpr uint64_t question_patience = 60 + 30;
constexpr uint64_t removal_patience = 5 * 60 + 30;

} // namespace

Result<std::string> own_session() {
    char *session = nullptr;
    if (::sd_pid_get_session(0, &session) >= 0) {
        std::string id(session);
        std::free(session);
        return id;
    }
    if (const char *id = std::getenv("XDG_SESSION_ID"); id != nullptr && bus::is_session_id(id))
        return std::string(id);
    return fail(0, "this command does not run in a login session; name one, `loginctl` lists them");
}

Result<std::vector<std::string>> units_like(const std::string &pattern) {
    const auto own = ::getuid();
    std::vector<std::string> ids;
    const auto like = [&](const std::string &name) { return session::is_unit_like(pattern, name); };
    for (const auto &unit : TRY(session::user_units(like)))
        if (own == 0 || unit.uid == own)
            ids.push_back(unit.id);
    if (ids.empty())
        return fail(0,
                    "no scope in which something runs is called like \"{}\" (nor a service, when the pattern ends in "
                    "\".service\"); `systemctl --user list-units` lists them",
                    bus::printable(pattern));
    return ids;
}

Result<std::vector<std::string>> parts_of(Client &client, const std::string &session) {
    const auto logind = TRY(session::Logind::connect());
    const auto found = logind.session(session);
    // What does not exist, or is a unit, is the service's to tell
    if (!found || !session::is_graphical(*found))
        return std::vector{session};
    return client.list_parts(session);
}

Result<std::vector<std::string>> meant_by(Client &client, const std::string &session, const std::string &unit) {
    if (!unit.empty())
        return units_like(unit);
    return parts_of(client, session.empty() ? TRY(own_session()) : session);
}

Result<Client> Client::connect() { return Client(TRY(bus::open_system())); }

Result<bus::Message> Client::method(const char *member) {
    return bus::method_call(bus_.get(), bus::service_name, bus::manager_path, bus::manager_interface, member);
}

Result<bus::Message> Client::ask(const bus::Message &message, uint64_t patience) {
    std::string name;
    auto reply = bus::call(bus_.get(), message, &name, patience * 1'000'000);
    if (!reply && name == bus::error::interaction_required)
        reply = ask_with_password(message, name);
    if (!reply && (name == SD_BUS_ERROR_SERVICE_UNKNOWN || name.starts_with("org.freedesktop.DBus.Error.Spawn") ||
                   name == SD_BUS_ERROR_NAME_HAS_NO_OWNER || name.starts_with("org.freedesktop.systemd1.")))
        return within(std::move(reply).error(), "the service cannot be reached (see `systemctl status abeyd`)");
    return reply;
}

Result<bus::Message> Client::ask_with_password(const bus::Message &message, std::string &error_name) {
    auto again = TRY(bus::method_call(bus_.get(), bus::service_name, ::sd_bus_message_get_path(message.get()),
                                      ::sd_bus_message_get_interface(message.get()),
                                      ::sd_bus_message_get_member(message.get())));
    TRY(bus::checked(::sd_bus_message_rewind(message.get(), 1), "call"));
    TRY(bus::checked(::sd_bus_message_copy(again.get(), message.get(), 1), "call"));
    TRY(bus::checked(::sd_bus_message_set_allow_interactive_authorization(again.get(), 1), "call"));
    // Without a terminal of ours the desktop may have an agent: it is the service who says no in the end.
    const auto agent = PasswordAgent::start();
    constexpr uint64_t patience = 10ULL * 60 * 1'000'000; // microseconds: as long as the service waits
    return bus::call(bus_.get(), again, &error_name, patience);
}

Result<std::string> Client::start_job(const char *member, const std::string &id, const CallOptions &options) {
    auto message = TRY(method(member));
    auto *raw = message.get();
    TRY(bus::checked(::sd_bus_message_append(raw, "s", id.c_str()), member));
    TRY(bus::checked(::sd_bus_message_open_container(raw, 'a', "{sv}"), member));
    for (const auto &[name, value] : options)
        TRY(bus::checked(value.empty() ? ::sd_bus_message_append(raw, "{sv}", name.c_str(), "b", 1)
                                       : ::sd_bus_message_append(raw, "{sv}", name.c_str(), "s", value.c_str()),
                         member));
    TRY(bus::checked(::sd_bus_message_close_container(raw), member));
    const auto reply = TRY(ask(message));
    const char *job = nullptr;
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "o", &job), member));
    return std::string(job);
}

Result<std::string> Client::suspend_session(const std::string &session, const CallOptions &options) {
    return start_job("SuspendSession", session, options);
}

Result<std::vector<std::string>> Client::list_parts(const std::string &session) {
    constexpr const char *member = "ListParts";
    const auto message = TRY(method(member));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", session.c_str()), member));
    const auto reply = TRY(ask(message));
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "s"), member));
    std::vector<std::string> parts;
    for (const char *part = nullptr; TRY(bus::checked(::sd_bus_message_read(reply.get(), "s", &part), member)) != 0;)
        parts.emplace_back(part);
    return parts;
}

Result<std::string> Client::resume_checkpoint(const std::string &checkpoint, const CallOptions &options) {
    return start_job("ResumeCheckpoint", checkpoint, options);
}

Result<Client::LoginResume> Client::resume_on_login(const std::string &login) {
    constexpr const char *member = "ResumeOnLogin";
    const auto message = TRY(method(member));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", login.c_str()), member));
    const auto reply = TRY(ask(message));
    const char *checkpoint = nullptr;
    const char *job = nullptr;
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "so", &checkpoint, &job), member));
    return LoginResume{.checkpoint = checkpoint, .job = job};
}

Result<std::string> Client::run_session(const RunRequest &request) {
    constexpr const char *member = "RunSession";
    auto message = TRY(method(member));
    auto *raw = message.get();
    for (const auto *strings : {&request.command, &request.environment}) {
        TRY(bus::checked(::sd_bus_message_open_container(raw, 'a', "s"), member));
        for (const auto &text : *strings)
            TRY(bus::checked(::sd_bus_message_append(raw, "s", text.c_str()), member));
        TRY(bus::checked(::sd_bus_message_close_container(raw), member));
    }
    TRY(bus::checked(::sd_bus_message_append(raw, "sqq", request.directory.c_str(), request.rows, request.columns),
                     member));
    const auto reply = TRY(ask(message));
    const char *job = nullptr;
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "o", &job), member));
    return std::string(job);
}

Result<Fd> Client::attach_session(const std::string &session) {
    constexpr const char *member = "AttachSession";
    auto message = TRY(method(member));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", session.c_str()), member));
    const auto reply = TRY(ask(message));
    int lent = -1; // the message's own
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "h", &lent), member));
    Fd connection(::fcntl(lent, F_DUPFD_CLOEXEC, 3));
    if (!connection)
        return fail(errno, "session {}: cannot take the connection to its keeper", session);
    return connection;
}

Result<std::string> Client::ask_document(const char *member, const std::string &id) {
    auto message = TRY(method(member));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", id.c_str()), member));
    const auto reply = TRY(ask(message, question_patience));
    const char *text = nullptr;
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "s", &text), member));
    return std::string(text);
}

Result<std::string> Client::explain_session(const std::string &session) {
    return ask_document("ExplainSession", session);
}

Result<std::string> Client::diff_checkpoint(const std::string &checkpoint) {
    return ask_document("DiffCheckpoint", checkpoint);
}

Result<std::vector<capture::Finding>> Client::check_session(const std::string &session) {
    auto message = TRY(method("CheckSession"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", session.c_str()), "CheckSession"));
    const auto reply = TRY(ask(message, question_patience));
    constexpr const char *what = "answer of CheckSession";
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "(issssb)"), what));
    std::vector<capture::Finding> findings;
    while (true) {
        int32_t pid = 0;
        const char *comm = nullptr;
        const char *object = nullptr;
        const char *reason = nullptr;
        const char *advice = nullptr;
        int fatal = 0;
        if (TRY(bus::checked(
                ::sd_bus_message_read(reply.get(), "(issssb)", &pid, &comm, &object, &reason, &advice, &fatal),
                what)) == 0)
            return findings;
        findings.push_back(
            {.pid = pid, .comm = comm, .object = object, .reason = reason, .advice = advice, .fatal = fatal != 0});
    }
}

Result<std::vector<CheckpointEntry>> Client::list_checkpoints() {
    const auto message = TRY(method("ListCheckpoints"));
    const auto reply = TRY(ask(message));
    constexpr const char *what = "answer of ListCheckpoints";
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "(sussttso)"), what));
    std::vector<CheckpointEntry> entries;
    while (true) {
        CheckpointEntry entry;
        const char *id = nullptr;
        const char *user = nullptr;
        const char *session = nullptr;
        const char *state = nullptr;
        const char *path = nullptr;
        if (TRY(bus::checked(::sd_bus_message_read(reply.get(), "(sussttso)", &id, &entry.uid, &user, &session,
                                                   &entry.created, &entry.size, &state, &path),
                             what)) == 0)
            return entries;
        entry.id = id;
        entry.user = user;
        entry.session = session;
        entry.state = state;
        entry.path = path;
        entries.push_back(std::move(entry));
    }
}

Result<> Client::measure(std::vector<CheckpointEntry> &entries) {
    constexpr const char *member = "MeasureCheckpoints";
    const auto message = TRY(method(member));
    const auto reply = TRY(ask(message));
    const char *text = nullptr;
    TRY(bus::checked(::sd_bus_message_read(reply.get(), "s", &text), member));
    const auto document = nlohmann::json::parse(text, nullptr, false);
    if (!document.is_object() || !document.contains("checkpoints") || !document["checkpoints"].is_array())
        return fail(0, "{}: the answer is not understood", member);
    for (const auto &one : document["checkpoints"]) {
        if (!one.is_object() || !one.contains("id") || !one["id"].is_string())
            continue;
        const auto entry = std::ranges::find(entries, one["id"].get<std::string>(), &CheckpointEntry::id);
        if (entry == entries.end())
            continue;
        if (one.contains("exclusive") && one["exclusive"].is_number_unsigned())
            entry->exclusive = one["exclusive"].get<uint64_t>();
        if (one.contains("problem") && one["problem"].is_string())
            entry->problem = one["problem"].get<std::string>();
    }
    return {};
}

Result<std::vector<Client::DisplacedEntry>> Client::list_displaced() {
    const auto message = TRY(method("ListDisplaced"));
    const auto reply = TRY(ask(message));
    constexpr const char *what = "answer of ListDisplaced";
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "(ussstb)"), what));
    std::vector<DisplacedEntry> entries;
    while (true) {
        DisplacedEntry entry;
        const char *home = nullptr;
        const char *place = nullptr;
        const char *checkpoint = nullptr;
        int needed = 0;
        if (TRY(bus::checked(::sd_bus_message_read(reply.get(), "(ussstb)", &entry.uid, &home, &place, &checkpoint,
                                                   &entry.created, &needed),
                             what)) == 0)
            return entries;
        entry.home = home;
        entry.place = place;
        entry.checkpoint = checkpoint;
        entry.needed = needed != 0;
        entries.push_back(std::move(entry));
    }
}

Result<std::string> Client::information(const CheckpointEntry &checkpoint) {
    return bus::string_property(bus_.get(), bus::service_name, checkpoint.path, bus::checkpoint_interface,
                                "Information");
}

Result<> Client::remove_checkpoint(const std::string &checkpoint) {
    auto message = TRY(method("RemoveCheckpoint"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", checkpoint.c_str()), "RemoveCheckpoint"));
    TRY(ask(message, removal_patience));
    return {};
}

Result<> Client::pin_checkpoint(const std::string &checkpoint, bool pinned) {
    auto message = TRY(method(pinned ? "PinCheckpoint" : "UnpinCheckpoint"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", checkpoint.c_str()), "PinCheckpoint"));
    TRY(ask(message));
    return {};
}

Result<std::vector<Client::PrunedEntry>> Client::prune(bool dry_run) {
    auto message = TRY(method("Prune"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "a{sv}", 1, "dry-run", "b", static_cast<int>(dry_run)),
                     "Prune"));
    const auto reply = TRY(ask(message));
    constexpr const char *what = "answer of Prune";
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "(sus)"), what));
    std::vector<PrunedEntry> pruned;
    while (true) {
        const char *id = nullptr;
        uint32_t uid = 0;
        const char *reason = nullptr;
        if (TRY(bus::checked(::sd_bus_message_read(reply.get(), "(sus)", &id, &uid, &reason), what)) == 0)
            return pruned;
        pruned.push_back({.id = id, .uid = uid, .reason = reason});
    }
}

Result<> Client::reload_policy() {
    const auto message = TRY(method("ReloadPolicy"));
    TRY(ask(message));
    return {};
}

void Client::announce_checkpoint(const std::string &checkpoint) {
    const auto message = method("AnnounceCheckpoint");
    if (!message || ::sd_bus_message_append(message->get(), "s", checkpoint.c_str()) < 0 ||
        ::sd_bus_message_set_auto_start(message->get(), 0) < 0)
        return;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    (void)::sd_bus_call(bus_.get(), message->get(), 0, &error, nullptr); // where nobody listens there is nobody to tell
    ::sd_bus_error_free(&error);
}

Result<> Client::subscribe() {
    const auto message = TRY(method("Subscribe"));
    TRY(ask(message));
    return {};
}

Result<CheckpointEntry> Client::find_checkpoint(const std::string &id) {
    auto entries = TRY(list_checkpoints());
    if (id.empty()) {
        std::erase_if(entries, [](const CheckpointEntry &one) { return one.state != "waiting"; });
        if (entries.size() == 1)
            return entries.front();
        return entries.empty()
                   ? fail(0, "no checkpoint waits to be resumed")
                   : fail(0, "{} checkpoints wait to be resumed; name one, `abeyctl list` lists them", entries.size());
    }
    const auto found = std::ranges::find(entries, id, &CheckpointEntry::id);
    if (found == entries.end())
        return fail(0, "there is no checkpoint {} of yours; `abeyctl list` lists them", bus::printable(id));
    return *found;
}

} // namespace abey::ctl
