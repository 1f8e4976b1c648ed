// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What has (or had) a name in a file system: regular files, directories, symbolic links, and anything opened by O_PATH.
#include "engine/capture/kinds.h"
#include "engine/capture/mounts.h"
#include "engine/capture/open_files.h"

#include <algorithm>
#include <array>

#include <sys/vfs.h>

namespace abey::capture {
namespace disk_file {
namespace {

// File systems whose files are something else in truth (linux/magic.h and the source of mm/secretmem.c)
struct NotAFile {
    int64_t type;
    const char *name;
};
constexpr std::array not_files = {
    NotAFile{0x5345434d, "secret memory (memfd_secret)"},
    NotAFile{0xcafe4a11, "a pinned BPF object"},
};

bool matches(const Seen &seen) {
    if ((seen.flags & O_PATH) != 0)
        return true;
    const bool has_name = seen.link.starts_with('/');
    return has_name && (S_ISREG(seen.stat.st_mode) || S_ISDIR(seen.stat.st_mode) || S_ISLNK(seen.stat.st_mode));
}

// Of a hard link, or of a file that is seen through two mounts, each open file has its own path, also when the name is
// gone.
model::Payload disk_file(const Context &context, const Seen &seen, model::ObjRef id) {
    model::DiskFile file{.inode = id};
    const model::Inode &inode = context.tree.inodes.at(id);
    const bool has_name = inode.naming == model::Naming::named || inode.naming == model::Naming::moved;
    if (inode.mount_namespace != 0 || inode.naming == model::Naming::tmpfile || (!has_name && !S_ISREG(inode.mode)))
        return file;
    constexpr std::string_view mark = " (deleted)";
    std::string_view shown = seen.link;
    if (shown == inode.path)
        return file;
    file.unlinked = shown.ends_with(mark) && shown.size() > mark.size() + 1;
    if (file.unlinked)
        shown.remove_suffix(mark.size());
    if (file.unlinked && inode.naming != model::Naming::named && shown == inode.path)
        file.unlinked = false;
    else
        file.name = shown;
    return file;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    if (!seen.link.starts_with('/'))
        return fail(0, "an O_PATH descriptor of something without a path cannot be brought back; end the program that "
                       "holds it");
    // What is known already has been looked at; many descriptors are of the same few files.
    const auto &all = context.state<Inodes>().known;
    if (const auto known = all.find({seen.stat.st_dev, seen.stat.st_ino, uint64_t{0}});
        known != all.end() && context.state<MountNamespaces>().own.empty())
        return disk_file(context, seen, known->second);
    struct statfs fs = {};
    if (::fstatfs(seen.file->get(), &fs) < 0)
        return fail(errno, "cannot ask for its file system");
    if (const auto *const found = std::ranges::find(not_files, int64_t{fs.f_type}, &NotAFile::type);
        found != not_files.end() && !S_ISDIR(seen.stat.st_mode))
        return fail(0, "{} cannot be brought back yet; end the program that holds it", found->name);
    return disk_file(context, seen, TRY(context.inode(seen)));
}

} // namespace
} // namespace disk_file

Kind disk_file_kind() {
    return {.name = "file", .matches = disk_file::matches, .capture = disk_file::capture, .complete = nullptr};
}

} // namespace abey::capture
