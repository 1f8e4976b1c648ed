// SPDX-License-Identifier: LGPL-2.1-or-later
//
// pidfd_open(2). The husks exist by now.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/short_life.h"

#include <map>

#include <sys/syscall.h>

namespace abey::rebuild {
namespace process_handle {
namespace {

// Context::state
struct Ended {
    std::map<uint64_t, ShortLife> by_number;
};

Result<Fd> open(int pid, uint32_t flags) {
    constexpr uint32_t kept = O_NONBLOCK | O_EXCL; // PIDFD_NONBLOCK, PIDFD_THREAD
    Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, flags & kept)));
    if (!fd)
        return fail(errno, "cannot open a pidfd of process {}", pid);
    return fd;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &handle = std::get<model::ProcessHandle>(file.payload);
    if (handle.pid != 0)
        return open(TRY(context.pid_here(handle.pid)), file.flags);
    // One stands for each that had ended, until all its handles are there.
    auto &others = context.state<Ended>().by_number;
    auto other = others.find(handle.number);
    if (other == others.end())
        other = others.emplace(handle.number, TRY(ShortLife::begin(0))).first;
    return open(other->second.pid(), file.flags);
}

Result<> fill(Context &context) {
    context.state<Ended>().by_number.clear();
    return {};
}

} // namespace
} // namespace process_handle

Kind process_handle_kind() {
    return {.name = "pidfd",
            .payload = payload_index<model::ProcessHandle>(),
            .create = process_handle::create,
            .fill = process_handle::fill,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
