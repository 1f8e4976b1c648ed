// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pipes and fifos.
#include "engine/capture/kinds.h"
#include "engine/capture/open_files.h"

#include <algorithm>
#include <charconv>
#include <climits>

#include <dirent.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace abey::capture {
namespace pipe {
namespace {

// Context::state: pipes by device and number.
struct Pipes {
    std::map<std::pair<uint64_t, uint64_t>, model::ObjRef> by_inode;
};

bool matches(const Seen &seen) { return S_ISFIFO(seen.stat.st_mode) && (seen.flags & O_PATH) == 0; }

Result<model::Payload> capture(Context &context, const Seen &seen) {
    auto &pipes = context.state<Pipes>();
    const std::pair<uint64_t, uint64_t> key = {seen.stat.st_dev, seen.stat.st_ino};
    if (const auto known = pipes.by_inode.find(key); known != pipes.by_inode.end())
        return model::PipeEnd{.pipe = known->second};
    model::Pipe pipe;
    pipe.number = seen.stat.st_ino;
    const int size = ::fcntl(seen.file->get(), F_GETPIPE_SZ);
    if (size < 0)
        return fail(errno, "cannot ask for the size of the pipe");
    pipe.size = static_cast<uint32_t>(size);
    if (!seen.link.starts_with("pipe:["))
        pipe.inode = TRY(context.inode(seen));
    pipe.id = context.tree.next_id();
    const model::ObjRef id = pipe.id;
    context.tree.pipes.emplace(id, std::move(pipe));
    pipes.by_inode.emplace(key, id);
    return model::PipeEnd{.pipe = id};
}

// Everything in our copy of the pipe. One read(2) takes all, or just one packet: that is how packets show, whatever
// mode the ends are in by now.
Result<> read_copy(const Fd &reader, uint32_t flags, model::Pipe &pipe) {
    std::vector<std::byte> buffer(pipe.size);
    for (;;) {
        const ssize_t n = ::read(reader.get(), buffer.data(), buffer.size());
        if (n < 0)
            return fail(errno, "cannot read its unread bytes");
        if (n == 0)
            break;
        pipe.contents.append(reinterpret_cast<const char *>(buffer.data()), static_cast<size_t>(n));
        pipe.packets.push_back(static_cast<uint32_t>(n));
    }
    if (pipe.packets.size() == 1 && (flags & O_DIRECT) == 0)
        pipe.packets.clear();
    for (const uint32_t size : pipe.packets)
        if (size > PIPE_BUF)
            return fail(0, "the pipe holds bytes that were written before it was set to packet mode (O_DIRECT), which "
                           "cannot be brought back; try again later");
    return {};
}

// The unread bytes, by tee(2), which leaves them where they are.
Result<> peek(const Fd &end, uint32_t flags, model::Pipe &pipe) {
    int unread = 0;
    if (::ioctl(end.get(), FIONREAD, &unread) < 0)
        return fail(errno, "cannot ask how much is unread");
    if (unread == 0)
        return {};
    Fd own;
    const Fd *source = &end;
    if ((flags & O_ACCMODE) == O_WRONLY) {
        own = TRY(abey::open_file(fmt::format("/proc/self/fd/{}", end.get()), O_RDONLY | O_NONBLOCK));
        source = &own;
    }
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return fail(errno, "cannot make a pipe");
    const Fd reader(ends[0]);
    Fd writer(ends[1]);
    // as many slots as the original has, so that one call sees all
    if (::fcntl(writer.get(), F_SETPIPE_SZ, pipe.size) < 0)
        return fail(errno, "cannot make a pipe of {} bytes", pipe.size);
    const ssize_t copied = ::tee(source->get(), writer.get(), INT_MAX, SPLICE_F_NONBLOCK);
    if (copied < 0)
        return fail(errno, "cannot peek at its unread bytes");
    writer.reset();
    TRY(read_copy(reader, flags, pipe));
    if (pipe.contents.size() != static_cast<size_t>(unread))
        return fail(0, "only {} of {} unread bytes could be seen; try again", pipe.contents.size(), unread);
    return {};
}

// "process 7 (tee)" for processes outside the tree which hold the pipe; this looks at every process, so it is done only
// when something is amiss.
std::string holders_outside(const Context &context, uint64_t number) {
    const std::string wanted = fmt::format("pipe:[{}]", number);
    std::string found;
    const std::unique_ptr<DIR, int (*)(DIR *)> processes(::opendir("/proc"), ::closedir);
    while (const dirent *process = processes ? ::readdir(processes.get()) : nullptr) {
        const std::string_view name = process->d_name;
        int pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc() || pid == ::getpid() ||
            !context.is_inside || context.is_inside(pid))
            continue;
        const std::string directory = fmt::format("/proc/{}/fd", pid);
        const std::unique_ptr<DIR, int (*)(DIR *)> descriptors(::opendir(directory.c_str()), ::closedir);
        while (const dirent *entry = descriptors ? ::readdir(descriptors.get()) : nullptr) {
            if (read_link(fmt::format("{}/{}", directory, entry->d_name)).value_or("") != wanted)
                continue;
            std::string comm = read_file(fmt::format("/proc/{}/comm", pid)).value_or("?");
            comm.resize(std::min(comm.find('\n'), comm.size()));
            found += fmt::format("{}process {} ({})", found.empty() ? "" : ", ", pid, comm);
            break;
        }
    }
    return found.empty() ? "a process outside" : found;
}

// Is there another end which no process of the tree holds? Ends that nobody holds any more show by poll(2).
bool other_end_open(const Fd &end, bool is_reader) {
    pollfd poll = {.fd = end.get(), .events = static_cast<short>(is_reader ? POLLIN : POLLOUT), .revents = 0};
    if (::poll(&poll, 1, 0) < 0)
        return false;
    return (poll.revents & (is_reader ? POLLHUP : POLLERR)) == 0;
}

// Which open files of the tree are a pipe's ends, one of each; 0: none.
struct Ends {
    model::ObjRef reader = 0, writer = 0;
};

Result<bool> is_empty(Context &context, model::ObjRef id) {
    const Fd end = TRY(context.state<OpenFiles>().file(id));
    int unread = 0;
    return ::ioctl(end.get(), FIONREAD, &unread) == 0 && unread == 0;
}

Result<> complete_one(Context &context, const Ends &ends, model::Pipe &pipe) {
    const model::ObjRef id = ends.reader != 0 ? ends.reader : ends.writer;
    const bool whole = ends.reader != 0 && ends.writer != 0;
    if (whole && (context.preflight || TRY(is_empty(context, id)))) // most pipes are
        return {};
    const auto some = context.state<OpenFiles>().get(id);
    if (!some && context.preflight)
        return {}; // closed meanwhile
    if (!some)
        return std::unexpected(some.error());
    const auto &[file, seen] = **some;
    // A fifo has a name: whoever is outside can open it again. An end of an unnamed pipe outside is lost for good.
    const bool outside = pipe.inode == 0 && !whole && other_end_open(file, ends.reader != 0);
    if (outside)
        context.findings.push_back(
            {.pid = seen.pid,
             .comm = seen.comm,
             .object = fmt::format("descriptor {} ({})", seen.number, seen.link),
             .reason = fmt::format("the other end of the pipe is held by {}: after the restore it will be closed{}",
                                   holders_outside(context, pipe.number),
                                   ends.reader != 0 ? "" : " (writing to it fails with EPIPE)"),
             .advice = "connect the program to a file or a terminal instead",
             .fatal = false});
    if (context.preflight || (ends.reader == 0 && pipe.inode == 0))
        return {}; // what nobody of the tree can read is not ours
    // pipe2(2) sets packet mode for the writing end only
    const uint32_t packets = ends.writer == 0 ? 0 : context.tree.open_files.at(ends.writer).flags & O_DIRECT;
    TRY_IN(peek(file, seen.flags | packets, pipe), "{}", seen.described());
    return {};
}

Result<> complete(Context &context) {
    std::map<model::ObjRef, Ends> all;
    for (const auto &[id, file] : context.tree.open_files)
        if (const auto *end = std::get_if<model::PipeEnd>(&file.payload)) {
            auto &ends = all[end->pipe];
            if ((file.flags & O_ACCMODE) != O_WRONLY)
                ends.reader = id;
            if ((file.flags & O_ACCMODE) != O_RDONLY)
                ends.writer = id;
        }
    for (const auto &[id, ends] : all)
        TRY(complete_one(context, ends, context.tree.pipes.at(id)));
    return {};
}

} // namespace
} // namespace pipe

Kind pipe_kind() {
    return {.name = "pipe", .matches = pipe::matches, .capture = pipe::capture, .complete = pipe::complete};
}

} // namespace abey::capture
