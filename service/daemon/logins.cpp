// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/logins.h"

#include "dbus/names.h"
#include "engine/os/date.h"
#include "engine/os/fd.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <string_view>

#include <fmt/format.h>

namespace abey::daemon {
namespace {

// PAM services whose sessions nobody sits at, or in which somebody else does.
constexpr std::array<std::string_view, 13> not_a_person{"abeyance",  "abeyance-run", "cron",    "crond",  "atd",
                                                        "su",        "su-l",         "sudo",    "sudo-i", "runuser",
                                                        "runuser-l", "systemd-user", "polkit-1"};

std::string local_time(uint64_t microseconds) {
    const auto date = os::local_date(static_cast<std::time_t>(microseconds / 1'000'000), "%a %Y-%m-%d %H:%M");
    return date.empty() ? "an unknown time" : date;
}

// Suspended, not insurance.
bool waits_for_login(const Checkpoint &checkpoint, uid_t uid) {
    return checkpoint.uid == uid && checkpoint.state == "waiting" && !checkpoint.kept_running;
}

std::string and_more(size_t more) {
    return more == 0 ? "" : fmt::format("\nAnd {} more {}: abeyctl list", more, more == 1 ? "waits" : "wait");
}

} // namespace

bool may_get_a_terminal(const session::Session &login) {
    return session::is_of_a_user(login) && login.type == "tty" &&
           std::ranges::find(not_a_person, login.service) == not_a_person.end();
}

bool is_login_of_a_person(const session::Session &login) { return may_get_a_terminal(login) && !login.tty.empty(); }

std::string terminal_in_title(std::string_view command) {
    if (!command.starts_with("sshd: ") && !command.starts_with("sshd-session: "))
        return "";
    constexpr std::string_view before = "@pts/";
    const auto at = command.rfind(before);
    if (at == std::string_view::npos)
        return "";
    const auto number = command.substr(at + before.size());
    const bool plain = !number.empty() && number.size() < 8 &&
                       std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
    return plain ? fmt::format("pts/{}", number) : "";
}

std::optional<Checkpoint> waiting_for(uid_t uid, std::span<const Checkpoint> checkpoints) {
    const Checkpoint *youngest = nullptr;
    for (const auto &checkpoint : checkpoints)
        if (waits_for_login(checkpoint, uid) && (youngest == nullptr || checkpoint.created > youngest->created))
            youngest = &checkpoint;
    return youngest != nullptr ? std::optional(*youngest) : std::nullopt;
}

std::optional<Checkpoint> insurance_for(uid_t uid, std::span<const Checkpoint> checkpoints) {
    const Checkpoint *youngest = nullptr;
    for (const auto &checkpoint : checkpoints)
        if (checkpoint.uid == uid && checkpoint.state == "waiting" && checkpoint.kept_running &&
            !checkpoint.this_boot && (youngest == nullptr || checkpoint.created > youngest->created))
            youngest = &checkpoint;
    return youngest != nullptr ? std::optional(*youngest) : std::nullopt;
}

Result<bool> first_attempt(const std::string &id, const std::string &directory) {
    if (!bus::is_checkpoint_id(id))
        return fail(EINVAL, "not the id of a checkpoint: \"{}\"", bus::printable(id));
    if (::mkdir(directory.c_str(), 0700) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", directory);
    auto mark = open_file(directory + "/" + id, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (mark)
        return true;
    if (mark.error().code() == EEXIST)
        return false;
    return std::unexpected(std::move(mark).error());
}

size_t waiting_besides(const Checkpoint &checkpoint, std::span<const Checkpoint> checkpoints) {
    return static_cast<size_t>(std::ranges::count_if(checkpoints, [&](const Checkpoint &other) {
        return waits_for_login(other, checkpoint.uid) && other.id != checkpoint.id;
    }));
}

std::string session_beside(const session::Session &login, std::span<const session::Session> sessions) {
    const auto other = std::ranges::find_if(sessions, [&](const session::Session &one) {
        return one.uid == login.uid && one.id != login.id && session::is_suitable(one);
    });
    return other == sessions.end() ? "" : other->id;
}

std::string waiting_text(const Checkpoint &checkpoint, size_t more) {
    return fmt::format("Your session of {} waits as checkpoint {}.\n"
                       "To continue in it: abeyctl resume {} --attach{}",
                       local_time(checkpoint.created), checkpoint.id, checkpoint.id, and_more(more));
}

std::string being_resumed_text(const Checkpoint &checkpoint, size_t more) {
    return fmt::format("Your session of {} is being resumed.\n"
                       "To continue in it when it is there: abeyctl attach{}",
                       local_time(checkpoint.created), and_more(more));
}

std::string insurance_text(const Checkpoint &checkpoint) {
    return fmt::format(
        "The machine went down with a session of yours in it. Its state of {} is kept as checkpoint {}.\n"
        "To bring that back, files included: abeyctl resume {}",
        local_time(checkpoint.created), checkpoint.id, checkpoint.id);
}

std::string resumed_text(const Checkpoint &checkpoint, const std::string &session, size_t more) {
    return fmt::format("Your session of {} has been resumed as session {}.\n"
                       "To continue in it: abeyctl attach{}",
                       local_time(checkpoint.created), session, and_more(more));
}

std::string not_resumed_text(const Checkpoint &checkpoint, const std::string &reason, size_t more) {
    return fmt::format("Your session of {} still waits as checkpoint {}:\n{}\nTo try again: abeyctl resume {}{}",
                       local_time(checkpoint.created), checkpoint.id, bus::printable(reason), checkpoint.id,
                       and_more(more));
}

} // namespace abey::daemon
