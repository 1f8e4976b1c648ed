// SPDX-License-Identifier: LGPL-2.1-or-later
//
// pidfd_open(2). The husks exist by now.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/short_life.h"

#include <sys/syscall.h>

namespace abey::rebuild {
namespace {

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
    const auto other = TRY(ShortLife::begin(0)); // ends when we leave here
    return open(other.pid(), file.flags);
}

} // namespace

Kind process_handle_kind() {
    return {.name = "pidfd",
            .payload = payload_index<model::ProcessHandle>(),
            .create = create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
