// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/critical_section.h"

#include "engine/os/remote.h"

#include <span>

namespace abey::os {
namespace {

// struct rseq and struct rseq_cs of include/uapi/linux/rseq.h
constexpr uint64_t section_offset = 8;
struct Section {
    uint32_t version;
    uint32_t flags;
    uint64_t start;
    uint64_t length;
    uint64_t abort;
};

} // namespace

Result<bool> abort_critical_section(Tracee &thread, int pid, const Tracee::Rseq &registration) {
    if (registration.address == 0)
        return false;
    const uint64_t place = registration.address + section_offset;
    uint64_t address = 0;
    // Memory that cannot be read would be the thread's end when it ran on: that is its own affair.
    if (!read_memory(pid, place, std::as_writable_bytes(std::span(&address, 1))) || address == 0)
        return false;
    Section section = {};
    if (!read_memory(pid, address, std::as_writable_bytes(std::span(&section, 1))))
        return false;
    user_regs_struct registers = TRY(thread.registers());
    if (registers.rip - section.start >= section.length)
        return false;
    const uint64_t none = 0;
    TRY(write_memory(pid, place, std::as_bytes(std::span(&none, 1))));
    registers.rip = section.abort;
    TRY(thread.set_registers(registers));
    return true;
}

} // namespace abey::os
