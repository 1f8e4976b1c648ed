// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Mount namespaces (mount_namespaces(7)) that processes of the tree are in and the session is not.
#pragma once

#include "engine/capture/namespaces.h"
#include "engine/os/errand.h"
#include "engine/os/mount_table.h"

#include <optional>

namespace abey::capture {

// Context::state
struct MountNamespaces {
    struct One {
        os::Errand scout; // a process in it
        Fd root;
        std::string comm;
    };
    struct Place {
        model::ObjRef mount_namespace = 0;
        uint32_t mount = 0; // index in the namespace's list
    };
    std::map<model::ObjRef, One> own;
    std::map<uint64_t, Place> by_id;                                     // mounts of those, as mountinfo numbers them
    std::map<std::pair<unsigned, unsigned>, model::ObjRef> file_systems; // to be made again, by device
    std::map<int, model::ObjRef> by_pid;
    os::MountTable session; // ours
};

// Fills ns.mounts, and adds file systems that are to be made again. An error says what cannot be restored.
Result<> look_into_mounts(Context &context, const os::ProcStat &stat, const Namespaces::Held &held,
                          model::Namespace &ns);

// The contents of a file system of memory, as a mount of its directory `base` ("" for its root) shows them that has
// nothing mounted below.
Result<> capture_contents(Context &context, const os::ProcStat &stat, const Fd &top, const std::string &base,
                          model::FileSystem &file_system);

// A place at which this process sees another directory of the session's file systems than the session does; "": none.
std::string differing_mount(Context &context, int pid);

// Where a file lies; nothing: not in a mount namespace of the tree's own.
std::optional<MountNamespaces::Place> place_of(Context &context, uint64_t mount_id);

} // namespace abey::capture
