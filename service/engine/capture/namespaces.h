// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Namespaces (namespaces(7)) that processes of the tree are in and the session is not.
#pragma once

#include "engine/capture/freeze.h"
#include "engine/capture/kind.h"

#include <set>
#include <span>

namespace abey::capture {

// Context::state
struct Namespaces {
    struct Held {
        std::string type;
        Fd file;
        int pid = 0; // the first process that was found in it
        std::string comm;
        uint64_t queue_device = 0;         // ipc: of its POSIX message queues
        std::set<std::string> queue_names; // without the slash
    };
    std::map<std::string, std::string, std::less<>> own; // the session's links, by name
    std::map<std::string, model::ObjRef> by_link;        // "uts:[4026532201]"
    std::map<model::ObjRef, Held> held;
    std::map<int, std::vector<model::ObjRef>> by_pid; // where there are any
    std::map<int, model::ObjRef> pids_of_children;    // where they are others than the process's own
    std::map<int, std::string> cgroups;               // of processes, below the tree's
    std::string first_offsets;                        // of the session's clocks, as /proc/PID/timens_offsets has them

    // The ipc namespace with this device of message queues; 0: the session's.
    [[nodiscard]] model::ObjRef of_queue_device(uint64_t device) const;
};

// The ipc namespace of a process; 0: the session's.
model::ObjRef ipc_namespace_of(Context &context, int pid);

// Of the ipc namespace that we are in.
Result<uint64_t> own_queue_device();

// Before all else, of all processes: which namespaces are the session's own.
void look_at_session(Context &context, std::span<const os::ProcStat *const> processes);

// Then for every process. What cannot be restored becomes a finding.
Result<> capture_namespaces(Context &context, const os::ProcStat &stat);

// When all tasks are known: setns(2) wants a process alone in its directory, and the restore a table of its own.
void check_user_namespaces(Context &context);

} // namespace abey::capture
