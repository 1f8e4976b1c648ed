// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

// What all objects of System V IPC have (sysvipc(7)): struct ipc_perm, and the identifier that programs know it by.
struct IpcIdentity {
    int32_t identifier = 0, key = 0;
    uint32_t uid = 0, gid = 0, creator_uid = 0, creator_gid = 0;
    uint32_t mode = 0;
};

struct Semaphore {
    uint32_t value = 0;
    int32_t last_user = 0; // GETPID; 0: no task of the tree
};

// semget(2)
struct SemaphoreSet {
    ObjRef id = 0;
    IpcIdentity identity;
    std::vector<Semaphore> semaphores;
    ObjRef ipc_namespace = 0; // 0: the session's
};

struct IpcMessage {
    int64_t type = 0;
    Bytes text;
};

// msgget(2)
struct IpcQueue {
    ObjRef id = 0;
    IpcIdentity identity;
    uint64_t most_bytes = 0;                    // msg_qbytes
    int32_t last_sender = 0, last_receiver = 0; // 0: no task of the tree
    std::vector<IpcMessage> messages;           // oldest first
    ObjRef ipc_namespace = 0;                   // 0: the session's
};

} // namespace abey::model
