// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/login_list.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-login.h>

namespace abey::session {
namespace {

constexpr size_t id_limit = 64;

bool is_id(std::string_view text) {
    return !text.empty() && text.size() <= id_limit && std::ranges::all_of(text, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
}

Result<std::vector<std::string>> read_list(const std::string &path) {
    const auto file = TRY(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    std::string text(login_list_limit, '\0');
    const auto size = ::read(file.get(), text.data(), text.size());
    if (size < 0)
        return fail(errno, "cannot read {}", path);
    text.resize(static_cast<size_t>(size));
    std::vector<std::string> logins;
    for (std::string_view rest = text; !rest.empty();) {
        const auto line = rest.substr(0, rest.find('\n'));
        if (is_id(line))
            logins.emplace_back(line);
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    }
    return logins;
}

} // namespace

Result<LoginList> LoginList::make(const std::string &session, std::string_view login, const std::string &directory) {
    if (!is_id(session))
        return fail(EINVAL, "not the id of a session: \"{}\"", session);
    if (::mkdir(directory.c_str(), 0700) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", directory);
    LoginList made;
    const auto path = directory + "/" + session;
    // Another one's of that id is from a keeper that was killed: logind gives no id twice until the next boot
    made.file_ = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600));
    made.path_ = path;
    if (!login.empty())
        TRY(note_login(made.file_, login));
    return made;
}

LoginList::~LoginList() {
    if (!path_.empty())
        ::unlink(path_.c_str());
}

std::string login_of(pid_t pid) {
    char *login = nullptr;
    if (::sd_pid_get_session(pid, &login) < 0)
        return "";
    std::string id(login);
    std::free(login);
    return id;
}

Result<> note_login(const Fd &list, std::string_view login) {
    if (!is_id(login))
        return fail(EINVAL, "not the id of a login: \"{}\"", login);
    return write_all(list, std::string(login) + "\n");
}

Result<std::map<std::string, std::vector<std::string>>> noted_logins(const std::string &directory) {
    std::map<std::string, std::vector<std::string>> lists;
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator(directory, code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        const auto session = it->path().filename().string();
        if (!is_id(session))
            continue;
        if (auto list = read_list(it->path())) // an error: it goes just now
            lists.emplace(session, std::move(*list));
    }
    if (code && code != std::errc::no_such_file_or_directory)
        return fail(code.value(), "cannot list {}", directory);
    return lists;
}

void forget_logins(const std::string &session, const std::string &directory) noexcept {
    if (is_id(session))
        ::unlink((directory + "/" + session).c_str());
}

} // namespace abey::session
