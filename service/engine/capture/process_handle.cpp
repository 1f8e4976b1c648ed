// SPDX-License-Identifier: LGPL-2.1-or-later
//
// pidfd_open(2): fdinfo tells which process it is; -1 when nobody can wait for that any more.
#include "engine/capture/fdinfo.h"
#include "engine/capture/kinds.h"
#include "engine/os/procfs.h"

#include <charconv>

namespace abey::capture {
namespace process_handle {
namespace {

bool matches(const Seen &seen) { return seen.link == "anon_inode:[pidfd]" || seen.link.starts_with("pidfd:"); }

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const auto text = info_field(seen.info, "Pid");
    int pid = 0;
    if (!text || std::from_chars(text->data(), text->data() + text->size(), pid).ec != std::errc() || pid == 0)
        return fail(0, "it is a descriptor (pidfd) of a process in another pid namespace; end the program that holds "
                       "it");
    if (pid < 0)
        return model::ProcessHandle{.pid = 0, .number = seen.stat.st_ino};
    if (context.is_inside && !context.is_inside(pid))
        return fail(0,
                    "it is a descriptor (pidfd) of process {}, which is not part of what is suspended; end the program "
                    "that holds it",
                    pid);
    // one of a thread can only be told by asking who leads it
    const auto status = os::read_status(pid);
    if (status && status->own_pid != status->own_tid)
        return fail(0,
                    "it is a descriptor (pidfd) of thread {}, which cannot be brought back; end the program that "
                    "holds it",
                    pid);
    return model::ProcessHandle{.pid = pid, .number = 0};
}

} // namespace
} // namespace process_handle

Kind process_handle_kind() {
    return {
        .name = "pidfd", .matches = process_handle::matches, .capture = process_handle::capture, .complete = nullptr};
}

} // namespace abey::capture
