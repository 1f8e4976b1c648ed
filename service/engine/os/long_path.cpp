// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/long_path.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <vector>

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace abey::os {
namespace {

constexpr size_t longest = PATH_MAX - 1;
constexpr int most_directories = 4096;     // directories above one
constexpr size_t maps_limit = 256U << 20U; // of /proc/self/maps

std::unexpected<Error> too_long() {
    return fail(ENAMETOOLONG, "its path is longer than the {} bytes that the kernel tells", longest);
}

Result<Fd> enter(int directory, const std::string &path, bool first) {
    struct open_how how = {};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = first ? 0 : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const auto fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    if (fd < 0)
        return fail(errno, "cannot open the directory {}", path);
    return Fd(static_cast<int>(fd));
}

// seq_path() in fs/seq_file.c: maps writes a newline in a name as "\012", and nothing else otherwise. A name with just
// these bytes in it looks the same.
std::string with_newlines(std::string text) {
    constexpr std::string_view mark = "\\012";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1))
        text.replace(at, mark.size(), "\n");
    return text;
}

bool leads_to(const std::string &path, const struct stat &wanted) {
    const auto found = open_long(path, O_PATH | O_NOFOLLOW);
    const auto status = found ? stat_of(*found) : Result<struct stat>(std::unexpected(found.error()));
    return status && status->st_dev == wanted.st_dev && status->st_ino == wanted.st_ino;
}

// Of a regular file.
Result<std::string> path_in_maps(const Fd &file, const struct stat &status) {
    const Fd own = TRY(open_file("/proc/self/fd/" + std::to_string(file.get()), O_RDONLY | O_NONBLOCK | O_NOATIME));
    constexpr size_t size = 4096;
    void *const mapped = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE, own.get(), 0);
    if (mapped == MAP_FAILED)
        return too_long();
    const auto maps = read_file("/proc/self/maps", maps_limit);
    ::munmap(mapped, size);
    const std::string begin = fmt::format("{:x}-", reinterpret_cast<uintptr_t>(mapped));
    const std::string &text = TRY(maps);
    size_t at = text.starts_with(begin) ? 0 : text.find("\n" + begin);
    if (at == std::string::npos)
        return too_long();
    at += at == 0 ? 0 : 1;
    const std::string_view line = std::string_view(text).substr(at, text.find('\n', at) - at);
    const size_t slash = line.find('/');
    if (slash == std::string_view::npos)
        return too_long();
    std::string path(line.substr(slash));
    return leads_to(path, status) ? path : with_newlines(std::move(path));
}

// How a directory is called in the one above.
Result<std::string> name_in(const Fd &above, const struct stat &wanted) {
    auto listed = TRY(open_at(above.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME));
    const std::unique_ptr<DIR, int (*)(DIR *)> entries(::fdopendir(listed.get()), ::closedir);
    if (!entries)
        return fail(errno, "cannot list a directory");
    const int raw = listed.release(); // closed with entries
    for (const auto *entry = ::readdir(entries.get()); entry != nullptr; entry = ::readdir(entries.get())) {
        const std::string_view name = entry->d_name;
        struct stat status = {};
        // where something is mounted, the entry's number is that of what it covers
        if (name != "." && name != ".." && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN) &&
            ::fstatat(raw, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_dev == wanted.st_dev &&
            status.st_ino == wanted.st_ino)
            return std::string(name);
    }
    return too_long();
}

Result<std::string> path_upwards(const Fd &directory, const struct stat &status) {
    Fd here = TRY(open_at(directory.get(), ".", O_PATH | O_DIRECTORY));
    struct stat own = status;
    std::string path;
    for (int depth = 0; depth < most_directories; ++depth) {
        Fd up = TRY(open_at(here.get(), "..", O_PATH | O_DIRECTORY));
        const struct stat above = TRY(stat_of(up));
        if (above.st_dev == own.st_dev && above.st_ino == own.st_ino)
            return leads_to(path, status) ? Result<std::string>(path) : too_long();
        path.insert(0, "/" + TRY(name_in(up, own)));
        here = std::move(up);
        own = above;
    }
    return too_long();
}

} // namespace

Result<Fd> open_long(int directory, std::string_view path, int flags) {
    Fd reached;
    int from = directory;
    for (bool first = true; path.size() > longest; first = false) {
        const size_t cut = path.rfind('/', longest);
        if (cut == 0 || cut == std::string_view::npos)
            return fail(ENAMETOOLONG, "cannot open {}", path);
        Fd next = TRY(enter(from, std::string(path.substr(0, cut)), first));
        reached = std::move(next);
        from = reached.get();
        path.remove_prefix(std::min(path.find_first_not_of('/', cut), path.size()));
    }
    return open_at(from, path.empty() ? "." : std::string(path), flags);
}

Result<Fd> open_long(std::string_view path, int flags) { return open_long(AT_FDCWD, path, flags); }

Result<std::string> shown_path(const Fd &file) {
    auto link = read_link("/proc/self/fd/" + std::to_string(file.get()));
    if (link || link.error().code() != ENAMETOOLONG)
        return link;
    const struct stat status = TRY(stat_of(file));
    if (S_ISREG(status.st_mode))
        return path_in_maps(file, status);
    if (S_ISDIR(status.st_mode) && status.st_nlink > 0)
        return path_upwards(file, status);
    return too_long();
}

} // namespace abey::os
