// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/request_ring.h"

#include "engine/request_ring.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace {

constexpr uint32_t most_requests = 64;

// Where the kernel writes the next event only it decides: it goes on by one place for each request. So many requests
// that do nothing (a byte for /dev/null) are made, and their events fetched, or left for others to be written over.
Result<> turn(Husk &husk, uint64_t context, uint32_t places, bool fetch, int null) {
    while (places != 0) {
        const uint32_t now = std::min(places, most_requests);
        Calls calls(husk);
        auto &batch = calls.batch();
        iocb request = {};
        request.aio_lio_opcode = IOCB_CMD_PWRITE;
        request.aio_fildes = static_cast<uint32_t>(null);
        request.aio_buf = batch.put(uint64_t{0});
        request.aio_nbytes = 1;
        std::array<uint64_t, most_requests> list = {};
        list.fill(batch.put(request));
        const size_t sent = batch.must("cannot turn the ring of its asynchronous I/O (io_submit)", SYS_io_submit,
                                       context, now, batch.put(list));
        calls.expect(sent, now, "turning the ring of its asynchronous I/O");
        if (fetch) {
            const uint64_t events = batch.reserve(size_t{now} * engine::ring_event);
            const size_t fetched = batch.must("cannot turn the ring of its asynchronous I/O (io_getevents)",
                                              SYS_io_getevents, context, now, now, events, 0);
            calls.expect(fetched, now, "turning the ring of its asynchronous I/O");
        }
        TRY(calls.flush());
        places -= now;
    }
    return {};
}

Result<uint64_t> set_up(Husk &husk, const model::RequestRing &ring) {
    Calls calls(husk);
    const uint64_t at = calls.batch().put(uint64_t{0});
    calls.batch().must("cannot set its asynchronous I/O up (io_setup); raise fs.aio-max-nr", SYS_io_setup,
                       engine::requests_for(ring.count), at);
    TRY(calls.run_only());
    return calls.batch().output<uint64_t>(at);
}

Result<> make_ring(Husk &husk, const model::RequestRing &ring, const model::Mapping &mapping, int null) {
    const uint64_t made = TRY(set_up(husk, ring));
    engine::RingHeader header;
    const auto look = [&](uint64_t address) {
        return os::read_memory(husk.pid(), address, std::as_writable_bytes(std::span(&header, 1)));
    };
    TRY(look(made));
    if (header.count != ring.count)
        return fail(ENOTSUP,
                    "its asynchronous I/O (io_setup) had room for {} events, but for {} on this machine, which has "
                    "another number of processors",
                    ring.count, header.count);
    const uint64_t length = mapping.end - mapping.start;
    Calls move(husk);
    move.batch().must("cannot move the ring of its asynchronous I/O", SYS_mremap, made, length, length,
                      MREMAP_MAYMOVE | MREMAP_FIXED, ring.address);
    TRY(move.flush());
    const auto unread = static_cast<uint32_t>(ring.events.size() / engine::ring_event);
    TRY(turn(husk, ring.address, ring.head, true, null));
    TRY(turn(husk, ring.address, unread, false, null));
    for (uint32_t i = 0; i < unread; ++i) {
        const uint64_t place = (ring.head + i) % ring.count;
        TRY(os::write_memory(
            husk.pid(), ring.address + sizeof header + place * engine::ring_event,
            std::as_bytes(std::span(ring.events).subspan(i * engine::ring_event, engine::ring_event))));
    }
    TRY(look(ring.address));
    if (header.head != ring.head || header.tail != ring.tail)
        return fail(EFAULT, "the ring of its asynchronous I/O is at {} and {} instead of {} and {}", header.head,
                    header.tail, ring.head, ring.tail);
    if (mapping.protection == (PROT_READ | PROT_WRITE))
        return {};
    Calls protect(husk);
    protect.batch().must("mprotect", SYS_mprotect, mapping.start, length, mapping.protection);
    return protect.flush();
}

} // namespace

Result<> make_request_rings(Husk &husk, const model::AddressSpace &space, int null) {
    for (const model::RequestRing &ring : space.rings) {
        const auto mapping = std::ranges::find(space.mappings, ring.address, &model::Mapping::start);
        if (mapping == space.mappings.end())
            return fail(EBADMSG, "the checkpoint has asynchronous I/O without its mapping");
        TRY(make_ring(husk, ring, *mapping, null));
    }
    return {};
}

} // namespace abey::rebuild
