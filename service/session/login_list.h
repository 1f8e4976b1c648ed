// SPDX-License-Identifier: LGPL-2.1-or-later
//
// From which logins a session was attached to: the service looks there when a login ends ([attach] of the policy). One
// file for each session that was resumed or run, /run/abeyance/logins/ID, a login's id a line. The directory is root's;
// the keeper makes the file, and the process that serves the terminals, with the user's rights, adds to it through the
// descriptor that it is given. So what stands there is the user's own word, and about that one session only.
#pragma once

#include "engine/os/fd.h"

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace abey::session {

inline constexpr const char *logins_directory = "/run/abeyance/logins";
// Bytes of such a file: the service reads no more, and who writes has this as its limit (RLIMIT_FSIZE).
inline constexpr size_t login_list_limit = 4096;

// The keeper's side; the file goes with it.
class LoginList {
  public:
    // Begins with `login`, when there is one: for whom the session was resumed.
    static Result<LoginList> make(const std::string &session, std::string_view login = "",
                                  const std::string &directory = logins_directory);
    LoginList(LoginList &&other) noexcept : path_(std::exchange(other.path_, {})), file_(std::move(other.file_)) {}
    LoginList(const LoginList &) = delete;
    LoginList &operator=(const LoginList &) = delete;
    LoginList &operator=(LoginList &&) = delete;
    ~LoginList();

    // To be written to; the path stays with this.
    Fd take() { return std::move(file_); }

  private:
    LoginList() = default;
    std::string path_;
    Fd file_;
};

// The login session of the process that attaches; empty: it is in none, as what the service manager of a user has
// started, and nobody is told when that is over.
std::string login_of(pid_t pid);
Result<> note_login(const Fd &list, std::string_view login);

// Session -> logins, of all that there are.
Result<std::map<std::string, std::vector<std::string>>> noted_logins(const std::string &directory = logins_directory);
// What a keeper that was killed has left.
void forget_logins(const std::string &session, const std::string &directory = logins_directory) noexcept;

} // namespace abey::session
