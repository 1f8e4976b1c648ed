// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Suspend: running processes become a checkpoint. run() is what docs/ARCHITECTURE.md tells, in order.
#pragma once

#include "engine/capture/freeze.h"
#include "engine/capture/kind.h"
#include "engine/os/result.h"
#include "files/files.h"
#include "files/unheld.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace abey::snapshot {
class Provider;
}
namespace abey::policy {
class Policy;
}

namespace abey::suspend {

// One phase of that has begun or moved on. percent is of the whole job, 0 to 100.
struct Progress {
    std::string phase; // "preflight", "home", "freeze", "capture", "rescue", "snapshot", "memory", "commit", "end"
    int percent = 0;
};

struct Request {
    int pid = 0;                            // the root of a process tree, or
    std::string cgroup;                     // a cgroup v2 directory: everything in it and below, or both empty and
    std::vector<capture::Spared> spare;     // processes of the cgroup which are left alone: the frontend
    std::string images;                     // directory of the image: made when missing, must be empty
    std::string pins;                       // where images share copies of system files; empty: they do not
    std::string id;                         // the checkpoint's id, for names in dedicated areas and of snapshots
    const policy::Policy *policy = nullptr; // not null
    snapshot::Provider *home = nullptr;     // null: no home is saved
    std::string runtime_directory;          // XDG_RUNTIME_DIR; empty: what nobody holds in it is not saved
    std::string info;                       // JSON object about the session, kept in the manifest as it is
    bool keep_running = false;
    size_t most_terminals = SIZE_MAX; // that are held from outside: whoever resumes them can serve no more
    std::function<void(const Progress &)> progress; // may be null
    // While all stands still, before this many bytes of memory are written: do they fit? May be null.
    std::function<Result<>(uint64_t bytes)> claim;
};

// The field's names; microseconds and pages.
struct Figures {
    uint64_t freezing_time = 0, frozen_time = 0, memdump_time = 0, memwrite_time = 0;
    uint64_t snapshot_time = 0; // of the home, while all stands still
    uint64_t pages_scanned = 0, pages_skipped = 0, pages_written = 0;
    uint64_t tasks = 0, threads = 0, descriptors = 0, total_time = 0;
};

// By those names.
inline std::map<std::string, uint64_t> named(const Figures &figures) {
    return {{"freezing_time", figures.freezing_time},
            {"frozen_time", figures.frozen_time},
            {"memdump_time", figures.memdump_time},
            {"memwrite_time", figures.memwrite_time},
            {"snapshot_time", figures.snapshot_time},
            {"pages_scanned", figures.pages_scanned},
            {"pages_skipped", figures.pages_skipped},
            {"pages_written", figures.pages_written},
            {"tasks", figures.tasks},
            {"threads", figures.threads},
            {"descriptors", figures.descriptors},
            {"total_time", figures.total_time}};
}

struct Report {
    Figures figures;
    std::vector<capture::Finding> findings; // what will not be exactly as it was
};

// On error the processes run on unharmed and nothing is left behind.
Result<Report> run(const Request &request);

// Preflight alone: what would be refused, what would change. Touches nothing.
Result<std::vector<capture::Finding>> check(const Request &request);

// Preflight for the sake of the files alone: how each that the processes hold comes back, and what else of the runtime
// directory. Touches nothing.
struct Explained {
    std::vector<files::Explanation> files;
    files::Unheld unheld;
};
Result<Explained> explain(const Request &request);

} // namespace abey::suspend
