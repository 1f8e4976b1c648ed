// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/colour.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "engine/os/date.h"

#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <unistd.h>

namespace abey::ctl {
namespace {

// Columns of the terminal; 0: it is none, or does not say.
size_t columns_of_terminal() {
    winsize size = {};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void print_table(Table &table, const ListCommand &command, size_t rows, const char *what) {
    if (command.no_legend)
        table.without_header();
    fmt::print("{}", table.text(columns_of_terminal()));
    if (!command.no_legend)
        fmt::print("\n{} {}{} listed.\n", rows, what, rows == 1 ? "" : "s");
}

Result<int> list_displaced(Client &client, const ListCommand &command) {
    std::vector<CheckpointEntry> none;
    if (!command.quick)
        (void)client.measure(none); // finds out which are there still
    const auto entries = TRY(client.list_displaced());
    if (command.json) {
        auto document = nlohmann::json::array();
        for (const auto &entry : entries)
            document.push_back({{"uid", entry.uid},
                                {"home", entry.home},
                                {"place", entry.place},
                                {"checkpoint", entry.checkpoint},
                                {"created", entry.created},
                                {"needed", entry.needed}});
        print_json(document);
        return 0;
    }
    if (entries.empty()) {
        if (!command.no_legend)
            fmt::print("No displaced homes.\n");
        return 0;
    }
    constexpr size_t home = 1;
    Table table({"UID", "HOME", "DISPLACED", "BY", "PLACE"});
    table.align_right(0);
    table.allow_cut(home, 8);
    for (const auto &entry : entries)
        table.add({std::to_string(entry.uid), entry.home, human_ago(entry.created, os::microseconds_of(CLOCK_REALTIME)),
                   entry.checkpoint, entry.place});
    print_table(table, command, entries.size(), "home");
    return 0;
}

std::string marks_of(const CheckpointEntry &entry) {
    std::string marks;
    const auto add = [&](const std::string &mark) { marks += (marks.empty() ? "" : ", ") + mark; };
    if (entry.pinned)
        add("pinned");
    if (entry.kept_running)
        add("ran on");
    if (!entry.trigger.empty())
        add(entry.trigger);
    return marks;
}

void print_checkpoints(const std::vector<CheckpointEntry> &entries, const ListCommand &command) {
    enum { checkpoint, user, session, created, size, exclusive, state, marks };
    constexpr size_t least = 7;
    const bool colour = has_colour();
    Table table({"CHECKPOINT", "USER", "SESSION", "CREATED", "SIZE", "EXCLUSIVE", "STATE", "MARKS"});
    table.align_right(size);
    table.align_right(exclusive);
    for (const size_t column : {user, session, marks})
        table.allow_cut(column, least);
    table.allow_omission(exclusive);
    table.omit_if_empty(marks);
    for (const auto &entry : entries)
        table.add({entry.id, entry.user.empty() ? std::to_string(entry.uid) : entry.user, entry.session,
                   human_ago(entry.created, os::microseconds_of(CLOCK_REALTIME)), human_size(entry.size),
                   entry.exclusive ? human_size(*entry.exclusive) : "-",
                   painted(ctl::tone_of(entry.state), entry.state, colour), marks_of(entry)});
    print_table(table, command, entries.size(), "checkpoint");
    if (command.no_legend)
        return;
    for (const auto &entry : entries)
        if (!entry.problem.empty())
            fmt::print("\n{}: {}\n", entry.id, painted(Tone::warning, entry.problem, colour));
}

} // namespace

Result<int> list(const ListCommand &command) {
    auto client = TRY(Client::connect());
    if (command.displaced)
        return list_displaced(client, command);
    auto entries = TRY(client.list_checkpoints());
    if (!entries.empty())
        TRY(client.describe(entries));
    // Not worth a failure: what was found out last is there
    if (!entries.empty() && !command.quick)
        (void)client.measure(entries);
    if (command.json) {
        auto document = nlohmann::json::array();
        for (const auto &entry : entries)
            document.push_back(to_json(entry));
        print_json(document);
        return 0;
    }
    if (!entries.empty())
        print_checkpoints(entries, command);
    else if (!command.no_legend)
        fmt::print("No checkpoints.\n");
    return 0;
}

} // namespace abey::ctl
