// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Resume: a checkpoint becomes running processes. run() is what docs/ARCHITECTURE.md tells, in order.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/fd.h"
#include "engine/os/result.h"
#include "files/files.h"
#include "snapshot/provider.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace abey::resume {

enum class Pids : uint8_t { same, in_namespace, automatic };
enum class OnDivergence : uint8_t { rollback, private_home, keep, fail };

struct Progress {
    std::string phase; // "check", "home", "husks", "objects", "adopt", "confirm", "release"
    int percent = 0;
};

struct Request {
    std::string images;
    Pids pids = Pids::automatic;
    OnDivergence on_divergence = OnDivergence::rollback;
    snapshot::Provider *home = nullptr;   // null: the home is left as it is
    std::optional<snapshot::Saved> saved; // its state; else that of which the image tells
    files::OnChanged on_changed;          // null: a file that was written to since ends the resume
    bool keep_checkpoint = false;         // it may be restored again: what it keeps beside the image stays
    std::function<void(const Progress &)> progress;
};

struct Figures {
    uint64_t forking_time = 0, restore_time = 0, pages_restored = 0, total_time = 0;
};

// By the field's names.
inline std::map<std::string, uint64_t> named(const Figures &figures) {
    return {{"forking_time", figures.forking_time},
            {"restore_time", figures.restore_time},
            {"pages_restored", figures.pages_restored},
            {"total_time", figures.total_time}};
}

// A terminal whose master was in the frontend: the keeper holds it from now on.
struct TerminalMaster {
    uint32_t index = 0;     // now
    uint32_t old_index = 0; // at the suspend
    Fd master;
};

struct Report {
    Figures figures;
    std::vector<int> roots; // pids of the root processes, children of the caller
    std::vector<TerminalMaster> terminals;
    std::string displaced_home; // empty: none
    std::string private_home;   // where the home lies that only this session sees; empty: it sees that of everybody
    std::string left_behind;    // why kept files could not be removed, and others not put back; empty: they were
    int reaper = 0;             // with a pid namespace: its pid 1, a child of the caller
};

// The caller becomes the parent of the root processes; tasks run when this returns. On error nothing runs, the home is
// as it was, and the checkpoint can be tried again.
Result<Report> run(const Request &request);

} // namespace abey::resume
