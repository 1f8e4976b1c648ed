// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/terminals.h"

#include "ctl/output.h"
#include "ctl/text.h"
#include "dbus/names.h"
#include "engine/os/procfs.h"
#include "session/attach.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace abey::ctl {
namespace {

constexpr unsigned first_pts_major = 136; // Documentation/admin-guide/devices.txt: 136 to 143, 256 terminals each
constexpr unsigned last_pts_major = 143;

// N of /dev/pts/N -> the program in its foreground, as far as /proc tells.
std::map<uint32_t, std::string> programs_in_front() {
    std::map<uint32_t, std::string> programs;
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator("/proc", code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        const auto name = it->path().filename().string();
        int pid = 0;
        if (const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
            error != std::errc() || end != name.data() + name.size())
            continue;
        const auto stat = os::read_stat(pid);
        if (!stat || stat->foreground != pid || stat->terminal == 0)
            continue;
        // tty_nr is a number of the kernel's own making, as makedev(3) makes of it (proc_pid_stat(5))
        const auto device = static_cast<dev_t>(static_cast<unsigned>(stat->terminal));
        if (major(device) >= first_pts_major && major(device) <= last_pts_major)
            programs[(major(device) - first_pts_major) * 256 + minor(device)] = stat->comm;
    }
    return programs;
}

std::string size_text(const session::WindowSize &size) {
    return size.rows == 0 ? "-" : fmt::format("{}x{}", size.columns, size.rows);
}

} // namespace

Result<int> list_terminals(const AttachCommand &command) {
    const auto sessions = command.session.empty() ? TRY(session::attachable_sessions(::getuid()))
                                                  : std::vector<std::string>{command.session};
    const auto programs = programs_in_front();
    auto document = nlohmann::json::array();
    Table table({"SESSION", "TERMINAL", "FORMER", "SIZE", "ATTACHED", "PROGRAM"});
    size_t rows = 0;
    int status = 0;
    for (const auto &id : sessions) {
        const auto entries = session::terminals_of(id);
        if (!entries && sessions.size() == 1)
            return std::unexpected(entries.error());
        auto terminals = nlohmann::json::array();
        if (!entries) { // the others are there all the same
            fmt::print(stderr, "abeyctl: {}\n", entries.error().message());
            status = 1;
            document.push_back({{"session", id}, {"terminals", terminals}, {"error", entries.error().message()}});
            continue;
        }
        for (const auto &one : *entries) {
            const auto found = programs.find(one.index);
            const auto comm = found != programs.end() ? bus::printable(found->second) : std::string();
            terminals.push_back({{"terminal", one.index},
                                 {"former", one.old_index},
                                 {"rows", one.size.rows},
                                 {"columns", one.size.columns},
                                 {"attached", one.attached},
                                 {"program", comm}});
            table.add({id, fmt::format("pts/{}", one.index),
                       one.old_index == one.index ? "-" : fmt::format("pts/{}", one.old_index), size_text(one.size),
                       one.attached ? "yes" : "no", comm.empty() ? "-" : comm});
            rows++;
        }
        document.push_back({{"session", id}, {"terminals", terminals}});
    }
    if (command.json)
        print_json(document);
    else if (rows == 0)
        fmt::print("No terminals.\n");
    else
        fmt::print("{}\n{} terminal{} listed.\n", table.text(), rows, rows == 1 ? "" : "s");
    return status;
}

} // namespace abey::ctl
