// SPDX-License-Identifier: LGPL-2.1-or-later
//
// POSIX message queues (mq_overview(7)). Messages can only be seen by taking them, which would be lost if we were
// killed then: a queue must be empty.
#include "engine/capture/kinds.h"

#include <mqueue.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

namespace abey::capture {
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

Result<model::Payload> capture(Context & /*context*/, const Seen &seen) {
    mq_attr attributes = {};
    if (::syscall(SYS_mq_getsetattr, seen.file->get(), nullptr, &attributes) < 0)
        return fail(errno, "cannot ask for the message queue's attributes");
    if (attributes.mq_curmsgs != 0)
        return fail(0,
                    "there are {} messages in the message queue, which cannot be taken out without losing them; let "
                    "the program receive them first",
                    attributes.mq_curmsgs);
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
    return queue;
}

} // namespace

Kind message_queue_kind() {
    return {.name = "POSIX message queue", .matches = matches, .capture = capture, .complete = nullptr};
}

} // namespace abey::capture
