// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Character devices without any state of their own.
#include "engine/capture/kinds.h"

#include <sys/sysmacros.h>

namespace abey::capture {
namespace {

// Linux's devices.txt: memory devices are major 1
constexpr unsigned int memory_devices = 1;

bool matches(const Seen &seen) {
    if (!S_ISCHR(seen.stat.st_mode) || (seen.flags & O_PATH) != 0 || major(seen.stat.st_rdev) != memory_devices)
        return false;
    switch (minor(seen.stat.st_rdev)) {
    case 3: // null
    case 5: // zero
    case 7: // full
    case 8: // random
    case 9: // urandom
        return true;
    default:
        return false;
    }
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    return model::Device{.inode = TRY(context.inode(seen))};
}

} // namespace

Kind device_kind() { return {.name = "device", .matches = matches, .capture = capture, .complete = nullptr}; }

} // namespace abey::capture
