// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/restart_block.h"

#include "engine/os/kernel_types.h"

#include <cerrno>
#include <cstring>

namespace abey::os {

namespace {

constexpr uint32_t largest_block = 128;

} // namespace

Result<RestartBlocks> RestartBlocks::open() {
    const KernelTypes types = TRY(KernelTypes::read());
    const uint32_t structure = TRY(types.structure("task_struct"));
    const uint32_t block = TRY(types.offset(structure, "restart_block"));
    const uint32_t size = TRY(types.size(structure, "restart_block"));
    if (size > largest_block || size < sizeof(uint64_t))
        return fail(ENOTSUP, "this kernel's restart_block has {} bytes", size);
    const auto in_block = [&](std::string_view name) -> Result<uint32_t> {
        const uint32_t offset = TRY(types.offset(structure, fmt::format("restart_block.{}", name))) - block;
        if (offset + sizeof(uint64_t) > size && offset + sizeof(uint32_t) > size)
            return fail(ENOTSUP, "this kernel's restart_block is not as expected");
        return offset;
    };
    Offsets offsets = {};
    offsets.futex_address = TRY(in_block("futex.uaddr"));
    offsets.futex_value = TRY(in_block("futex.val"));
    offsets.futex_end = TRY(in_block("futex.time"));
    offsets.sleep_clock = TRY(in_block("nanosleep.clockid"));
    offsets.sleep_address = TRY(in_block("nanosleep.rmtp"));
    offsets.sleep_end = TRY(in_block("nanosleep.expires"));
    offsets.poll_address = TRY(in_block("poll.ufds"));
    offsets.poll_count = TRY(in_block("poll.nfds"));
    offsets.poll_has_end = TRY(in_block("poll.has_timeout"));
    if (const auto seconds = in_block("poll.tv_sec")) {
        offsets.poll_seconds = *seconds;
        offsets.poll_nanoseconds = TRY(in_block("poll.tv_nsec"));
    } else { // newer kernels: a struct timespec64
        offsets.poll_seconds = TRY(in_block("poll.end_time"));
        offsets.poll_nanoseconds = offsets.poll_seconds + sizeof(int64_t);
    }
    return RestartBlocks(TRY(TaskReader::of_member(types, "restart_block", largest_block)), offsets);
}

Result<RestartBlock> RestartBlocks::of(int tid) const {
    const std::string bytes = TRY(reader_.read(tid));
    const auto take = [&](uint32_t offset, auto &value) {
        if (offset + sizeof value <= bytes.size())
            std::memcpy(&value, bytes.data() + offset, sizeof value);
    };
    RestartBlock block;
    int32_t has_end = 0;
    take(offsets_.futex_address, block.futex_address);
    take(offsets_.futex_value, block.futex_value);
    take(offsets_.futex_end, block.futex_end);
    take(offsets_.sleep_clock, block.sleep_clock);
    take(offsets_.sleep_address, block.sleep_address);
    take(offsets_.sleep_end, block.sleep_end);
    take(offsets_.poll_address, block.poll_address);
    take(offsets_.poll_count, block.poll_count);
    take(offsets_.poll_has_end, has_end);
    take(offsets_.poll_seconds, block.poll_seconds);
    take(offsets_.poll_nanoseconds, block.poll_nanoseconds);
    block.poll_has_end = has_end != 0;
    return block;
}

} // namespace abey::os
