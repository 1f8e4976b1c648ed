// SPDX-License-Identifier: LGPL-2.1-or-later
//
// POSIX message queues (mq_overview(7)). Messages can only be seen by taking them. So that a kill of the engine in
// between does not lose them, a process of its own takes them and puts them back, in the order in which they came out.
#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/open_files.h"
#include "engine/os/mapped.h"
#include "engine/os/namespace.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <set>

#include <mqueue.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::capture {
namespace message_queue {
namespace {

constexpr int64_t mqueue_magic = 0x19800202; // ipc/mqueue.c
constexpr std::string_view deleted_mark = " (deleted)";

bool matches(const Seen &seen) {
    struct statfs fs = {};
    return S_ISREG(seen.stat.st_mode) && (seen.flags & O_PATH) == 0 && ::fstatfs(seen.file->get(), &fs) == 0 &&
           int64_t{fs.f_type} == mqueue_magic;
}

// What mq_notify(3) has asked for is only told to who reads the file.
Result<bool> is_notifying(const Seen &seen) {
    const auto file = TRY(abey::open_file(fmt::format("/proc/self/fd/{}", seen.file->get()), O_RDONLY));
    const std::string text = TRY(read_all(file, 4096));
    return text.find("NOTIFY_PID:0") == std::string::npos;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    mq_attr attributes = {};
    if (::syscall(SYS_mq_getsetattr, seen.file->get(), nullptr, &attributes) < 0)
        return fail(errno, "cannot ask for the message queue's attributes");
    if (TRY(is_notifying(seen)))
        return fail(0, "a process waits for a notification of the message queue (mq_notify), which cannot be brought "
                       "back; end the program");
    model::MessageQueue queue;
    queue.number = seen.stat.st_ino;
    queue.unlinked = seen.stat.st_nlink == 0;
    queue.name = seen.link.substr(seen.link.rfind('/'));
    if (queue.unlinked && queue.name.ends_with(deleted_mark))
        queue.name.resize(queue.name.size() - deleted_mark.size());
    queue.most_messages = attributes.mq_maxmsg;
    queue.message_size = attributes.mq_msgsize;
    queue.mode = seen.stat.st_mode & 07777U;
    queue.uid = seen.stat.st_uid;
    queue.gid = seen.stat.st_gid;
    queue.ipc_namespace = context.state<Namespaces>().of_queue_device(seen.stat.st_dev);
    return queue;
}

constexpr size_t most_messages = 65536, most_bytes = 16U << 20U; // HARD_MSGMAX, HARD_MSGSIZEMAX (ipc/mqueue.c)

// What the helper and we both see.
struct Shelf {
    struct Slot {
        uint32_t priority;
        uint32_t size;
    };
    explicit Shelf(const mq_attr &attributes)
        : slots(static_cast<size_t>(attributes.mq_maxmsg)), width(static_cast<size_t>(attributes.mq_msgsize)),
          length(64 + slots * (sizeof(Slot) + width)), memory(length, os::read_write, os::with_children) {}
    [[nodiscard]] size_t &count() const { return *static_cast<size_t *>(memory.at()); }
    [[nodiscard]] Slot &slot(size_t i) const {
        return *reinterpret_cast<Slot *>(static_cast<char *>(memory.at()) + 64 + i * sizeof(Slot));
    }
    [[nodiscard]] char *text(size_t i) const {
        return static_cast<char *>(memory.at()) + 64 + slots * sizeof(Slot) + i * width;
    }

    size_t slots, width, length;
    os::Mapped memory;
};

// In the helper, which nothing but SIGKILL can stop.
void take_and_put_back(int queue, const Shelf &shelf) {
    size_t &count = shelf.count();
    for (count = 0; count < shelf.slots; ++count) {
        Shelf::Slot &slot = shelf.slot(count);
        const long size =
            ::syscall(SYS_mq_timedreceive, queue, shelf.text(count), shelf.width, &slot.priority, nullptr);
        if (size < 0)
            break;
        slot.size = static_cast<uint32_t>(size);
    }
    for (size_t i = 0; i < count; ++i)
        while (::syscall(SYS_mq_timedsend, queue, shelf.text(i), shelf.slot(i).size, shelf.slot(i).priority, nullptr) <
               0) {
            pollfd room = {.fd = queue, .events = POLLOUT, .revents = 0}; // somebody else was quicker: it has to wait
            ::poll(&room, 1, -1);
        }
}

Result<> read_messages(const Fd &seen, model::MessageQueue &queue) {
    // an open file of our own, so that it does not wait
    const Fd own = TRY(abey::open_file(fmt::format("/proc/self/fd/{}", seen.get()), O_RDWR | O_NONBLOCK));
    mq_attr attributes = {};
    if (::syscall(SYS_mq_getsetattr, own.get(), nullptr, &attributes) < 0)
        return fail(errno, "cannot ask for the message queue's attributes");
    if (attributes.mq_curmsgs == 0)
        return {};
    if (attributes.mq_maxmsg <= 0 || static_cast<size_t>(attributes.mq_maxmsg) > most_messages ||
        attributes.mq_msgsize <= 0 || static_cast<size_t>(attributes.mq_msgsize) > most_bytes)
        return fail(EFBIG, "the message queue is too large");
    const Shelf shelf(attributes);
    if (!shelf.memory)
        return fail(errno, "no memory for the messages of the queue");
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t helper = ::fork();
    if (helper == 0) {
        (void)::setsid();
        take_and_put_back(own.get(), shelf);
        ::_exit(0);
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (helper < 0)
        return fail(errno, "cannot make a process that looks at the messages");
    int status = 0;
    if (::waitpid(helper, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(0, "the messages of the queue could not be read");
    for (size_t i = 0; i < shelf.count(); ++i)
        queue.messages.push_back(
            {.priority = shelf.slot(i).priority, .text = std::string(shelf.text(i), shelf.slot(i).size)});
    return {};
}

Result<> open_unopened(Context &context, const Namespaces::Held &held, const std::string &name) {
    const auto inside = TRY(os::Inside::of(held.file, held.type));
    const Fd file(static_cast<int>(::syscall(SYS_mq_open, name.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC, 0, nullptr)));
    if (!file)
        return fail(errno, "cannot open it");
    const Seen seen = TRY(look_at(held.pid, held.comm, file));
    TRY(context.open_file(seen));
    return {};
}

// Those of an ipc namespace of the tree's own end with it: all of them have to be saved, those that nobody has open as
// if somebody had.
void open_unopened(Context &context) {
    for (const auto &[ns, held] : context.state<Namespaces>().held) {
        auto names = held.queue_names;
        for (const auto &[id, file] : context.tree.open_files)
            if (const auto *queue = std::get_if<model::MessageQueue>(&file.payload);
                queue && queue->ipc_namespace == ns)
                names.erase(queue->name.substr(1));
        for (const std::string &name : names)
            if (const auto opened = open_unopened(context, held, name); !opened)
                context.findings.push_back({.pid = held.pid,
                                            .comm = held.comm,
                                            .object = fmt::format("POSIX message queue /{}", name),
                                            .reason = opened.error().message(),
                                            .advice = "remove it, or end this process before the suspend",
                                            .fatal = true});
    }
}

Result<> complete(Context &context) {
    open_unopened(context);
    if (context.preflight)
        return {};
    std::set<uint64_t> done;
    const auto &files = context.state<OpenFiles>();
    for (auto &[id, file] : context.tree.open_files)
        if (auto *queue = std::get_if<model::MessageQueue>(&file.payload); queue && done.insert(queue->number).second)
            TRY_IN(read_messages(files.held(id).file, *queue), "{}", files.held(id).seen.described());
    return {};
}

} // namespace
} // namespace message_queue

Kind message_queue_kind() {
    return {.name = "POSIX message queue",
            .matches = message_queue::matches,
            .capture = message_queue::capture,
            .complete = message_queue::complete,
            .held = true};
}

} // namespace abey::capture
