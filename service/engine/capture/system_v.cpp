// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System V IPC (sysvipc(7)) that no mapping leads to: semaphores, message queues, segments that nobody has attached.
// They belong to no process, so that the last user is all the kernel knows. Told, not kept.
#include "engine/capture/kinds.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include <sys/sem.h>

namespace abey::capture {
namespace {

struct Object {
    std::string_view what;
    int identifier = 0;
    int user = 0; // a process of the tree that has used it
};

bool matches(const Seen & /*seen*/) { return false; }

// The lines of a table in /proc/sysvipc without its head; none when the kernel has no such table.
std::vector<std::string> rows(const char *table) {
    std::vector<std::string> result;
    const auto text = read_file(fmt::format("/proc/sysvipc/{}", table));
    if (!text)
        return result;
    std::istringstream lines(*text);
    std::string line;
    for (std::getline(lines, line); std::getline(lines, line);)
        result.push_back(line);
    return result;
}

std::vector<Object> used_by(const std::function<bool(int)> &inside) {
    std::vector<Object> found;
    const auto add = [&](std::string_view what, int identifier, int first, int second) {
        if (inside(first) || inside(second))
            found.push_back({what, identifier, inside(first) ? first : second});
    };
    int id = 0, first = 0, second = 0;
    unsigned long count = 0;
    for (const std::string &row : rows("shm"))
        if (std::sscanf(row.c_str(), "%*d %d %*o %*u %d %d %lu", &id, &first, &second, &count) == 4 && count == 0)
            add("shared memory", id, first, second);
    for (const std::string &row : rows("msg"))
        if (std::sscanf(row.c_str(), "%*d %d %*o %*u %*u %d %d", &id, &first, &second) == 3)
            add("message queue", id, first, second);
    constexpr int most = 32; // semaphores of a set that are asked
    for (const std::string &row : rows("sem")) {
        int size = 0;
        if (std::sscanf(row.c_str(), "%*d %d %*o %d", &id, &size) != 2)
            continue;
        for (int number = 0; number < std::min(size, most); ++number) {
            const int user = ::semctl(id, number, GETPID);
            if (user <= 0 || !inside(user))
                continue;
            add("semaphores", id, user, 0);
            break;
        }
    }
    return found;
}

Result<> complete(Context &context) {
    if (!context.is_inside)
        return {};
    for (const Object &object : used_by(context.is_inside)) {
        const auto stat = os::read_stat(object.user);
        context.findings.push_back({.pid = object.user,
                                    .comm = stat ? stat->comm : "?",
                                    .object = fmt::format("System V {} {}", object.what, object.identifier),
                                    .reason = "it is not part of the checkpoint: it lasts until the machine is booted "
                                              "again, or until logind removes it at the user's logout",
                                    .advice = "set RemoveIPC=no in logind.conf(5), and resume before a reboot",
                                    .fatal = false});
    }
    return {};
}

} // namespace

Kind system_v_kind() { return {.name = "System V IPC", .matches = matches, .capture = nullptr, .complete = complete}; }

} // namespace abey::capture
