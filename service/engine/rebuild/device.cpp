// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Character devices without any state of their own.
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/mounts.h"
#include "engine/rebuild/open_files.h"

namespace abey::rebuild {
namespace device {
namespace {

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const model::Inode *inode = TRY(find(context.tree.inodes, std::get<model::Device>(file.payload).inode));
    Fd fd = TRY(open_inode(context, *inode, reopen_flags(file.flags)));
    const auto st = TRY(stat_of(fd));
    if (!S_ISCHR(st.st_mode) || st.st_rdev != inode->rdev)
        return fail(ENXIO, "{} is another device now", inode->path);
    return fd;
}

} // namespace
} // namespace device

Kind device_kind() {
    return {.name = "device",
            .payload = payload_index<model::Device>(),
            .create = device::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr,
            .late = always_late};
}

} // namespace abey::rebuild
