// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/details.h"

#include <algorithm>
#include <set>

namespace abey::engine {

void Footprint::add(const model::AddressSpace &space) {
    std::set<model::ObjRef> files = {space.executable};
    for (const model::Mapping &mapping : space.mappings) {
        occupied_.emplace_back(mapping.start, mapping.end);
        files.insert(mapping.file);
    }
    most_files_ = std::max(most_files_, files.size());
    for (const model::PageRun &run : space.pages)
        page_bytes_ += run.length;
    // processes of one program have most places in common
    constexpr size_t many = 4096;
    if (occupied_.size() >= 2 * tidy_ + many)
        (void)occupied();
}

const std::vector<std::pair<uint64_t, uint64_t>> &Footprint::occupied() {
    std::ranges::sort(occupied_);
    size_t last = 0;
    for (size_t i = 1; i < occupied_.size(); ++i)
        if (occupied_[i].first <= occupied_[last].second)
            occupied_[last].second = std::max(occupied_[last].second, occupied_[i].second);
        else
            occupied_[++last] = occupied_[i];
    if (!occupied_.empty())
        occupied_.resize(last + 1);
    tidy_ = occupied_.size();
    return occupied_;
}

} // namespace abey::engine
