// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which login brings which checkpoint back.
#pragma once

#include "daemon/checkpoints.h"
#include "engine/os/result.h"
#include "session/logind.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace abey::daemon {

// A person at a terminal: not cron, not su, not the session that a keeper opened for a resume.
bool is_login_of_a_person(const session::Session &login);

// The same, but for the terminal, which may be still to come.
bool may_get_a_terminal(const session::Session &login);

// sshd's child tells by its title which terminal it serves: "sshd: ada@pts/3", "sshd-session: ada@pts/3". Empty: none.
std::string terminal_in_title(std::string_view command);

// The youngest checkpoint of this user that has not been resumed yet. None of a session that was kept running: it may
// run still, and a roll-back would take its home away.
std::optional<Checkpoint> waiting_for(uid_t uid, std::span<const Checkpoint> checkpoints);

// The youngest checkpoint of a session of this user that ran on, until the machine went down: it cannot run any more.
std::optional<Checkpoint> insurance_for(uid_t uid, std::span<const Checkpoint> checkpoints);

// True only the first time since boot, also across restarts of the daemon: an automatic resume that failed is not tried
// again at each login, the user is told and decides.
Result<bool> first_attempt(const std::string &id, const std::string &directory = "/run/abeyance/attempted");

// How many others of its user wait as well.
size_t waiting_besides(const Checkpoint &checkpoint, std::span<const Checkpoint> checkpoints);

// Another session that the user of this login has, whatever it is; empty: none. What is done there would be taken away
// by a roll-back that nobody has asked for.
std::string session_beside(const session::Session &login, std::span<const session::Session> sessions);

// What the user's terminal is told. `more`: checkpoints that wait besides.
std::string waiting_text(const Checkpoint &checkpoint, size_t more = 0);
std::string being_resumed_text(const Checkpoint &checkpoint, size_t more = 0);
std::string insurance_text(const Checkpoint &checkpoint);
std::string resumed_text(const Checkpoint &checkpoint, const std::string &session, size_t more = 0);
std::string not_resumed_text(const Checkpoint &checkpoint, const std::string &reason, size_t more = 0);

} // namespace abey::daemon
