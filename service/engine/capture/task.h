// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A stopped process becomes a model::Task with its threads and its address space. Descriptors: descriptors.h.
#pragma once

#include "engine/capture/freeze.h"
#include "engine/capture/kind.h"
#include "engine/os/injection.h"

#include <map>

namespace abey::capture {

// From the ids that we see to those that the session has: its pid namespace is that of the first process.
struct OwnIds {
    size_t depth = 1; // of the session's pid namespace, 1 being ours
    // Of those that one process has in all namespaces (os::ProcStatus::pids and others): the session's, and those
    // inwards.
    [[nodiscard]] int of_session(const std::vector<int> &all) const;
    [[nodiscard]] std::vector<int> inner(const std::vector<int> &all) const;
    std::map<int, int> tasks; // processes and threads
    std::map<int, int> doors; // ProcStat::door of those that are seen through another thread than the first
    std::map<int, int> groups;
    std::map<int, int> sessions;
};
Result<OwnIds> own_ids(const StandStill &still);

// Ids that were read from outside (of a terminal's foreground group, a lock's holder, ...) become the tasks' own.
void translate_ids(model::Tree &tree, const OwnIds &ids);

// What is seen from outside: ids, threads' registers, credentials, limits. `task` gets everything but injected state.
Result<model::Task> capture_task(Context &context, Stopped &process, const os::ProcStatus &status,
                                 const std::vector<os::ProcMapping> &mappings, const OwnIds &ids);

// Mappings, layout and executable; page contents come later (pages.h). Fills task.address_space.
Result<> capture_address_space(Context &context, const Stopped &process, const std::vector<os::ProcMapping> &mappings,
                               model::Task &task);

// cwd, root, umask. Fills task.fs.
Result<> capture_fs(Context &context, int pid, const std::string &comm, const os::ProcStatus &status,
                    model::Task &task);

// What only the task itself can tell: signal actions, timers, alternate stacks, break ... One batch for each thread.
// The process is as before afterwards.
Result<> capture_injected(Context &context, Stopped &process, const os::ProcStatus &status,
                          const std::vector<os::ProcMapping> &mappings, os::Gadgets &gadgets, const OwnIds &ids,
                          model::Task &task);

// System call filters of a thread that /proc says has some (`mode`, SECCOMP_MODE_*). From here on they do not apply to
// the calls that it is made to make.
Result<> capture_seccomp(os::Tracee &thread, int mode, model::Seccomp &seccomp);

// What cannot be restored, by looking from outside alone: 32-bit code, special
// mappings. Each finding names the object.
void check_task(Context &context, const os::ProcStat &stat, const os::ProcStatus &status,
                const std::vector<os::ProcMapping> &mappings);

} // namespace abey::capture
