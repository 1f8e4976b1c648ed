// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/request_ring.h"

#include "engine/os/remote.h"
#include "engine/request_ring.h"

#include <chrono>
#include <filesystem>
#include <thread>

namespace abey::capture {
namespace {

using engine::RingHeader;

constexpr auto patience = std::chrono::seconds(3);
constexpr auto moment = std::chrono::milliseconds(1);
constexpr auto settling =
    std::chrono::milliseconds(10); // from the disk's answer to the event: a work queue of the kernel

// Context::state
struct Disks {
    bool rested = false;
};

// Documentation/ABI/stable/sysfs-block: inflight
bool works(const std::filesystem::path &disk) {
    const auto text = read_file((disk / "inflight").string());
    return text && text->find_first_not_of(" 0\n") != std::string::npos;
}

Result<> wait_for_disks(Disks &disks) {
    if (disks.rested)
        return {};
    std::vector<std::filesystem::path> busy;
    std::error_code error;
    for (const auto &entry : std::filesystem::directory_iterator("/sys/block", error))
        busy.push_back(entry.path());
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        std::erase_if(busy, [](const auto &disk) { return !works(disk); });
        if (busy.empty())
            break;
        if (std::chrono::steady_clock::now() > deadline)
            return fail(EAGAIN,
                        "the disk {} is never without work, so that nobody can tell whether the program's asynchronous "
                        "I/O is done; try again",
                        busy.front().filename().string());
        std::this_thread::sleep_for(moment);
    }
    disks.rested = true;
    return {};
}

Result<RingHeader> header_of(int pid, uint64_t address) {
    RingHeader header;
    TRY(os::read_memory(pid, address, std::as_writable_bytes(std::span(&header, 1))));
    return header;
}

} // namespace

bool is_request_ring(const os::ProcMapping &mapping) { return mapping.name.starts_with("/[aio]"); }

Result<model::RequestRing> capture_request_ring(Context &context, int pid, const os::ProcMapping &mapping) {
    TRY(wait_for_disks(context.state<Disks>()));
    RingHeader header = TRY(header_of(pid, mapping.start));
    for (;;) {
        std::this_thread::sleep_for(settling);
        const RingHeader again = TRY(header_of(pid, mapping.start));
        if (again.tail == header.tail)
            break;
        header = again;
    }
    if (header.magic != engine::ring_magic || mapping.offset != 0 ||
        engine::ring_length(header.count) != mapping.end - mapping.start || header.head >= header.count ||
        header.tail >= header.count)
        return fail(ENOTSUP, "asynchronous I/O (io_setup) whose ring was changed or unmapped in part cannot be brought "
                             "back; run the program without native asynchronous I/O");
    model::RequestRing ring = {
        .address = mapping.start, .count = header.count, .head = header.head, .tail = header.tail};
    std::string places(header.count * engine::ring_event, '\0');
    TRY(os::read_memory(pid, mapping.start + sizeof header, std::as_writable_bytes(std::span(places))));
    for (uint32_t at = header.head; at != header.tail; at = (at + 1) % header.count)
        ring.events += places.substr(at * engine::ring_event, engine::ring_event);
    return ring;
}

} // namespace abey::capture
