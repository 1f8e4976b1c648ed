// SPDX-License-Identifier: LGPL-2.1-or-later
//
// epoll(7)
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"

#include <algorithm>
#include <unordered_map>

namespace abey::capture {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[eventpoll]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen & /*seen*/) { return model::PollSet{}; }

// The tables that hold an open file, ascending.
using Holders = std::unordered_map<model::ObjRef, std::vector<model::ObjRef>>;

Holders holders_of_files(const model::Tree &tree) {
    Holders holders;
    for (const auto &[id, table] : tree.descriptor_tables)
        for (const auto &descriptor : table.descriptors) {
            auto &tables = holders[descriptor.open_file];
            if (tables.empty() || tables.back() != id)
                tables.push_back(id);
        }
    return holders;
}

// A target can be added again by a task that holds both the epoll file and the target, under whatever number.
bool held_together(const Holders &holders, model::ObjRef a, model::ObjRef b) {
    const auto first = holders.find(a), second = holders.find(b);
    if (first == holders.end() || second == holders.end())
        return false;
    return std::ranges::any_of(first->second,
                               [&](model::ObjRef table) { return std::ranges::binary_search(second->second, table); });
}

Result<> complete_one(Context &context, const Holders &holders, model::OpenFile &file, model::PollSet &set) {
    const auto &files = context.state<OpenFiles>();
    const auto &entry = files.held(file.id);
    const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", entry.file.get())));
    for (const PollLine &line : TRY(parse_poll_lines(info))) {
        const EpollSlot slot = {
            .epoll = entry.file.get(), .number = static_cast<uint32_t>(line.number), .occurrence = line.occurrence};
        const auto *target = files.find(slot, line.inode);
        if (target != nullptr && target->id == 0)
            continue; // preflight: already told
        if (target == nullptr || !held_together(holders, file.id, target->id))
            return fail(
                0,
                "it watches a file, added as descriptor {}, which no process that holds the epoll descriptor has "
                "open any more; end the program",
                line.number);
        set.targets.push_back(
            {.number = line.number, .open_file = target->id, .events = line.events, .data = line.data});
    }
    return {};
}

Result<> complete(Context &context) {
    const Holders holders = holders_of_files(context.tree);
    for (auto &[id, file] : context.tree.open_files) {
        auto *set = std::get_if<model::PollSet>(&file.payload);
        if (set == nullptr)
            continue;
        const auto &seen = context.state<OpenFiles>().held(id).seen;
        if (auto done = complete_one(context, holders, file, *set); !done) {
            if (!context.preflight)
                return within(std::move(done).error(), "{}", seen.described());
            context.findings.push_back({.pid = seen.pid,
                                        .comm = seen.comm,
                                        .object = fmt::format("descriptor {} ({})", seen.number, seen.link),
                                        .reason = done.error().message()});
        }
    }
    return {};
}

} // namespace

Kind poll_set_kind() { return {.name = "epoll", .matches = matches, .capture = capture, .complete = complete}; }

} // namespace abey::capture
