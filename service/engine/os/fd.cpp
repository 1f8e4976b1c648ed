// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/fd.h"

#include <array>
#include <cerrno>
#include <climits>

#include <sys/resource.h>

namespace abey {

Result<Fd> open_at(int dir, const std::string &path, int flags, mode_t mode) {
    const int fd = ::openat(dir, path.c_str(), flags | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(errno, "cannot open {}", path);
    return Fd(fd);
}

Result<Fd> duplicate(const Fd &fd) {
    const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return fail(errno, "cannot duplicate descriptor {}", fd.get());
    return Fd(copy);
}

Result<struct stat> stat_of(const Fd &fd) {
    struct stat st = {};
    if (::fstat(fd.get(), &st) < 0)
        return fail(errno, "cannot stat descriptor {}", fd.get());
    return st;
}

Result<std::string> read_all(const Fd &fd, size_t limit) {
    std::string data;
    std::array<char, 16384> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read
    for (;;) {
        const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errno, "cannot read descriptor {}", fd.get());
        if (n == 0)
            return data;
        if (data.size() + static_cast<size_t>(n) > limit)
            return fail(EFBIG, "more than {} bytes", limit);
        data.append(buffer.data(), static_cast<size_t>(n));
    }
}

Result<std::string> read_file_at(int dir, const std::string &path, size_t limit) {
    const Fd fd = TRY(open_at(dir, path, O_RDONLY));
    return TRY_IN(read_all(fd, limit), "{}", path);
}

Result<std::string> read_file(const std::string &path, size_t limit) { return read_file_at(AT_FDCWD, path, limit); }

Result<> write_all(const Fd &fd, std::string_view data) {
    while (!data.empty()) {
        const ssize_t n = ::write(fd.get(), data.data(), data.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errno, "cannot write {} bytes to descriptor {}", data.size(), fd.get());
        data.remove_prefix(static_cast<size_t>(n));
    }
    return {};
}

Result<> write_at(const Fd &fd, std::span<const std::byte> data, uint64_t offset) {
    while (!data.empty()) {
        const ssize_t n = ::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errno, "cannot write {} bytes at offset {}", data.size(), offset);
        data = data.subspan(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
    }
    return {};
}

Result<> read_at(const Fd &fd, std::span<std::byte> data, uint64_t offset) {
    while (!data.empty()) {
        const ssize_t n = ::pread(fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(errno, "cannot read {} bytes at offset {}", data.size(), offset);
        if (n == 0)
            return fail(0, "the file ends at offset {}, {} bytes early", offset, data.size());
        data = data.subspan(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
    }
    return {};
}

Result<> write_file(const std::string &path, std::string_view data) {
    const Fd fd = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY_IN(write_all(fd, data), "{}", path);
    return {};
}

Result<> raise_descriptor_limit() {
    rlimit limit = {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail(errno, "cannot ask for the limit of open files");
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail(errno, "cannot raise the limit of open files to {}", limit.rlim_max);
    return {};
}

Result<std::string> read_link(const std::string &path) {
    std::array<char, PATH_MAX + 1> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by readlink
    const ssize_t n = ::readlink(path.c_str(), buffer.data(), buffer.size());
    if (n < 0)
        return fail(errno, "cannot read the link {}", path);
    return std::string(buffer.data(), static_cast<size_t>(n));
}

} // namespace abey
