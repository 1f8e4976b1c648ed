// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Does a tree that was read make sense as a whole? An image is input like any other.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

#include <set>

namespace abey::image {

// References lead to objects of the right kind, ids are unique, mappings and page runs are aligned, ordered and within
// bounds, kernel structures have their sizes. The error names the object.
//
// In this order: each address space when the open files are there; each task when the address spaces are; the rest.
Result<> check(const model::Tree &tree, const model::AddressSpace &space, uint64_t pages_size);

class TaskCheck {
  public:
    explicit TaskCheck(const model::Tree &tree) : tree_(tree) {}
    // Parents before children.
    Result<> check(const model::Task &task);

  private:
    const model::Tree &tree_;
    std::set<int> pids_;
    std::set<int> ids_; // of threads, too
};

Result<> check_objects(const model::Tree &tree, uint64_t pages_size);

} // namespace abey::image
