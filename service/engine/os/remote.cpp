// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/remote.h"

#include "engine/os/batch_layout.h"
#include "engine/os/fd.h"
#include "engine/os/kernel.h"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <sys/ptrace.h>
#include <sys/uio.h>

namespace abey::os {

namespace {

// The text flags: trap and direction flag off, the rest does not matter to the walker.
constexpr uint64_t plain_flags = 0x202;
constexpr uint64_t user_code_segment = 0x33;
constexpr uint64_t user_data_segment = 0x2b;
constexpr unsigned long long max_errno = 4095;

bool is_error(int64_t result) { return static_cast<unsigned long long>(result) >= -max_errno; }

iovec at_address(uint64_t address, size_t size) {
    return {reinterpret_cast<void *>(address), size}; // NOLINT: an address of the other process
}

// Is this stop the walker's own signal to itself? Others may send the same one at any time: then it is not at its end.
Result<bool> is_final(const Tracee &thread, const Stop &stop, const Remote::Walk &walk, uint64_t code) {
    if (stop.event != 0 || stop.syscall || stop.signal != walk.stop_signal)
        return false;
    const auto registers = TRY(thread.registers());
    return registers.rip == code + batch_layout::final_offset();
}

} // namespace

Result<> read_memory(int pid, uint64_t address, std::span<std::byte> data) {
    while (!data.empty()) {
        iovec local{data.data(), data.size()};
        iovec remote{reinterpret_cast<void *>(address), data.size()}; // NOLINT: an address of the other process
        const ssize_t n = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
        if (n <= 0)
            return fail(n < 0 ? errno : EFAULT, "process {}: cannot read {} bytes of memory at {:#x}", pid, data.size(),
                        address);
        data = data.subspan(static_cast<size_t>(n));
        address += static_cast<uint64_t>(n);
    }
    return {};
}

Result<> write_memory(int pid, uint64_t address, std::span<const std::byte> data) {
    while (!data.empty()) {
        iovec local{const_cast<std::byte *>(data.data()), data.size()}; // NOLINT: only read
        iovec remote{reinterpret_cast<void *>(address), data.size()};   // NOLINT: an address of the other process
        const ssize_t n = ::process_vm_writev(pid, &local, 1, &remote, 1, 0);
        if (n <= 0)
            return fail(n < 0 ? errno : EFAULT, "process {}: cannot write {} bytes of memory at {:#x}", pid,
                        data.size(), address);
        data = data.subspan(static_cast<size_t>(n));
        address += static_cast<uint64_t>(n);
    }
    return {};
}

std::array<iovec, 2> Remote::parts_of(const Batch &batch) {
    const auto entries = std::as_bytes(std::span(batch.entries_));
    return {iovec{const_cast<std::byte *>(entries.data()), entries.size()},          // NOLINT: written to by finish()
            iovec{const_cast<std::byte *>(batch.data_.data()), batch.data_.size()}}; // NOLINT: likewise
}

std::array<iovec, 2> Remote::places_of(const Batch &batch) {
    return {at_address(batch.base_ + batch_layout::entries_offset, batch.entries_.size() * sizeof(Batch::Entry)),
            at_address(batch.data_base(), batch.data_.size())};
}

Result<> Remote::write_code(int pid) const {
    if (write_memory(pid, base_, batch_layout::code()))
        return {};
    // what the task itself may not write, its tracer can (proc(5), /proc/PID/mem)
    const Fd memory = TRY(open_file(fmt::format("/proc/{}/mem", pid), O_WRONLY));
    return write_at(memory, batch_layout::code(), base_);
}

Result<> Remote::run(Tracee &thread, Batch &batch, const Walk &walk, std::vector<int> *deferred,
                     std::vector<Tracee> *born) const {
    TRY(start(thread, batch, walk));
    return finish(thread, batch, walk, deferred, born);
}

Result<> Remote::start(Tracee &thread, const Batch &batch, const Walk &walk) const {
    const size_t entries_bytes = batch.entries_.size() * sizeof(Batch::Entry);
    if (batch.base_ != base_ || entries_bytes > batch_layout::entries_size(size_) ||
        batch.data_base() + batch.data_.size() > base_ + size_)
        return fail(E2BIG, "a batch of {} calls and {} bytes does not fit its region", batch.count(),
                    batch.data_.size());
    if (batch.empty())
        return {};
    const int pid = thread.tid();
    const auto parts = parts_of(batch);
    const auto places = places_of(batch);
    if (const auto n = ::process_vm_writev(pid, parts.data(), parts.size(), places.data(), places.size(), 0);
        n != static_cast<ssize_t>(places[0].iov_len + places[1].iov_len))
        return fail(n < 0 ? errno : EFAULT, "process {}: cannot write calls into its memory at {:#x}", pid, base_);

    user_regs_struct registers = TRY(thread.registers());
    registers.rip = base_;
    registers.rbx = base_ + batch_layout::entries_offset;
    registers.r12 = batch.count();
    registers.r13 = static_cast<uint64_t>(walk.pid);
    registers.r14 = static_cast<uint64_t>(walk.tid);
    registers.r15 = static_cast<uint64_t>(walk.stop_signal);
    registers.rbp = walk.frame + sizeof(uint64_t); // rt_sigreturn expects the frame's first word popped
    if (walk.stack != 0)
        registers.rsp = walk.stack;
    registers.orig_rax = ~0ULL;
    registers.eflags = plain_flags;
    registers.cs = user_code_segment;
    registers.ss = user_data_segment;
    // First the registers, then the mask: whenever we are killed, a changed mask is healed by the frame.
    TRY(thread.set_registers(registers));
    TRY(thread.set_signal_mask(~kernel::signal_bit(walk.stop_signal)));
    return thread.go_on();
}

Result<> Remote::finish(Tracee &thread, Batch &batch, const Walk &walk, std::vector<int> *deferred,
                        std::vector<Tracee> *born) const {
    if (batch.empty())
        return {};
    const int pid = thread.tid();
    for (;;) {
        const Stop stop = TRY(thread.wait());
        if (stop.gone)
            return fail(ESRCH, "process {} died while it made calls for us", pid);
        if (TRY(is_final(thread, stop, walk, base_)))
            break;
        if (stop.event == PTRACE_EVENT_CLONE || stop.event == PTRACE_EVENT_FORK || stop.event == PTRACE_EVENT_VFORK) {
            Tracee child = Tracee::adopt(static_cast<int>(TRY(thread.event_message())));
            TRY(child.settle(0)); // it stops before all else
            if (born != nullptr)
                born->push_back(std::move(child));
        } else if (stop.event == 0 && !stop.syscall) {
            if (stop.signal == SIGSEGV || stop.signal == SIGBUS || stop.signal == SIGSYS || stop.signal == SIGILL) {
                const auto at = TRY(thread.registers());
                return fail(0, "process {} got signal {} ({}) at {:#x} while it made calls for us", pid, stop.signal,
                            sigabbrev_np(stop.signal), at.rip);
            }
            if (deferred != nullptr)
                deferred->push_back(stop.signal);
        }
        TRY(thread.go_on());
    }
    const auto parts = parts_of(batch);
    const auto places = places_of(batch);
    if (const auto n = ::process_vm_readv(pid, parts.data(), parts.size(), places.data(), places.size(), 0);
        n != static_cast<ssize_t>(places[0].iov_len + places[1].iov_len))
        return fail(n < 0 ? errno : EFAULT, "process {}: cannot read the results of its calls at {:#x}", pid, base_);
    for (size_t i = 0; i < batch.count(); ++i) {
        const Batch::Entry &entry = batch.entries_[i];
        if (entry.must != 0 && is_error(entry.result))
            return fail(static_cast<int>(-entry.result), "{}", batch.what_[i]);
    }
    return {};
}

Result<long> call_at(Tracee &thread, uint64_t instruction, user_regs_struct registers, long number,
                     std::array<uint64_t, 6> arguments, std::vector<int> *deferred) {
    const int pid = thread.tid();
    registers.rip = instruction;
    registers.rax = static_cast<uint64_t>(number);
    registers.rdi = arguments[0];
    registers.rsi = arguments[1];
    registers.rdx = arguments[2];
    registers.r10 = arguments[3];
    registers.r8 = arguments[4];
    registers.r9 = arguments[5];
    registers.orig_rax = ~0ULL;
    registers.eflags = plain_flags;
    registers.cs = user_code_segment;
    registers.ss = user_data_segment;
    TRY(thread.set_registers(registers));
    TRY(thread.set_signal_mask(~0ULL));
    for (int stops = 0; stops < 2;) { // entry and exit
        TRY(thread.go_on_to_syscall());
        const Stop stop = TRY(thread.wait());
        if (stop.gone)
            return fail(ESRCH, "process {} died while it made a call for us", pid);
        if (stop.syscall)
            ++stops;
        else if (stop.event == 0 && stop.signal != SIGSTOP)
            return fail(0, "process {} got signal {} while it made a call for us", pid, stop.signal);
        else if (stop.event == 0 && deferred != nullptr)
            deferred->push_back(stop.signal);
    }
    const auto after = TRY(thread.registers());
    return static_cast<long>(after.rax);
}

} // namespace abey::os
