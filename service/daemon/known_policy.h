// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What clients may know of the system's policy. Everybody may ask, as often as they like: the files are read again only
// when they have changed.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace abey::daemon {

class KnownPolicy {
  public:
    // `root` stands before the paths, for tests.
    explicit KnownPolicy(std::string root = "") : root_(std::move(root)) {}

    // What is wrong with it, in one line; empty: nothing.
    const std::string &problem();
    // Those that are in force, in the order in which they are read: later ones win.
    const std::vector<std::string> &files();
    // Both are to be found out anew.
    void forget() { stamp_.clear(); }

  private:
    void look();

    std::string root_;
    std::string stamp_; // of the files as they were read; empty: not read, or changed too short a time ago to be sure
    std::string problem_;
    std::vector<std::string> files_;
};

} // namespace abey::daemon
