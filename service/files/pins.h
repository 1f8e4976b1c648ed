// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Copies of system files in an image, which checkpoints share: one inode for each content. It has a name in a directory
// beside the images and one in each image that uses it, so that its link count tells whether anybody needs it.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <string>
#include <vector>

namespace abey::files {

class PinnedCopies {
  public:
    // Empty: nothing is shared.
    explicit PinnedCopies(std::string directory) : directory_(std::move(directory)) {}

    // Whether make() should succeed. That a file cannot share data with the images' file system shows only there.
    static Result<> check(model::Strategy strategy, const model::Inode &inode);
    // A copy of `file` as `name` in the image's directory: the shared one of these contents, or a new one.
    Result<> make(model::Strategy strategy, const model::Inode &inode, const Fd &file, const Fd &directory,
                  const std::string &name);
    // Brings what is new to disk, and only then lets later checkpoints share it. The names are those in `directory`.
    Result<> share(const Fd &directory);
    void forget() noexcept { fresh_.clear(); }

  private:
    struct Fresh {
        std::string name, shared;
    };

    std::string directory_;
    std::vector<Fresh> fresh_;
};

} // namespace abey::files
