// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files that have grown since the suspend and are to have their old size again. What is cut off lies in the image, as
// IMAGES/cut/ID by the inode's id, from before it is cut until the session runs: whatever ends a resume in between, it
// can be put back.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <string>
#include <vector>

namespace abey::files {

class CutFiles {
  public:
    explicit CutFiles(std::string images) : images_(std::move(images)) {}

    // `file`: of any kind, O_PATH too. Nothing happens to it yet.
    void add(Fd file, const model::Inode &inode);
    // What will be cut off comes to disk.
    Result<> keep();
    // Cuts all of them, but none that has grown again since keep(): EAGAIN.
    Result<> cut();
    // Undoes it. What cannot be put back stays in the image, and the next put_back() tries it again.
    void undo() noexcept;
    // The session runs: what was cut off is gone for good.
    Result<> forget();

  private:
    struct One {
        Fd file; // O_PATH
        std::string path;
        model::ObjRef id = 0;
        uint64_t size = 0; // that it had, bytes
        uint64_t kept = 0; // of what came after that
        bool cut = false;
    };

    Result<> keep_tail(One &one);
    static Result<> cut(One &one);

    std::string images_;
    Fd directory_;
    std::vector<One> files_;
};

// After a resume that was killed: every file that it has cut is as it was before. An error names those which somebody
// has changed since; what was cut off of them stays in the image.
Result<> put_back(const std::string &images);

} // namespace abey::files
