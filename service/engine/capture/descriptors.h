// SPDX-License-Identifier: LGPL-2.1-or-later
//
// From a task to the open files that it holds: by descriptors, by mappings, by its links (cwd, root, exe). What is
// found goes into context.tree; the calls return the id. Order: every task by the first three, then complete(), then
// rescue_files() (not in preflight).
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/procfs.h"

namespace abey::capture {

// The descriptor table of a process; one id for all that share it (CLONE_FILES). In preflight, what cannot be brought
// back becomes findings and the walk goes on, and descriptors that are closed meanwhile are passed over.
Result<model::ObjRef> capture_descriptors(Context &context, int pid, const std::string &comm, int pidfd);

// The file behind a mapping, from /proc/PID/map_files/START-END (which needs no descriptor and no name). `writable`:
// stores can reach the file (shared, may be written), so it is opened O_RDWR; otherwise O_RDONLY. One OpenFile for each
// inode and access mode. Memory without file system (memfd, shared anonymous, System V) is recognised.
Result<model::ObjRef> capture_mapped_file(Context &context, int pid, const std::string &comm,
                                          const os::ProcMapping &mapping, bool writable);

// What /proc/PID/cwd, root or exe lead to, opened with `flags` (O_PATH for directories; O_RDONLY for exe, because
// PR_SET_MM_MAP takes no O_PATH descriptor). One OpenFile for each inode and flags.
Result<model::ObjRef> capture_link(Context &context, int pid, const std::string &comm, const std::string &name,
                                   int flags);

// A fatal one, of an error that reads "reason; advice" (see Kind::capture).
Finding to_finding(int pid, std::string comm, std::string object, const Error &error);

// The terminal that controls a process (tty_nr of /proc/PID/stat); 0 when it has none, an error when it cannot be made
// again. To be called for every task: it also tells session and foreground group.
Result<model::ObjRef> controlling_terminal(Context &context, const os::ProcStat &stat);

// When all tasks have been seen: files in flight in sockets are added, references between objects resolved, queues read
// without consuming anything.
Result<> complete(Context &context);

// Carries out what the strategies planned for files without a lasting name (docs/ARCHITECTURE.md, Suspend 5).
Result<> rescue_files(Context &context);

} // namespace abey::capture
