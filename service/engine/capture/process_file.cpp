// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of processes in proc(5), also as /proc/self. Whose they are, their path tells: proc has one name for each.
#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/open_files.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace abey::capture {
namespace process_file {
namespace {

constexpr std::string_view proc = "/proc/";
constexpr int first_process = 1; // there always is one, and its files tell of the one that there is
constexpr std::string_view deleted_mark = " (deleted)";

// "/proc/12/task/12/comm": 12 and "task/12/comm"
std::optional<model::ProcessFile> parse(std::string_view path) {
    if (!path.starts_with(proc))
        return std::nullopt;
    path.remove_prefix(proc.size());
    model::ProcessFile file;
    if (path.ends_with(deleted_mark)) {
        file.dead = true;
        path.remove_suffix(deleted_mark.size());
    }
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), file.pid);
    if (error != std::errc() || file.pid <= 0)
        return std::nullopt;
    path.remove_prefix(static_cast<size_t>(end - path.data()));
    if (!path.empty() && path.front() != '/')
        return std::nullopt;
    file.path = path.empty() ? "" : path.substr(1);
    return file;
}

bool matches(const Seen &seen) {
    struct statfs fs = {};
    return parse(seen.link) && ::fstatfs(seen.file->get(), &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

// As long as the process lives, its names in the holder's /proc lead to the same inodes.
bool is_dead(const Seen &seen) {
    struct stat now = {};
    const std::string path = fmt::format("/proc/{}/root{}", seen.pid, seen.link);
    return ::lstat(path.c_str(), &now) < 0 || now.st_ino != seen.stat.st_ino || now.st_dev != seen.stat.st_dev;
}

// "fdinfo/3", "task/12/fd/3", "map_files/1000-2000": what it tells of has to be there when it is opened.
bool is_of_part(const model::ProcessFile &file) {
    std::string_view path = file.path;
    const std::string own = fmt::format("task/{}/", file.pid);
    if (path.starts_with(own))
        path.remove_prefix(own.size());
    return std::ranges::any_of(std::array<std::string_view, 3>{"fd/", "fdinfo/", "map_files/"},
                               [&](std::string_view directory) { return path.starts_with(directory); });
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const auto parsed = parse(seen.link);
    if (!parsed)
        return fail(EINVAL, "{} is not a file of a process", seen.link);
    model::ProcessFile file = *parsed;
    file.dead = file.dead || is_dead(seen);
    const bool of_thread = file.path.starts_with("task/") && file.path != fmt::format("task/{}", file.pid) &&
                           !file.path.starts_with(fmt::format("task/{}/", file.pid));
    if (of_thread || (file.dead && file.path.find('/') != std::string::npos))
        return fail(0, "it is a file of {} in /proc, which cannot be opened again; close it",
                    of_thread ? "a thread" : "a process that has ended");
    if (file.dead)
        return file;
    if (is_of_part(file))
        return fail(0,
                    "{} tells of a single descriptor or mapping, which will not be there yet when it would have to "
                    "be opened again; close it",
                    seen.link);
    // in a pid namespace of its own, the path names ids of that: complete() looks there
    const auto holder = os::read_status(seen.pid);
    if (holder && context.is_inside) {
        const auto &namespaces = context.state<Namespaces>().by_pid;
        const auto own = namespaces.find(seen.pid);
        if (own != namespaces.end() && std::ranges::any_of(own->second, [&](model::ObjRef id) {
                return context.tree.namespaces.at(id).type == "pid";
            }))
            return fail(0, "it is a file of a process in the /proc of a pid namespace of its own, which cannot be "
                           "opened again yet; close it");
    }
    const bool own_ids = holder && holder->namespaces_deep > 1;
    if (context.is_inside && !own_ids && !context.is_inside(file.pid) && file.pid != first_process)
        return fail(0, "it is a file of process {} in /proc, which is not part of what is suspended; close it",
                    file.pid);
    return file;
}

Result<> complete(Context &context) {
    if (context.preflight)
        return {};
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *of_process = std::get_if<model::ProcessFile>(&file.payload);
        if (of_process == nullptr || of_process->dead || of_process->pid == first_process)
            continue;
        if (std::ranges::none_of(context.tree.tasks,
                                 [&](const model::Task &task) { return task.pid == of_process->pid; })) {
            const auto holder = TRY(context.state<OpenFiles>().get(id));
            return fail(0, "{}: it is a file of process {} in /proc, which is not part of what is suspended; close it",
                        holder->seen.described(), of_process->pid);
        }
    }
    return {};
}

} // namespace
} // namespace process_file

Kind process_file_kind() {
    return {.name = "file of a process",
            .matches = process_file::matches,
            .capture = process_file::capture,
            .complete = process_file::complete};
}

} // namespace abey::capture
