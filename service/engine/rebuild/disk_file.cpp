// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What has (or had) a name in a file system; which inode that is now, the FileOpener knows.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/mounts.h"
#include "engine/rebuild/open_files.h"

namespace abey::rebuild {
namespace disk_file {
namespace {

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &disk = std::get<model::DiskFile>(file.payload);
    const model::Inode *inode = TRY(find(context.tree.inodes, disk.inode));
    const auto flags = reopen_flags(file.flags);
    Fd opened = TRY(open_inode(context, *inode, flags));
    if (disk.name.empty() || inode->mount_namespace != 0)
        return opened;
    return context.files.rename(*inode, std::move(opened), flags, disk.name, disk.unlinked);
}

} // namespace
} // namespace disk_file

Kind disk_file_kind() {
    return {.name = "file",
            .payload = payload_index<model::DiskFile>(),
            .create = disk_file::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr,
            .late = always_late};
}

} // namespace abey::rebuild
