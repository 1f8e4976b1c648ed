// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where recorded paths are now, and whether what is found there is the saved file.
#pragma once

#include "files/files.h"

#include <map>
#include <string>
#include <vector>

namespace abey::files {

// `base` exists and is trusted, `path` is below it.
struct Where {
    std::string base, path;
    bool translated = false;
    bool stands_in = false; // for a home that is not there yet
    const HomeTranslation *home = nullptr;
    [[nodiscard]] std::string below_home() const;
    [[nodiscard]] std::string full() const;
};

class Whereabouts {
  public:
    explicit Whereabouts(std::vector<HomeTranslation> homes) : homes_(std::move(homes)) {}
    Whereabouts(const Whereabouts &) = delete; // every Where points into it
    Whereabouts &operator=(const Whereabouts &) = delete;
    ~Whereabouts() = default;

    // Paths of inodes of that mount namespace begin at its root directory.
    void enter(model::ObjRef mount_namespace, int root);
    // The innermost home that the path lies in.
    [[nodiscard]] const HomeTranslation *home_of(const std::string &path) const;
    // Of a path that belongs to this inode.
    [[nodiscard]] Result<Where> find(const model::Inode &inode, const std::string &path) const;

  private:
    const std::vector<HomeTranslation> homes_;
    std::map<model::ObjRef, std::string> roots_; // of mount namespaces
};

// Did the name lead to this file when the home was copied?
Result<> verify_former(const model::Inode &inode, const Where &where);

// Is the open file the saved one, in the saved state?
Result<> verify(const model::Inode &inode, const Fd &file, const Where &where);

} // namespace abey::files
