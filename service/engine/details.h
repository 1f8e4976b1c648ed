// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is large in a tree: registers, signal actions, mappings. A restore has only outlines of it in memory, and gets
// the whole of one task, or of one address space, where it is needed: so the worker's memory hardly grows with the
// tree.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"

#include <functional>
#include <utility>
#include <vector>

namespace abey::engine {

struct Details {
    // The whole of what `outline`, of the same tree, is the outline of.
    std::function<Result<model::Task>(const model::Task &outline)> task;
    std::function<Result<model::AddressSpace>(model::ObjRef id)> address_space;
};

// What has to be known of all address spaces together.
class Footprint {
  public:
    void add(const model::AddressSpace &space);
    // Where any of them has a mapping: stretches, [start, end) each, ascending, that do not touch.
    [[nodiscard]] const std::vector<std::pair<uint64_t, uint64_t>> &occupied();
    // The most files that one of them has mapped, its executable among them.
    [[nodiscard]] size_t most_files() const { return most_files_; }
    [[nodiscard]] uint64_t page_bytes() const { return page_bytes_; } // that are in the image

  private:
    std::vector<std::pair<uint64_t, uint64_t>> occupied_;
    size_t tidy_ = 0; // how many there were when they were last put in order
    size_t most_files_ = 0;
    uint64_t page_bytes_ = 0;
};

} // namespace abey::engine
