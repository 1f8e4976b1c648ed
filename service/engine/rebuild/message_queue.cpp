// SPDX-License-Identifier: LGPL-2.1-or-later
//
// POSIX message queues (mq_overview(7)), by the system calls: their names have no leading slash.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/own_namespaces.h"

#include <map>
#include <vector>

#include <mqueue.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace message_queue {
namespace {

// Context::state: by the old inode number; names that were made here, and go away when the restore fails.
struct Queues {
    Queues() = default;
    Queues(const Queues &) = delete;
    Queues &operator=(const Queues &) = delete;
    ~Queues() {
        if (context != nullptr && !context->released)
            for (const std::string &name : names)
                ::syscall(SYS_mq_unlink, name.c_str());
    }
    const Context *context = nullptr;
    std::map<uint64_t, Fd> open;
    std::vector<std::string> names;
};

Result<Fd> open_existing(const model::MessageQueue &queue, const char *name) {
    Fd fd(static_cast<int>(::syscall(SYS_mq_open, name, O_RDONLY | O_CLOEXEC, 0, nullptr)));
    if (!fd)
        return fail(errno, "cannot open the message queue {}", queue.name);
    mq_attr attributes = {};
    if (::syscall(SYS_mq_getsetattr, fd.get(), nullptr, &attributes) < 0)
        return fail(errno, "cannot ask for the message queue's attributes");
    if (attributes.mq_maxmsg != queue.most_messages || attributes.mq_msgsize != queue.message_size)
        return fail(EEXIST, "another message queue is called {} now; remove it", queue.name);
    return fd;
}

Result<Fd> make(const model::MessageQueue &queue, const char *name) {
    mq_attr attributes = {};
    attributes.mq_maxmsg = queue.most_messages;
    attributes.mq_msgsize = queue.message_size;
    constexpr int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    Fd fd(static_cast<int>(::syscall(SYS_mq_open, name, flags, 0600, &attributes)));
    if (!fd)
        return fail(errno, "cannot make the message queue {}", queue.name);
    if (queue.unlinked)
        ::syscall(SYS_mq_unlink, name);
    if (::fchown(fd.get(), queue.uid, queue.gid) < 0 || ::fchmod(fd.get(), queue.mode) < 0)
        return fail(errno, "cannot set owner and mode of the message queue {}", queue.name);
    return fd;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &queue = std::get<model::MessageQueue>(file.payload);
    if (queue.name.size() < 2 || queue.name.find('/', 1) != std::string::npos)
        return fail(EBADMSG, "\"{}\" is not the name of a message queue", queue.name);
    auto &queues = context.state<Queues>();
    queues.context = &context;
    auto known = queues.open.find(queue.number);
    if (known == queues.open.end()) {
        const auto inside = TRY(inside_namespace(context, queue.ipc_namespace));
        std::string name = queue.name.substr(1);
        if (queue.unlinked) // the name may be another's by now
            name += fmt::format(".abeyance-{}", ::getpid());
        auto there = queue.unlinked ? Result<Fd>(fail(ENOENT, "it has no name")) : open_existing(queue, name.c_str());
        if (!there && there.error().code() == ENOENT) {
            there = make(queue, name.c_str());
            if (there && !queue.unlinked && queue.ipc_namespace == 0)
                queues.names.push_back(name);
        }
        known = queues.open.emplace(queue.number, TRY(std::move(there))).first;
    }
    return abey::open_file(fmt::format("/proc/self/fd/{}", known->second.get()),
                           static_cast<int>(reopen_flags(file.flags)));
}

// A queue that was there still has what was in it.
Result<> fill(Context &context) {
    auto &queues = context.state<Queues>();
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *queue = std::get_if<model::MessageQueue>(&file.payload);
        if (queue == nullptr || queue->messages.empty())
            continue;
        const Fd own = TRY(abey::open_file(fmt::format("/proc/self/fd/{}", queues.open.at(queue->number).get()),
                                           O_WRONLY | O_NONBLOCK));
        mq_attr attributes = {};
        if (::syscall(SYS_mq_getsetattr, own.get(), nullptr, &attributes) < 0)
            return fail(errno, "cannot ask for the attributes of the message queue {}", queue->name);
        if (attributes.mq_curmsgs != 0)
            continue;
        for (const model::PosixMessage &message : queue->messages)
            if (::syscall(SYS_mq_timedsend, own.get(), message.text.data(), message.text.size(), message.priority,
                          nullptr) < 0)
                return fail(errno, "cannot put a message back into the queue {}", queue->name);
    }
    return {};
}

} // namespace
} // namespace message_queue

Kind message_queue_kind() {
    return {.name = "POSIX message queue",
            .payload = payload_index<model::MessageQueue>(),
            .create = message_queue::create,
            .fill = message_queue::fill,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
