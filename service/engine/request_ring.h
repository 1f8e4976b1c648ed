// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The memory of native asynchronous I/O, as the kernel lays it out (fs/aio.c: struct aio_ring, ioctx_alloc,
// aio_setup_ring); libaio reads it directly, so it cannot change.
#pragma once

#include <cstddef>
#include <cstdint>

namespace abey::engine {

constexpr uint32_t ring_magic = 0xa10a10a1;
constexpr size_t ring_event = 32; // struct io_event
constexpr uint64_t ring_page = 4096;

struct RingHeader {
    uint32_t id = 0;
    uint32_t count = 0; // places for events
    uint32_t head = 0, tail = 0;
    uint32_t magic = 0;
    uint32_t compatible = 0, incompatible = 0;
    uint32_t length = 0; // of the header
};
static_assert(sizeof(RingHeader) == 32);

// Bytes of a ring with so many places, which fill whole pages; 0: the kernel makes no such ring.
constexpr uint64_t ring_length(uint32_t count) {
    const uint64_t bytes = sizeof(RingHeader) + uint64_t{count} * ring_event;
    return count != 0 && bytes % ring_page == 0 ? bytes : 0;
}

// The smallest argument of io_setup(2) that leads to such a ring: the kernel takes twice as many places and two more,
// and then as many as fit into the pages.
constexpr uint32_t requests_for(uint32_t count) {
    constexpr uint32_t in_page = ring_page / ring_event;
    const uint32_t too_few = count - in_page; // with a page less
    return count < in_page ? 1 : (too_few - 2) / 2 + 1;
}
static_assert(requests_for(127) == 1);
static_assert(requests_for(255) == 63 && 2 * 63 + 2 > 127 && 2 * 62 + 2 <= 127);

} // namespace abey::engine
