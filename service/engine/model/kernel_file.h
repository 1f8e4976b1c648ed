// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// Open files that stand for a process or something of it.

// pidfd_open(2)
struct ProcessHandle {
    int32_t pid = 0;     // 0: a process that has ended and been waited for
    uint64_t number = 0; // then: inode, the same for all handles of one process (Linux 6.9)
};

// A file or directory of a process in proc(5).
struct ProcessFile {
    int32_t pid = 0;
    Bytes path; // below /proc/PID; empty: that directory itself
    bool dead = false;
};

// A file of /proc/PID/ns (namespaces(7)) of a process of the tree.
struct NamespaceFile {
    int32_t pid = 0;
    Bytes name;               // "net"
    ObjRef own_namespace = 0; // not the session's: the namespace itself
};

struct PosixMessage {
    uint32_t priority = 0;
    Bytes text;
};

// A POSIX message queue (mq_overview(7)).
struct MessageQueue {
    uint64_t number = 0; // inode: open files of one queue share it
    Bytes name;          // with the leading slash
    bool unlinked = false;
    int64_t most_messages = 0, message_size = 0;
    uint32_t mode = 0, uid = 0, gid = 0;
    std::vector<PosixMessage> messages; // as they would be received; with one of the open files that share a queue
    ObjRef ipc_namespace = 0;           // 0: the session's
};

} // namespace abey::model
