// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/wait_end.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace abey::os {

namespace {

constexpr uint64_t largest_slack = 1000000000; // between the two times of a timer, nanoseconds

template <class T> T word_at(std::string_view bytes, size_t offset) {
    T value = {};
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

} // namespace

Result<WaitEnds> WaitEnds::open() {
    const KernelTypes types = TRY(KernelTypes::read());
    const uint32_t sleeper = TRY(types.structure("hrtimer_sleeper"));
    Offsets offsets = {};
    offsets.task = TRY(types.offset(sleeper, "task"));
    offsets.end = TRY(types.offset(sleeper, "timer.node.expires"));
    offsets.soft_end = TRY(types.offset(sleeper, "timer._softexpires"));
    offsets.state = TRY(types.offset(sleeper, "timer.state"));
    if (offsets.task % sizeof(uint64_t) != 0 || offsets.task > TaskReader::stack_bytes / 2 ||
        std::max({offsets.end, offsets.soft_end, offsets.state}) >= offsets.task)
        return fail(ENOTSUP, "this kernel's hrtimer_sleeper is not as expected");
    return WaitEnds(TRY(TaskReader::of_stack(types)), offsets);
}

// It is known by its last member, which is the task itself.
Result<std::optional<uint64_t>> WaitEnds::of(int tid) const {
    const auto read = reader_.read(tid);
    if (!read)
        return std::unexpected(read.error());
    std::string_view stack = *read;
    const auto task = word_at<uint64_t>(stack, 0);
    stack.remove_prefix(sizeof task);
    for (size_t place = offsets_.task; place + sizeof task <= stack.size(); place += sizeof task) {
        if (word_at<uint64_t>(stack, place) != task)
            continue;
        const size_t sleeper = place - offsets_.task;
        const auto end = word_at<uint64_t>(stack, sleeper + offsets_.end);
        const auto soft_end = word_at<uint64_t>(stack, sleeper + offsets_.soft_end);
        constexpr uint8_t enqueued = 1; // HRTIMER_STATE_ENQUEUED
        if (word_at<uint8_t>(stack, sleeper + offsets_.state) == enqueued && end >= soft_end &&
            end - soft_end <= largest_slack && end <= INT64_MAX)
            return soft_end;
    }
    return std::nullopt;
}

} // namespace abey::os
