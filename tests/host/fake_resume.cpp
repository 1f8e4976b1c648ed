// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The real abey-keeper with a stand-in for the engine, for tests of what is around it: the home is rolled back as the
// pipeline does it, but what comes back is a fresh shell of the user's on a new terminal. ABEY_FAULT=error fails after
// the roll-back and puts the home back, rolled-back kills the worker there, hang makes it wait there; released kills
// the keeper when a process that minds no hangup runs already.
#include "resume/resume.h"
#include "snapshot/provider.h"
#include "store/records.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <optional>

#include <grp.h>
#include <pty.h>
#include <unistd.h>
#include <utmp.h>

namespace abey::resume {
namespace {

[[noreturn]] void be_shell(int terminal, uid_t uid, const std::string &home) {
    if (::fchown(terminal, uid, static_cast<gid_t>(-1)) == 0 && ::login_tty(terminal) == 0 &&
        ::close_range(3, ~0U, 0) == 0 && ::setgroups(0, nullptr) == 0 && ::setresgid(uid, uid, uid) == 0 &&
        ::setresuid(uid, uid, uid) == 0 && ::chdir(home.c_str()) == 0) {
        ::setenv("PS1", "restored$ ", 1);
        ::setenv("TERM", "linux", 1);
        ::execlp("bash", "bash", "--norc", "--noprofile", "-i", nullptr);
    }
    ::_exit(126);
}

// It does not mind the end of its terminal.
[[noreturn]] void be_sleeper(uid_t uid) {
    if (::close_range(3, ~0U, 0) == 0 && ::signal(SIGHUP, SIG_IGN) != SIG_ERR && ::setresuid(uid, uid, uid) == 0)
        ::execlp("sleep", "sleep", "1000", nullptr);
    ::_exit(126);
}

} // namespace

Result<Report> run(const Request &request) {
    const std::string checkpoint = request.images + "/../";
    const std::string about_text = TRY(read_file(checkpoint + "about.json"));
    const auto about = TRY(store::about_from_json(about_text));
    request.progress({.phase = "home", .percent = 20});
    Report report;
    std::optional<snapshot::Displaced> displaced;
    if (request.home != nullptr) {
        const std::string saved_text = TRY(read_file(checkpoint + "home.json"));
        const auto saved = TRY(store::saved_from_json(saved_text));
        displaced = TRY(request.home->roll_back(saved));
        report.displaced_home = displaced->place;
    }
    const char *fault = std::getenv("ABEY_FAULT");
    const std::string_view wanted = fault == nullptr ? "" : fault;
    if (wanted == "rolled-back")
        ::raise(SIGKILL);
    if (wanted == "hang")
        ::pause();
    if (wanted == "error") {
        if (displaced)
            TRY(request.home->undo(*displaced));
        return fail(EBUSY, "process 1 (init): the stand-in was told to fail");
    }
    int master = -1;
    int slave = -1;
    std::array<char, 64> name = {};
    const winsize size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    if (::openpty(&master, &slave, name.data(), nullptr, &size) < 0)
        return fail(errno, "cannot make a terminal");
    const pid_t child = ::fork();
    if (child < 0)
        return fail(errno, "cannot fork");
    if (child == 0 && wanted == "released")
        be_sleeper(about.uid);
    if (child == 0)
        be_shell(slave, about.uid, about.home);
    ::close(slave);
    if (wanted == "released") { // everything runs, and the keeper dies before it could say so
        ::kill(::getppid(), SIGKILL);
        ::pause();
    }
    report.roots = {child};
    const auto index = static_cast<uint32_t>(std::atoi(name.data() + std::string_view("/dev/pts/").size()));
    report.terminals.push_back({.index = index, .old_index = index, .master = Fd(master)});
    report.figures.total_time = 1;
    return report;
}

} // namespace abey::resume
