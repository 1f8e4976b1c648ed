// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/mount.h"

#include <vector>

namespace abey::model {

// A setting that is the namespace's own, by its path below /proc/sys.
struct NamespaceSetting {
    Bytes name; // "kernel/msgmax"
    Bytes value;
};

// One line of /proc/PID/uid_map (user_namespaces(7)); `outside` as the session's user namespace has them.
struct IdRange {
    uint32_t inside = 0, outside = 0, count = 0;
};

// A namespace (namespaces(7)) other than those of the session.
struct Namespace {
    ObjRef id = 0;
    Bytes type;       // as its file in /proc/PID/ns is called: "uts"
    ObjRef owner = 0; // the user namespace that it belongs to, for one of users the one above; 0: the session's
    std::vector<NamespaceSetting> settings;
    Bytes host_name, domain_name; // uts
    // user
    uint32_t creator = 0; // user id
    std::vector<IdRange> uids, gids;
    bool setgroups_denied = false;
    // net: of those that have nothing but a loopback device
    bool loopback_up = false;
    ObjRef parent = 0;                   // pid: the one above; 0: the session's
    Bytes cgroup;                        // cgroup: its root, as Task::cgroup
    int64_t monotonic = 0, boottime = 0; // time: nanoseconds that its clocks are ahead of the session's
    // mnt
    std::vector<Mount> mounts;
};

} // namespace abey::model
