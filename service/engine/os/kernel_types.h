// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The kernel's description of its own structures: BTF (Documentation/bpf/btf.rst), as /sys/kernel/btf/vmlinux has it.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace abey::os {

class KernelTypes {
  public:
    static Result<KernelTypes> read();
    static Result<KernelTypes> parse(std::string bytes);

    // The number of a function's type; ENOENT when there is none.
    [[nodiscard]] Result<uint32_t> function(std::string_view name) const;
    [[nodiscard]] Result<uint32_t> structure(std::string_view name) const;
    // In bytes from the beginning of the structure; `path` names members within members: "restart_block.futex.time".
    [[nodiscard]] Result<uint32_t> offset(uint32_t structure, std::string_view path) const;
    [[nodiscard]] Result<uint32_t> size(uint32_t structure, std::string_view path) const;

  private:
    struct Member {
        uint32_t type = 0, offset = 0; // bits
    };
    [[nodiscard]] uint32_t word(size_t at) const;
    [[nodiscard]] std::string_view name_of(size_t type) const;
    [[nodiscard]] std::string_view string_at(uint32_t offset) const;
    [[nodiscard]] Result<uint32_t> find(uint32_t kind, std::string_view name) const;
    [[nodiscard]] uint32_t without_names(uint32_t type) const; // of typedefs and qualifiers
    [[nodiscard]] bool find_member(uint32_t type, std::string_view name, int depth, Member &found) const;
    [[nodiscard]] Result<Member> member(uint32_t structure, std::string_view path) const;

    std::string bytes_;
    size_t strings_ = 0, strings_size_ = 0;
    std::vector<uint32_t> types_; // where each begins; the first (void) has none
};

} // namespace abey::os
