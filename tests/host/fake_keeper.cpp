// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The real keeper with a stand-in for the resume, for tests of the keeper alone: instead of a checkpoint's processes,
// the worker starts a command as the user on a new terminal, which is then handed over as a resume hands it over.
//   fake_keeper UID GID fail|crash|hang|COMMAND [ARGUMENT...]
#include "session/keeper/keeper.h"

#include <array>
#include <csignal>
#include <cstdlib>

#include <grp.h>
#include <pty.h>
#include <unistd.h>
#include <utmp.h>

namespace {

using namespace abey;

Result<resume::Report> start(uid_t uid, gid_t gid, char **command) {
    const std::string_view first = command[0];
    const std::string_view end = first == "fail" || first == "crash" || first == "hang" ? first : "";
    if (end == "fail")
        return fail(ENOENT, "the stand-in was told to fail");
    int master = -1;
    int slave = -1;
    std::array<char, 64> name = {};
    const winsize size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master, &slave, name.data(), nullptr, &size) < 0)
        return fail(errno, "cannot make a terminal");
    const pid_t child = ::fork();
    if (child < 0)
        return fail(errno, "cannot fork");
    if (child == 0) {
        ::close(master);
        if (::fchown(slave, uid, gid) < 0 || ::login_tty(slave) < 0 || ::close_range(3, ~0U, 0) < 0 ||
            ::setgroups(0, nullptr) < 0 || ::setresgid(gid, gid, gid) < 0 || ::setresuid(uid, uid, uid) < 0)
            ::_exit(126);
        if (end.empty())
            ::execvp(command[0], command);
        else
            ::pause(); // somebody is there when the worker ends
        ::_exit(127);
    }
    ::close(slave);
    if (end == "crash")
        ::raise(SIGKILL);
    if (end == "hang")
        ::pause();
    resume::Report report;
    report.roots = {child};
    const auto index = static_cast<uint32_t>(std::atoi(name.data() + std::string_view("/dev/pts/").size()));
    report.terminals.push_back({.index = index, .old_index = 77, .master = Fd(master)});
    return report;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    const auto uid = static_cast<uid_t>(std::atoi(argv[1]));
    const auto gid = static_cast<gid_t>(std::atoi(argv[2]));
    session::Keep request;
    request.uid = uid;
    request.work = [&](const session::ReportProgress &progress) {
        progress({.phase = "husks", .percent = 50});
        return start(uid, gid, argv + 3);
    };
    request.progress = [](const resume::Progress &progress) {
        fmt::print("{} {}\n", progress.phase, progress.percent);
    };
    request.ready = [](const std::string &id, const resume::Report &report) -> Result<> {
        fmt::print("session {} root {} terminal {}\n", id, report.roots.at(0), report.terminals.at(0).index);
        std::fflush(stdout);
        return {};
    };
    request.complain = [](const Error &error) { fmt::print("{}\n", error.message()); };
    const auto kept = session::keep(request);
    fmt::print("{}\n", kept ? "ended" : kept.error().message());
    return kept ? 0 : 1;
}
