// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/above.h"

#include "files/contents.h"
#include "files/identity.h"
#include "files/remake.h"

#include <algorithm>

#include <linux/openat2.h>
#include <sys/syscall.h>

namespace abey::files {

Result<std::vector<model::Above>> above_of(const std::string &path) {
    std::vector<model::Above> found;
    Fd here = TRY(open_file("/", O_PATH | O_DIRECTORY));
    auto parts = TRY(parts_of(path));
    parts.pop_back();
    for (const std::string &part : parts) {
        struct open_how how = {};
        how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
        how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        Fd next(static_cast<int>(::syscall(SYS_openat2, here.get(), part.c_str(), &how, sizeof how)));
        if (!next)
            return std::vector<model::Above>();
        here = std::move(next);
        model::Inode seen;
        TRY(describe(here, seen));
        found.push_back({.mode = seen.mode & 07777,
                         .uid = seen.uid,
                         .gid = seen.gid,
                         .atime = seen.atime,
                         .mtime = seen.mtime,
                         .xattrs = TRY(read_xattrs(here))});
    }
    std::ranges::reverse(found);
    return found;
}

} // namespace abey::files
