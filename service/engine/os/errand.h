// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Something that a process of its own has to do, because it cannot be undone or wants no threads: enter mount and user
// namespaces, and bring back descriptors from there.
#pragma once

#include "engine/os/fd.h"

#include <functional>
#include <vector>

namespace abey::os {

class Errand {
  public:
    // Descriptors of the process that are of interest, and some numbers.
    struct Found {
        std::vector<int> files;
        std::vector<uint64_t> numbers;
    };
    // Runs in a copy of this process (fork(2)), which then waits until this object goes, and ends with us at the
    // latest. To be called when no other thread could hold a lock of ours.
    static Result<Errand> run(const std::function<Result<Found>()> &work);
    Errand(Errand &&other) noexcept
        : pid_(std::exchange(other.pid_, 0)), files_(std::move(other.files_)), numbers_(std::move(other.numbers_)) {}
    Errand &operator=(Errand &&) = delete;
    Errand(const Errand &) = delete;
    Errand &operator=(const Errand &) = delete;
    ~Errand();

    [[nodiscard]] int pid() const { return pid_; }
    std::vector<Fd> &files() { return files_; } // ours now
    [[nodiscard]] const std::vector<uint64_t> &numbers() const { return numbers_; }

  private:
    explicit Errand(int pid) : pid_(pid) {}
    int pid_;
    std::vector<Fd> files_;
    std::vector<uint64_t> numbers_;
};

} // namespace abey::os
