// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What has (or had) a name in a file system: regular files, directories, symbolic links, and anything opened by O_PATH.
#include "engine/capture/kinds.h"

namespace abey::capture {
namespace {

bool matches(const Seen &seen) {
    if ((seen.flags & O_PATH) != 0)
        return true;
    const bool has_name = seen.link.starts_with('/');
    return has_name && (S_ISREG(seen.stat.st_mode) || S_ISDIR(seen.stat.st_mode) || S_ISLNK(seen.stat.st_mode));
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    if (!seen.link.starts_with('/'))
        return fail(0, "an O_PATH descriptor of something without a path cannot be brought back; end the program that "
                       "holds it");
    return model::DiskFile{.inode = TRY(context.inode(seen))};
}

} // namespace

Kind disk_file_kind() { return {.name = "file", .matches = matches, .capture = capture, .complete = nullptr}; }

} // namespace abey::capture
