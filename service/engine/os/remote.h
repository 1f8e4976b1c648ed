// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making another process run system calls.
#pragma once

#include "engine/os/batch.h"
#include "engine/os/tracee.h"

#include <array>
#include <string>
#include <vector>

#include <sys/uio.h>

namespace abey::os {

// Memory of another process (process_vm_readv(2)); all of it or an error.
Result<> read_memory(int pid, uint64_t address, std::span<std::byte> data);
Result<> write_memory(int pid, uint64_t address, std::span<const std::byte> data);

// A region for batches in one process: how it came there is the business of Injection (a live task) or of a husk.
class Remote {
  public:
    Remote() = default;
    Remote(uint64_t base, size_t size) : base_(base), size_(size) {}

    [[nodiscard]] uint64_t base() const { return base_; }
    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] Batch batch() const { return {base_, size_}; }

    // Writes the walker into the region. Once for each address space.
    Result<> write_code(int pid) const;

    struct Walk {
        int pid = 0;         // as the task knows itself: in its own pid namespace
        int tid = 0;         // likewise
        int stop_signal = 0; // not pending and not caught; unblocked while the batch runs
        uint64_t frame = 0;  // signal frame to heal by; 0: none (husks die with us anyway)
        uint64_t stack = 0;  // value for rsp; 0: leave
    };
    // Lets `thread` make all calls of the batch and fetches results and outputs. Its registers and signal mask are
    // changed and left so. A failed must() is an error naming what was wanted; other signals that arrived are put into
    // `deferred`. Tasks that the calls make (clone3) are put into `born`, stopped.
    Result<> run(Tracee &thread, Batch &batch, const Walk &walk, std::vector<int> *deferred = nullptr,
                 std::vector<Tracee> *born = nullptr) const;
    // run() in two steps: between them the thread is at work, and others can be started. A thread whose start failed
    // has not moved.
    Result<> start(Tracee &thread, const Batch &batch, const Walk &walk) const;
    Result<> finish(Tracee &thread, Batch &batch, const Walk &walk, std::vector<int> *deferred = nullptr,
                    std::vector<Tracee> *born = nullptr) const;

  private:
    // Calls and data of the batch: here, and in the task.
    static std::array<iovec, 2> parts_of(const Batch &batch);
    static std::array<iovec, 2> places_of(const Batch &batch);

    uint64_t base_ = 0;
    size_t size_ = 0;
};

// One system call at a `syscall` instruction that the task has anyway (in its vDSO), step by step. Registers are left
// at the call's exit. `registers` are what the others shall hold.
Result<long> call_at(Tracee &thread, uint64_t instruction, user_regs_struct registers, long number,
                     std::array<uint64_t, 6> arguments, std::vector<int> *deferred);

} // namespace abey::os
