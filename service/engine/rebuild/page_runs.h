// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Arithmetic on runs of pages, all sorted by address and without overlaps.
#pragma once

#include "engine/model/memory.h"

namespace abey::rebuild {

using Runs = std::vector<model::PageRun>;

enum class Match : uint8_t {
    address, // the other has something at this address
    content, // the other has the same page of the image at this address
};

// The parts of `runs` for which `other` matches, or (`matching` false) does not.
Runs part_of(const Runs &runs, const Runs &other, Match match, bool matching);

// Both; where both have something, `first` counts.
Runs united(const Runs &first, const Runs &second);

} // namespace abey::rebuild
