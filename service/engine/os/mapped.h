// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/mman.h>

namespace abey::os {

// Memory that this process has mapped, until the end of the object. When the kernel refuses (mmap(2)) it is false, and
// errno says why.
class Mapped {
  public:
    Mapped(size_t size, int protection, int flags, int fd = -1, uint64_t offset = 0)
        : size_(size), at_(::mmap(nullptr, size, protection, flags, fd, static_cast<off_t>(offset))) {}
    Mapped(const Mapped &) = delete;
    Mapped &operator=(const Mapped &) = delete;
    ~Mapped() {
        if (*this)
            ::munmap(at_, size_);
    }

    explicit operator bool() const { return at_ != MAP_FAILED; }
    [[nodiscard]] void *at() const { return at_; }
    [[nodiscard]] size_t size() const { return size_; }
    // Empty when there is no memory.
    [[nodiscard]] std::span<std::byte> bytes() const {
        return *this ? std::span(static_cast<std::byte *>(at_), size_) : std::span<std::byte>();
    }

  private:
    size_t size_;
    void *at_;
};

constexpr int read_write = PROT_READ | PROT_WRITE;
constexpr int with_children = MAP_SHARED | MAP_ANONYMOUS; // what forked processes see, too
constexpr int ones_own = MAP_PRIVATE | MAP_ANONYMOUS;

} // namespace abey::os
