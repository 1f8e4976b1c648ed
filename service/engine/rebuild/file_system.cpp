// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The contents of a file system of memory.
#include "engine/os/mount_tree.h"
#include "engine/rebuild/creating_as.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/mounts.h"
#include "engine/times.h"

#include <array>
#include <cerrno>
#include <ranges>

#include <sys/stat.h>
#include <sys/xattr.h>

namespace abey::rebuild {

namespace {

struct Name {
    Fd directory;
    std::string name;
};

Result<Name> name_of(const Fd &top, const std::string &path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos)
        return Name{TRY(duplicate(top)), path};
    return Name{TRY(os::look_below(top, path.substr(0, slash))), path.substr(slash + 1)};
}

Result<> make_entry(const Fd &top, const model::FileSystemEntry &entry) {
    const Name at = TRY(name_of(top, entry.path));
    int made = 0;
    if (!entry.link.empty()) {
        const Name other = TRY(name_of(top, entry.link));
        made = ::linkat(other.directory.get(), other.name.c_str(), at.directory.get(), at.name.c_str(), 0);
    } else if (S_ISDIR(entry.mode)) {
        made = ::mkdirat(at.directory.get(), at.name.c_str(), S_IRWXU);
        if (made < 0 && errno == EEXIST) // above what had been mounted
            made = 0;
    } else if (S_ISLNK(entry.mode)) {
        made = ::symlinkat(entry.target.c_str(), at.directory.get(), at.name.c_str());
    } else {
        made = ::mknodat(at.directory.get(), at.name.c_str(), entry.mode, entry.rdev);
    }
    return made < 0 ? Result<>(fail(errno, "cannot make it again")) : Result<>();
}

Result<> set_attributes(const Fd &top, const model::FileSystemEntry &entry) {
    const Fd file = entry.path.empty() ? TRY(duplicate(top)) : TRY(os::look_below(top, entry.path));
    const std::string path = fmt::format("/proc/self/fd/{}", file.get());
    if (::fchownat(file.get(), "", entry.uid, entry.gid, AT_EMPTY_PATH) < 0)
        return fail(errno, "cannot give it to user {}", entry.uid);
    if (!S_ISLNK(entry.mode)) {
        if (::chmod(path.c_str(), entry.mode & 07777U) < 0)
            return fail(errno, "cannot set its mode");
        for (const auto &[name, value] : entry.xattrs)
            if (::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) < 0)
                return fail(errno, "cannot set its extended attribute {}", name);
    }
    const std::array<timespec, 2> times = {engine::to_timespec(entry.atime), engine::to_timespec(entry.mtime)};
    if (::utimensat(file.get(), "", times.data(), AT_EMPTY_PATH) < 0)
        return fail(errno, "cannot set its times");
    return {};
}

} // namespace

Result<> fill_file_system(Context &context, const model::FileSystem &file_system, const Fd &top,
                          const model::Namespace *owner) {
    const CreatingAs creating(owner);
    context.files.enter(file_system.id, top.get());
    for (const model::FileSystemEntry &entry : file_system.entries)
        if (entry.inode != 0) {
            const model::Inode *inode = TRY(find(context.tree.inodes, entry.inode));
            TRY(context.files.open(*inode, O_PATH));
        } else if (!entry.path.empty()) {
            TRY_IN(make_entry(top, entry), "{}", entry.path);
        }
    // what lies in a directory changes its times
    for (const model::FileSystemEntry &entry : std::views::reverse(file_system.entries))
        if (entry.inode == 0 && entry.link.empty())
            TRY_IN(set_attributes(top, entry), "{}", entry.path.empty() ? "/" : entry.path);
    return {};
}

} // namespace abey::rebuild
