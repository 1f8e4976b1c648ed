// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of processes in proc(5). The husks exist by now, what they show is there when they are filled.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/short_life.h"

#include <array>

namespace abey::rebuild {
namespace process_file {
namespace {

// Ids in the path are those of the process at the checkpoint.
std::string path_of(const model::ProcessFile &file, int pid) {
    std::string rest = file.path;
    const std::string own = fmt::format("task/{}", file.pid);
    if (rest == own || rest.starts_with(own + "/"))
        rest = fmt::format("task/{}{}", pid, rest.substr(own.size()));
    return fmt::format("/proc/{}/{}", pid, rest);
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &of_process = std::get<model::ProcessFile>(file.payload);
    const auto flags = static_cast<int>(reopen_flags(file.flags));
    if (!of_process.dead)
        return abey::open_file(path_of(of_process, of_process.pid == 1 && !context.pids.contains(1)
                                                       ? 1
                                                       : TRY(context.pid_here(of_process.pid))),
                               flags);
    const auto other = TRY(ShortLife::begin(of_process.pid)); // ends when we leave here
    return abey::open_file(path_of(of_process, other.pid()), flags);
}

// Positions only now, when there are mappings to count.
Result<> finish(Context &context) {
    for (const auto &[id, file] : context.tree.open_files) {
        if (!std::holds_alternative<model::ProcessFile>(file.payload) || file.position == 0 ||
            (file.flags & O_PATH) != 0)
            continue;
        // some have no position, and those of a process that has ended have no contents: nothing is lost
        const int fd = TRY(context.open_file(id));
        (void)::lseek(fd, static_cast<off_t>(file.position), SEEK_SET);
        // what the kernel has made of the husk's state by now is thrown away by a look at another place (fs/seq_file.c)
        std::array<char, 2> ignored = {};
        (void)!::pread(fd, ignored.data(), file.position == 1 ? 2 : 1, 0);
    }
    return {};
}

} // namespace
} // namespace process_file

Kind process_file_kind() {
    return {.name = "file of a process",
            .payload = payload_index<model::ProcessFile>(),
            .create = process_file::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = process_file::finish};
}

} // namespace abey::rebuild
