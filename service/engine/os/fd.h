// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace abey {

// The owner of one file descriptor of this process; closes it. Empty when get() is -1.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd &operator=(Fd &&other) noexcept {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    Fd(const Fd &) = delete;
    Fd &operator=(const Fd &) = delete;
    ~Fd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    void reset() noexcept {
        if (fd_ >= 0)
            ::close(std::exchange(fd_, -1));
    }

  private:
    int fd_ = -1;
};

// open(2)/openat(2) with O_CLOEXEC. The error names the path.
Result<Fd> open_at(int dir, const std::string &path, int flags, mode_t mode = 0);
inline Result<Fd> open_file(const std::string &path, int flags, mode_t mode = 0) {
    return open_at(AT_FDCWD, path, flags, mode);
}
// A second descriptor for the same open file (F_DUPFD_CLOEXEC).
Result<Fd> duplicate(const Fd &fd);

Result<struct stat> stat_of(const Fd &fd);

// Reads to the end; more than `limit` bytes is an error (EFBIG), because everything from outside has a limit.
Result<std::string> read_all(const Fd &fd, size_t limit);
Result<std::string> read_file(const std::string &path, size_t limit = 16U << 20U);
// The same, relative to a directory descriptor.
Result<std::string> read_file_at(int dir, const std::string &path, size_t limit = 16U << 20U);

// All of it, or an error; short reads and writes are continued, EINTR retried.
Result<> write_all(const Fd &fd, std::string_view data);
Result<> write_at(const Fd &fd, std::span<const std::byte> data, uint64_t offset);
Result<> read_at(const Fd &fd, std::span<std::byte> data, uint64_t offset);
Result<> write_file(const std::string &path, std::string_view data);

// To the hard limit (RLIMIT_NOFILE, setrlimit(2)).
Result<> raise_descriptor_limit();

// readlink(2)/readlinkat(2); bytes, not characters.
Result<std::string> read_link(const std::string &path);

} // namespace abey
