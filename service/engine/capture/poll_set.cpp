// SPDX-License-Identifier: LGPL-2.1-or-later
//
// epoll(7)
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"

namespace abey::capture {
namespace poll_set {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[eventpoll]"; }

Result<model::Payload> capture(Context & /*context*/, const Seen & /*seen*/) { return model::PollSet{}; }

Result<> complete_one(Context &context, const model::OpenFile &file, model::PollSet &set) {
    const auto &files = context.state<OpenFiles>();
    const auto &entry = files.held(file.id);
    const std::string info = TRY(read_file(fmt::format("/proc/self/fdinfo/{}", entry.file.get())));
    for (const PollLine &line : TRY(parse_poll_lines(info))) {
        const EpollSlot slot = {
            .epoll = entry.file.get(), .number = static_cast<uint32_t>(line.number), .occurrence = line.occurrence};
        const auto target = files.find(slot, line.inode);
        if (target == 0)
            continue; // preflight: already told
        if (!target)
            return fail(
                0,
                "it watches a file, added as descriptor {}, which no process of the session has open any more; end the "
                "program",
                line.number);
        set.targets.push_back({.number = line.number, .open_file = *target, .events = line.events, .data = line.data});
    }
    return {};
}

Result<> complete(Context &context) {
    for (auto &[id, file] : context.tree.open_files) {
        auto *set = std::get_if<model::PollSet>(&file.payload);
        if (set == nullptr)
            continue;
        const auto &seen = context.state<OpenFiles>().held(id).seen;
        if (auto done = complete_one(context, file, *set); !done) {
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
} // namespace poll_set

Kind poll_set_kind() {
    return {.name = "epoll",
            .matches = poll_set::matches,
            .capture = poll_set::capture,
            .complete = poll_set::complete,
            .held = true};
}

} // namespace abey::capture
