// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The vDSO: functions of the kernel in each process's memory (vdso(7)), an ELF image. Each build of a kernel has its
// own, and the C library keeps the addresses of its functions. A program that comes back under another kernel must find
// functions where they were: this kernel's, or jumps to them.
#pragma once

#include "engine/os/procfs.h"
#include "engine/os/result.h"

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

// A thread whose next instruction is behind this is at the end of a system call.
inline constexpr std::string_view system_call = "\x0f\x05";

// The name of the vDSO or of one of the data areas that it reads by their distance from it.
[[nodiscard]] bool belongs_to_vdso(const ProcMapping &mapping);

// The mark of a mapping that nobody can move, unmap or protect otherwise (mseal(2); VmFlags in proc_pid_smaps(5)).
inline constexpr std::string_view sealed = "sl";

// As those of all processes are with CONFIG_MSEAL_SYSTEM_MAPPINGS (Documentation/userspace-api/mseal.rst).
Result<bool> own_vdso_is_sealed();

// Where this process has them.
Result<std::vector<ProcMapping>> own_vdso_parts();
// The contents of the vDSO itself.
Result<std::string> own_vdso();

class VdsoBridge {
  public:
    // From the vDSO of the kernel that a program was saved under to this kernel's. The error names a function that
    // there is no way to.
    static Result<VdsoBridge> make(std::string former, const std::string &own);

    // They are the same but for the notes in them (version, build-id): this kernel's can take the former's place.
    // Nothing less will do: besides the functions there are tables that the C library has pointers to.
    [[nodiscard]] bool same() const { return same_; }
    // Can a thread that stands at this offset of the former go on in what stands in for it? Only where a system call
    // has just been made: what follows is on its way back to the caller, and reads nothing of the kernel's.
    [[nodiscard]] bool goes_on_at(uint64_t offset) const;
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
    static std::string code_of(const Way &way, uint64_t own_address);
    std::string former_;
    std::vector<Way> ways_;
    bool same_ = false;
};

} // namespace abey::os
