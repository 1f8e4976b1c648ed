// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/segment.h"

#include <cerrno>

#include <sys/shm.h>

namespace abey::os {

// map_files is the way from an attached segment to a descriptor of its memory.
Result<Fd> segment_file(int identifier, uint64_t size, bool write) {
    void *at = ::shmat(identifier, nullptr, write ? 0 : SHM_RDONLY);
    if (at == reinterpret_cast<void *>(-1)) // NOLINT(performance-no-int-to-ptr): shmat(2)
        return fail(errno, "cannot attach the segment");
    const auto start = reinterpret_cast<uint64_t>(at);
    const uint64_t length = (size + 4095) & ~uint64_t{4095};
    auto file =
        open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + length), write ? O_RDWR : O_RDONLY);
    ::shmdt(at);
    return file;
}

} // namespace abey::os
