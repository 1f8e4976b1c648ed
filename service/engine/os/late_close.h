// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/guard.h"

#include <optional>

namespace abey::os {

// Lets a child do the last close of large files without a name: there the kernel frees the whole page cache of the
// file (mm/truncate.c, truncate_inode_pages_final), an eighth of a second for each GiB, for which nobody has to wait.
class LateClose {
  public:
    // The child takes a share in all such files that this process has open now, and in nothing else. It lets go of
    // them after this object has ended, which is to outlive their owners. Without a child the close takes its time.
    void share();

  private:
    std::optional<Guard> child_;
};

} // namespace abey::os
