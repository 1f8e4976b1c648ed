// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/page_runs.h"

#include <algorithm>

namespace abey::rebuild {

namespace {

// `run` from `start` to `end`, joined to what it continues.
void append(Runs &runs, const model::PageRun &run, uint64_t start, uint64_t end) {
    if (start >= end)
        return;
    const uint64_t offset = run.offset + (start - run.address);
    if (!runs.empty() && runs.back().address + runs.back().length == start &&
        runs.back().offset + runs.back().length == offset)
        runs.back().length += end - start;
    else
        runs.push_back({start, end - start, offset});
}

} // namespace

Runs part_of(const Runs &runs, const Runs &other, Match match, bool matching) {
    Runs found;
    auto next = other.begin();
    for (const model::PageRun &run : runs) {
        uint64_t at = run.address;
        const uint64_t end = run.address + run.length;
        while (next != other.end() && next->address + next->length <= at)
            ++next;
        for (auto each = next; each != other.end() && each->address < end; ++each) {
            // unsigned: the distances are equal also when they wrap around
            if (match == Match::content && each->offset - each->address != run.offset - run.address)
                continue;
            const uint64_t from = std::max(at, each->address);
            const uint64_t until = std::min(end, each->address + each->length);
            if (matching)
                append(found, run, from, until);
            else
                append(found, run, at, from);
            at = until;
        }
        if (!matching)
            append(found, run, at, end);
    }
    return found;
}

Runs united(const Runs &first, const Runs &second) {
    const Runs rest = part_of(second, first, Match::address, false);
    Runs both;
    std::merge(first.begin(), first.end(), rest.begin(), rest.end(), std::back_inserter(both),
               [](const model::PageRun &a, const model::PageRun &b) { return a.address < b.address; });
    return both;
}

} // namespace abey::rebuild
