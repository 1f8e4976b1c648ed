// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/fd.h"

#include <span>

namespace abey::os {

// Closes every descriptor of this process but these. Only system calls: for a child that has just been forked.
void close_all_but(std::span<const int> sorted) noexcept;

// Lets a child do the last close of large files without a name: there the kernel frees the whole page cache of the
// file (mm/truncate.c, truncate_inode_pages_final), an eighth of a second for each GiB, for which nobody has to wait.
class LateClose {
  public:
    LateClose() = default;
    LateClose(LateClose &&) = delete;
    ~LateClose() = default;

    // The child takes a share in all such files that this process has open now, and in nothing else. It lets go of
    // them after this object has ended, which is to outlive their owners. Without a child the close takes its time.
    void share() noexcept;

  private:
    Fd line_;
};

} // namespace abey::os
