// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The vDSO: functions of the kernel in each process's memory (vdso(7)), an ELF image. Each build of a kernel has its
// own, and the C library keeps the addresses of its functions. A program that comes back under another kernel must find
// functions where they were: this kernel's, or jumps to them.
#pragma once

#include "engine/os/procfs.h"
#include "engine/os/result.h"
#include "engine/os/tracee.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace abey::os {

inline constexpr size_t largest_vdso = 1U << 16U; // bytes; those known have 8 KiB

struct VdsoFunction {
    std::string name; // "__vdso_clock_gettime"
    uint64_t offset = 0, size = 0;
};

// All that it exports. Nothing is taken for granted of the image.
Result<std::vector<VdsoFunction>> vdso_functions(std::string_view image);

// The name of the vDSO or of one of the data areas that it reads by their distance from it.
[[nodiscard]] bool belongs_to_vdso(const ProcMapping &mapping);

// Where this process has them.
Result<std::vector<ProcMapping>> own_vdso_parts();
// The contents of the vDSO itself.
Result<std::string> own_vdso();

// A thread that stands in one of the vDSO's functions goes on to that one's end, instruction by instruction, so that it
// can come back where the functions are others. It stays where it is when a signal is on its way, or after
// `most_steps`.
inline constexpr int most_steps = 20000;
Result<> leave_vdso(Tracee &thread, const std::vector<ProcMapping> &mappings);

class VdsoBridge {
  public:
    // From the vDSO of the kernel that a program was saved under to this kernel's. The error names a function that
    // there is no way to.
    static Result<VdsoBridge> make(std::string former, std::string own);

    // This kernel's has all functions where the former had them: it can take that one's place.
    [[nodiscard]] bool same_places() const { return same_places_; }
    // The whole function that `offset` is in, the same in both: a thread that stands there can go on in the other.
    [[nodiscard]] bool same_code(uint64_t offset) const;
    // What is to lie where the former vDSO was: the same, but its functions lead to those of this kernel's, which is at
    // `own_address`, or, where that has none, into the kernel.
    [[nodiscard]] std::string stand_in(uint64_t own_address) const;

    [[nodiscard]] uint64_t former_size() const { return former_.size(); }

  private:
    // How one function of the former is reached.
    struct Way {
        VdsoFunction from;
        uint64_t to = 0; // offset in the own vDSO; or, with 0:
        int call = -1;   // the number of the system call that does the same; -1: it says that it does not exist
    };
    std::string former_, own_;
    std::vector<Way> ways_;
    bool same_places_ = true;
};

} // namespace abey::os
