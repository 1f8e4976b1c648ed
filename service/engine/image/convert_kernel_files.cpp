// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Open files through which the kernel tells about something else: watches, processes, namespaces.
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::Watch &from, pb::Watch &to) {
    to.set_number(from.number);
    to.set_mask(from.mask);
    to.set_inode(from.inode);
    to.set_path(from.path);
    to.set_file(from.file);
}

Result<> get(const pb::Watch &from, model::Watch &to) {
    to.number = from.number();
    to.mask = from.mask();
    to.inode = from.inode();
    to.path = from.path();
    to.file = from.file();
    return {};
}

void put(const model::FileWatches &from, pb::FileWatches &to) {
    for (const auto &each : from.watches)
        put(each, *to.add_watches());
    to.set_unread(from.unread);
}

Result<> get(const pb::FileWatches &from, model::FileWatches &to) {
    TRY(get_all(from.watches(), to.watches));
    to.unread = from.unread();
    return {};
}

} // namespace abey::image
