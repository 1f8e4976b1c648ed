// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/cgroup.h"
#include "engine/model/inet_socket.h"
#include "engine/model/inode.h"
#include "engine/model/memory.h"
#include "engine/model/namespace.h"
#include "engine/model/open_file.h"
#include "engine/model/pipe.h"
#include "engine/model/socket.h"
#include "engine/model/system_v.h"
#include "engine/model/task.h"
#include "engine/model/terminal.h"

#include <map>

namespace abey::model {

// What the tree must find again on the machine that it is restored on.
struct Machine {
    Bytes kernel_release;
    Bytes boot_id;          // /proc/sys/kernel/random/boot_id
    Bytes vdso_digest;      // XXH3-128 of the vDSO's pages, hex
    uint64_t xfeatures = 0; // XCR0
    Bytes cpu_model;
    Bytes vdso; // its pages; none in images of the first releases
};

// The clocks as the tasks saw them when they stood still, in nanoseconds.
struct Clocks {
    int64_t realtime = 0;
    int64_t monotonic = 0;
    int64_t boottime = 0;
    int64_t monotonic_raw = 0; // 0: of an image of the first releases
};

// Everything a checkpoint knows besides page contents: tasks, and the objects that they share, by id.
struct Tree {
    Machine machine;
    Clocks clocks;
    std::vector<Task> tasks;     // parents before children
    std::vector<Cgroup> cgroups; // parents before children
    std::map<ObjRef, AddressSpace> address_spaces;
    std::map<ObjRef, DescriptorTable> descriptor_tables;
    std::map<ObjRef, FsContext> fs_contexts;
    std::map<ObjRef, OpenFile> open_files;
    std::map<ObjRef, Inode> inodes;
    std::map<ObjRef, Pipe> pipes;
    std::map<ObjRef, UnixSocket> unix_sockets;
    std::map<ObjRef, InetSocket> inet_sockets;
    std::map<ObjRef, SharedMemory> shared_memory;
    std::map<ObjRef, Terminal> terminals;
    std::map<ObjRef, SemaphoreSet> semaphore_sets;
    std::map<ObjRef, IpcQueue> ipc_queues;
    std::map<ObjRef, Namespace> namespaces;
    std::map<ObjRef, FileSystem> file_systems;
    ObjRef last_id = 0;

    ObjRef next_id() { return ++last_id; }
};

} // namespace abey::model
