// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Checkpoints of NILFS2 (Documentation/filesystems/nilfs2.rst): the file system writes one each time that it writes
// anything, of all that it holds, and cleans them away after some time unless one is made a snapshot. A snapshot can be
// mounted, read-only, beside the file system itself. It has a number and no name: who makes one notes the number first.
#pragma once

#include "engine/os/fd.h"
#include "snapshot/top_level.h"

#include <cstdint>
#include <string>

namespace abey::snapshot {

bool is_nilfs2(const Fd &directory);

// All that is dirty is written; the directory, a further one of ours, may get another time. The number of the
// checkpoint that holds it, which nobody has made a snapshot yet.
Result<uint64_t> write_checkpoint(const Fd &directory);
// It becomes a snapshot. ENOENT: it was cleaned away in between.
Result<> keep_checkpoint(const Fd &directory, uint64_t number);
Result<bool> is_kept_checkpoint(const Fd &directory, uint64_t number);
// It can be cleaned away again. Not there, or no snapshot any more: no error.
Result<> release_checkpoint(const Fd &directory, uint64_t number);

// A snapshot of the file system that `path` lies in, mounted where only root can enter until this object goes.
class MountedCheckpoint {
  public:
    static Result<MountedCheckpoint> mount(const std::string &path, uint64_t number);
    // What `path` was in it.
    [[nodiscard]] const std::string &path() const { return path_; }

  private:
    MountedCheckpoint(TopLevel mounted, std::string path) : mounted_(std::move(mounted)), path_(std::move(path)) {}
    TopLevel mounted_;
    std::string path_;
};

} // namespace abey::snapshot
