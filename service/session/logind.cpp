// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/logind.h"

#include "engine/os/fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include <systemd/sd-bus.h>

namespace abey::session {
namespace {

constexpr const char *logind = "org.freedesktop.login1";
constexpr const char *manager_path = "/org/freedesktop/login1";
constexpr const char *manager_interface = "org.freedesktop.login1.Manager";
constexpr const char *session_interface = "org.freedesktop.login1.Session";

struct Call {
    sd_bus_message *reply = nullptr;
    sd_bus_error error = SD_BUS_ERROR_NULL;

    Call() = default;
    Call(const Call &) = delete;
    Call &operator=(const Call &) = delete;
    ~Call() {
        sd_bus_message_unref(reply);
        sd_bus_error_free(&error);
    }

    // `r`: what the sd-bus function returned, a negative errno.
    [[nodiscard]] std::unexpected<Error> failed(int r, std::string_view what) const {
        if (error.message != nullptr)
            return fail(-r, "{}: {}", what, error.message);
        return fail(-r, "{}", what);
    }
    [[nodiscard]] bool is_gone() const {
        return sd_bus_error_has_names(&error, "org.freedesktop.login1.NoSuchSession", SD_BUS_ERROR_UNKNOWN_OBJECT,
                                      "org.freedesktop.login1.NoSessionForPID") != 0;
    }
};

// One property of an a{sv}; those that we have no use for are passed over.
int read_property(sd_bus_message *reply, Session &session) {
    const char *name = nullptr;
    int r = sd_bus_message_read(reply, "s", &name);
    if (r < 0)
        return r;
    const std::string_view property(name);
    const std::array<std::pair<std::string_view, std::string *>, 8> texts = {{
        {"Id", &session.id},
        {"Name", &session.user},
        {"Scope", &session.scope},
        {"TTY", &session.tty},
        {"Type", &session.type},
        {"Class", &session.klass},
        {"Service", &session.service},
        {"State", &session.state},
    }};
    if (const auto *const text = std::ranges::find(texts, property, &std::pair<std::string_view, std::string *>::first);
        text != texts.end()) {
        const char *value = nullptr;
        r = sd_bus_message_read(reply, "v", "s", &value);
        if (r >= 0)
            *text->second = value;
        return r;
    }
    if (property == "User") {
        uint32_t uid = 0;
        r = sd_bus_message_read(reply, "v", "(uo)", &uid, nullptr);
        session.uid = uid;
        return r;
    }
    if (property == "Seat") {
        const char *seat = nullptr;
        r = sd_bus_message_read(reply, "v", "(so)", &seat, nullptr);
        if (r >= 0)
            session.seat = seat;
        return r;
    }
    if (property == "Leader") {
        uint32_t leader = 0;
        r = sd_bus_message_read(reply, "v", "u", &leader);
        session.leader = static_cast<pid_t>(leader);
        return r;
    }
    return sd_bus_message_skip(reply, "v");
}

// All of them by one call: a login is looked at again and again.
Result<Session> read_session(sd_bus *bus, const std::string &path, const std::string &id) {
    Session session;
    Call call;
    int r = sd_bus_call_method(bus, logind, path.c_str(), "org.freedesktop.DBus.Properties", "GetAll", &call.error,
                               &call.reply, "s", session_interface);
    if (r >= 0)
        r = sd_bus_message_enter_container(call.reply, 'a', "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(call.reply, 'e', "sv")) > 0) {
        r = read_property(call.reply, session);
        if (r >= 0)
            r = sd_bus_message_exit_container(call.reply);
    }
    if (r < 0)
        return call.is_gone() ? fail(ENXIO, "session {}: there is no such session", id)
                              : call.failed(r, fmt::format("session {}: cannot read its properties", id));
    // Whose it is must not be guessed: a uid that was not told would be root's
    if (session.id.empty() || session.user.empty())
        return fail(ENXIO, "session {}: there is no such session", id);
    return session;
}

} // namespace

void Logind::Unref::operator()(sd_bus *bus) const {
    if (shared)
        sd_bus_unref(bus);
    else
        sd_bus_flush_close_unref(bus);
}

bool is_graphical(const Session &session) {
    return session.type == "x11" || session.type == "wayland" || session.type == "mir";
}

bool is_of_a_user(const Session &session) {
    // Not "user-incomplete": its home is not unlocked yet (systemd-homed)
    constexpr auto classes = std::to_array<std::string_view>({"user", "user-early", "user-light", "user-early-light"});
    return std::ranges::find(classes, session.klass) != classes.end();
}

bool is_suitable(const Session &session) {
    return is_of_a_user(session) && session.state != "closing" && !session.cgroup.empty();
}

Result<Logind> Logind::connect() {
    sd_bus *bus = nullptr;
    const int r = sd_bus_open_system(&bus);
    if (r < 0)
        return fail(-r, "cannot connect to the system bus");
    return Logind(bus, false);
}

Logind Logind::over(sd_bus *bus) { return Logind(sd_bus_ref(bus), true); }

Result<Session> Logind::session_at(const std::string &path, const std::string &id) const {
    auto session = TRY(read_session(bus_.get(), path, id));
    if (!session.scope.empty()) {
        const std::string group = TRY_IN(control_group(session.scope), "session {}", id);
        if (!group.empty()) {
            session.cgroup = cgroup_directory(TRY(read_file("/proc/self/mountinfo")), group);
            if (session.cgroup.empty())
                return fail(ENOTSUP,
                            "session {}: its control group {} is not in a mounted cgroup v2 hierarchy; boot with "
                            "systemd.unified_cgroup_hierarchy=1",
                            id, group);
        }
    }
    return session;
}

// Empty when the unit has no group: it is being set up, or all its processes have gone.
Result<std::string> Logind::control_group(const std::string &unit) const {
    constexpr const char *systemd = "org.freedesktop.systemd1";
    Call find;
    const char *path = nullptr;
    int r = sd_bus_call_method(bus_.get(), systemd, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                               "GetUnit", &find.error, &find.reply, "s", unit.c_str());
    if (r < 0 && sd_bus_error_has_name(&find.error, "org.freedesktop.systemd1.NoSuchUnit") != 0)
        return std::string();
    if (r >= 0)
        r = sd_bus_message_read(find.reply, "o", &path);
    if (r < 0)
        return find.failed(r, fmt::format("cannot find its unit {}", unit));
    Call get;
    const char *group = nullptr;
    r = sd_bus_get_property(bus_.get(), systemd, path, "org.freedesktop.systemd1.Scope", "ControlGroup", &get.error,
                            &get.reply, "s");
    if (r >= 0)
        r = sd_bus_message_read(get.reply, "s", &group);
    if (r < 0 && sd_bus_error_has_name(&get.error, SD_BUS_ERROR_UNKNOWN_OBJECT) != 0)
        return std::string();
    if (r < 0)
        return get.failed(r, fmt::format("cannot find the control group of {}", unit));
    return group;
}

Result<Session> Logind::session(const std::string &id) const {
    Call call;
    const char *path = nullptr;
    int r = sd_bus_call_method(bus_.get(), logind, manager_path, manager_interface, "GetSession", &call.error,
                               &call.reply, "s", id.c_str());
    if (r >= 0)
        r = sd_bus_message_read(call.reply, "o", &path);
    if (r < 0)
        return call.is_gone() ? fail(ENXIO, "session {}: there is no such session", id)
                              : call.failed(r, fmt::format("session {}: cannot find it", id));
    return session_at(path, id);
}

Result<Session> Logind::session_of(pid_t pid) const {
    Call call;
    const char *path = nullptr;
    int r = sd_bus_call_method(bus_.get(), logind, manager_path, manager_interface, "GetSessionByPID", &call.error,
                               &call.reply, "u", static_cast<uint32_t>(pid));
    if (r >= 0)
        r = sd_bus_message_read(call.reply, "o", &path);
    if (r < 0)
        return call.is_gone() ? fail(ENXIO, "process {}: it is in no login session", pid)
                              : call.failed(r, fmt::format("process {}: cannot find its session", pid));
    return session_at(path, fmt::format("of process {}", pid));
}

Result<std::vector<Session>> Logind::sessions() const {
    Call call;
    int r = sd_bus_call_method(bus_.get(), logind, manager_path, manager_interface, "ListSessions", &call.error,
                               &call.reply, "");
    if (r >= 0)
        r = sd_bus_message_enter_container(call.reply, 'a', "(susso)");
    std::vector<Session> list;
    const char *id = nullptr;
    const char *path = nullptr;
    while (r >= 0 && (r = sd_bus_message_read(call.reply, "(susso)", &id, nullptr, nullptr, nullptr, &path)) > 0) {
        auto session = session_at(path, id);
        if (session)
            list.push_back(std::move(*session));
        else if (session.error().code() != ENXIO)
            return std::unexpected(std::move(session).error());
    }
    if (r < 0)
        return call.failed(r, "cannot list the login sessions");
    return list;
}

Result<std::vector<Session>> Logind::sessions_of(uid_t uid) const {
    auto list = TRY(sessions());
    std::erase_if(list, [uid](const Session &session) { return session.uid != uid; });
    return list;
}

Result<> Logind::terminate(const std::string &id) const {
    Call call;
    const int r = sd_bus_call_method(bus_.get(), logind, manager_path, manager_interface, "TerminateSession",
                                     &call.error, nullptr, "s", id.c_str());
    if (r < 0)
        return call.is_gone() ? fail(ENXIO, "session {}: there is no such session", id)
                              : call.failed(r, fmt::format("session {}: cannot end it", id));
    return {};
}

} // namespace abey::session
