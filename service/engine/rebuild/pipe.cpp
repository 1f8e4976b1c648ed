// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pipes and fifos.
#include "engine/rebuild/kinds.h"

#include <optional>
#include <unordered_map>

#include <sys/ioctl.h>

namespace abey::rebuild {
namespace pipe {
namespace {

// How many open files a pipe's ends are.
struct Users {
    size_t readers = 0, writers = 0;
    bool both = false; // one is open for reading and writing
};

// Context::state: both ends of each pipe, until it is filled. Then those close which no open file of the tree is; the
// others belong to the context, and only their numbers are known here. A plain pipe is filled as soon as it is made,
// and its other end stays here until somebody asks for it.
struct Pipes {
    struct Ends {
        Fd read, write;
        int read_number = -1, write_number = -1;
    };
    std::map<model::ObjRef, Ends> made;
    std::optional<std::unordered_map<model::ObjRef, Users>> users;
};

const Users &users_of(Context &context, model::ObjRef pipe) {
    auto &users = context.state<Pipes>().users;
    if (!users) {
        users.emplace();
        for (const auto &[id, file] : context.tree.open_files)
            if (const auto *end = std::get_if<model::PipeEnd>(&file.payload)) {
                auto &own = (*users)[end->pipe];
                own.readers += (file.flags & O_ACCMODE) != O_WRONLY ? 1 : 0;
                own.writers += (file.flags & O_ACCMODE) != O_RDONLY ? 1 : 0;
                own.both |= (file.flags & O_ACCMODE) == O_RDWR;
            }
    }
    return (*users)[pipe];
}

// Without a name, and with no more than the two open files that pipe2(2) makes.
bool is_plain_pipe(Context &context, model::ObjRef id) {
    const auto pipe = context.tree.pipes.find(id);
    const Users &users = users_of(context, id);
    return pipe != context.tree.pipes.end() && pipe->second.inode == 0 && users.readers <= 1 && users.writers <= 1 &&
           !users.both;
}

bool is_plain(Context &context, const model::OpenFile &file) {
    return is_plain_pipe(context, std::get<model::PipeEnd>(file.payload).pipe);
}

Result<> make(Context &context, const model::Pipe &pipe, Pipes::Ends &ends) {
    if (pipe.inode != 0) {
        // for reading and writing: the one way to open a fifo that never waits for another
        const model::Inode *inode = TRY(find(context.tree.inodes, pipe.inode));
        ends.read = TRY(context.files.open(*inode, O_RDWR | O_NONBLOCK));
        ends.write = TRY(duplicate(ends.read));
    } else {
        int both[2] = {-1, -1};
        if (::pipe2(both, O_CLOEXEC) < 0)
            return fail(errno, "cannot make a pipe");
        ends.read = Fd(both[0]);
        ends.write = Fd(both[1]);
    }
    ends.read_number = ends.read.get();
    ends.write_number = ends.write.get();
    const int size = ::fcntl(ends.write_number, F_GETPIPE_SZ);
    if (size >= 0 && static_cast<uint32_t>(size) != pipe.size &&
        ::fcntl(ends.write_number, F_SETPIPE_SZ, pipe.size) < 0)
        return fail(errno, "cannot make a pipe of {} bytes; raise /proc/sys/fs/pipe-max-size", pipe.size);
    return {};
}

Result<> fill_one(const model::Pipe &pipe, const Pipes::Ends &ends);

Result<Fd> create_plain(Context &context, const model::OpenFile &file) {
    const model::ObjRef id = std::get<model::PipeEnd>(file.payload).pipe;
    const model::Pipe &pipe = context.tree.pipes.at(id);
    const bool reads = (file.flags & O_ACCMODE) == O_RDONLY;
    auto &waiting = context.state<Pipes>().made;
    if (const auto half = waiting.find(id); half != waiting.end()) {
        Fd end = std::move(reads ? half->second.read : half->second.write);
        waiting.erase(half);
        return end;
    }
    Pipes::Ends ends;
    TRY(make(context, pipe, ends));
    TRY_IN(fill_one(pipe, ends), "pipe {}", id);
    Fd end = std::move(reads ? ends.read : ends.write);
    const Users &users = users_of(context, id);
    if ((reads ? users.writers : users.readers) != 0)
        waiting.emplace(id, std::move(ends));
    return end;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    if (is_plain(context, file))
        return create_plain(context, file);
    const model::ObjRef id = std::get<model::PipeEnd>(file.payload).pipe;
    const model::Pipe *pipe = TRY(find(context.tree.pipes, id));
    auto &ends = context.state<Pipes>().made[id];
    if (ends.read_number < 0)
        TRY(make(context, *pipe, ends));
    const uint32_t mode = file.flags & O_ACCMODE;
    // Flags of open(2) that show in F_GETFL are exact only for the ends that pipe2(2) made: the first of each
    if (pipe->inode == 0 && mode == O_RDONLY && ends.read)
        return std::move(ends.read);
    if (pipe->inode == 0 && mode == O_WRONLY && ends.write)
        return std::move(ends.write);
    if (pipe->inode != 0) {
        const model::Inode *inode = TRY(find(context.tree.inodes, pipe->inode));
        return context.files.open(*inode, mode | O_NONBLOCK);
    }
    return abey::open_file(fmt::format("/proc/self/fd/{}", ends.read_number), static_cast<int>(mode) | O_NONBLOCK);
}

Result<> fill_one(const model::Pipe &pipe, const Pipes::Ends &ends) {
    int unread = 0;
    if (::ioctl(ends.read_number, FIONREAD, &unread) < 0)
        return fail(errno, "cannot ask how much is unread in the pipe");
    if (pipe.contents.empty() || unread != 0)
        return {}; // a fifo that others kept open still has what was in it
    if (pipe.contents.size() > pipe.size)
        return fail(EBADMSG, "the checkpoint has more in a pipe than fits");
    // an open file of its own, so as not to wait, whatever the flags of the tasks' are
    const Fd writer = TRY(abey::open_file(fmt::format("/proc/self/fd/{}", ends.write_number), O_WRONLY | O_NONBLOCK));
    if (pipe.packets.empty())
        return write_all(writer, pipe.contents);
    if (::fcntl(writer.get(), F_SETFL, O_NONBLOCK | O_DIRECT) < 0)
        return fail(errno, "cannot set it to packet mode");
    size_t at = 0;
    for (const uint32_t size : pipe.packets) {
        TRY(write_all(writer, std::string_view(pipe.contents).substr(at, size)));
        at += size;
    }
    return {};
}

Result<> fill(Context &context) {
    auto &pipes = context.state<Pipes>();
    for (auto made = pipes.made.begin(); made != pipes.made.end();) {
        const auto &[id, ends] = *made;
        if (is_plain_pipe(context, id)) { // filled; the other end is still wanted
            ++made;
            continue;
        }
        TRY_IN(fill_one(context.tree.pipes.at(id), ends), "pipe {}", id);
        made = pipes.made.erase(made);
    }
    return {};
}

} // namespace
} // namespace pipe

Kind pipe_kind() {
    return {.name = "pipe",
            .payload = payload_index<model::PipeEnd>(),
            .create = pipe::create,
            .fill = pipe::fill,
            .in_task = nullptr,
            .finish = nullptr,
            .late = pipe::is_plain};
}

} // namespace abey::rebuild
