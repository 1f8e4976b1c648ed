// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/pins.h"

#include "files/contents.h"
#include "files/files.h"
#include "files/identity.h"
#include "policy/file_system.h"

#include <memory>

#include <dirent.h>
#include <sys/stat.h>

namespace abey::files {

namespace {

// By digest and size, so that contents of another size never have the name. Empty: not known, not shared.
std::string shared_name(const model::Inode &inode) {
    return inode.content.digest.empty() ? "" : fmt::format("{}-{}", inode.content.digest, inode.size);
}

Result<> copy_anew(model::Strategy strategy, const model::Inode &inode, const Fd &file, const Fd &directory,
                   const std::string &name) {
    const Fd from = TRY(reopen(file, O_RDONLY | O_NONBLOCK | O_NOATIME));
    if (strategy == model::Strategy::copy)
        TRY(check_space(directory, inode.size));
    const Fd to = TRY(open_at(directory.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    auto made = strategy == model::Strategy::reflink ? clone_contents(from, to) : copy_contents(from, to, inode.size);
    if (!made)
        ::unlinkat(directory.get(), name.c_str(), 0);
    return made;
}

} // namespace

Result<> PinnedCopies::check(model::Strategy strategy, const model::Inode &inode) {
    if (strategy == model::Strategy::reflink && !policy::may_reflink(inode.identity.fs_type))
        return fail(EOPNOTSUPP, "{} cannot share data", policy::file_system_name(inode.identity.fs_type));
    return {};
}

Result<> PinnedCopies::make(model::Strategy strategy, const model::Inode &inode, const Fd &file, const Fd &directory,
                            const std::string &name) {
    const std::string shared = directory_.empty() ? "" : shared_name(inode);
    if (!shared.empty() &&
        ::linkat(AT_FDCWD, (directory_ + "/" + shared).c_str(), directory.get(), name.c_str(), 0) == 0)
        return {};
    TRY(copy_anew(strategy, inode, file, directory, name));
    if (!shared.empty())
        fresh_.push_back({name, shared});
    return {};
}

Result<> PinnedCopies::share(const Fd &directory) {
    if (!fresh_.empty() && ::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", printable(directory_));
    for (const Fresh &fresh : fresh_) {
        const Fd file = TRY(open_at(directory.get(), fresh.name, O_RDONLY | O_NOFOLLOW));
        if (::fsync(file.get()) != 0)
            return fail(errno, "cannot write the copy {} to disk", fresh.name);
        // Another checkpoint may have been faster; and that it cannot be shared (EMLINK) harms nobody.
        (void)::linkat(directory.get(), fresh.name.c_str(), AT_FDCWD, (directory_ + "/" + fresh.shared).c_str(), 0);
    }
    fresh_.clear();
    return {};
}

Result<> collect_pins(const std::string &pins) {
    const std::unique_ptr<DIR, int (*)(DIR *)> entries(::opendir(pins.c_str()), ::closedir);
    if (!entries && errno == ENOENT)
        return {};
    if (!entries)
        return fail(errno, "cannot list {}", printable(pins));
    const int directory = ::dirfd(entries.get());
    while (const struct dirent *entry = ::readdir(entries.get())) {
        struct stat status = {};
        if (::fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode) &&
            status.st_nlink == 1 && ::unlinkat(directory, entry->d_name, 0) != 0 && errno != ENOENT)
            return fail(errno, "cannot remove {}/{}", printable(pins), printable(entry->d_name));
    }
    return {};
}

} // namespace abey::files
