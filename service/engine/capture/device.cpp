// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Character devices without any state of their own. That of a network device that a program has made (tun, tap) is a
// network's; when the policy says so, it comes back as one that the program has not made yet.
#include "engine/capture/kinds.h"

#include <cerrno>
#include <cstring>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

namespace abey::capture {
namespace device {
namespace {

// Linux's devices.txt: memory devices are major 1
constexpr unsigned int memory_devices = 1;

constexpr unsigned int misc_devices = 10, tun_device = 200;

bool makes_networks(const Seen &seen) { return seen.stat.st_rdev == makedev(misc_devices, tun_device); }

bool matches(const Seen &seen) {
    if (!S_ISCHR(seen.stat.st_mode) || (seen.flags & O_PATH) != 0)
        return false;
    if (makes_networks(seen))
        return true;
    if (major(seen.stat.st_rdev) != memory_devices)
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

// EBADFD: it has made none.
Result<> let_go_of_network(Context &context, const Seen &seen) {
    ifreq request = {};
    if (::ioctl(seen.file->get(), TUNGETIFF, &request) < 0) {
        if (errno == EBADFD)
            return {};
        return fail(errno, "cannot ask for its network device");
    }
    const std::string name(request.ifr_name, ::strnlen(request.ifr_name, sizeof request.ifr_name));
    const auto choice = context.devices(seen.link);
    if (choice.action != engine::DeviceAction::drop)
        return fail(0,
                    "its network device {} cannot be brought back; end the program, or let it lose the device by the "
                    "policy: [[device]] path = \"{}\", action = \"drop\"",
                    name, seen.link);
    context.findings.push_back({.pid = seen.pid,
                                .comm = seen.comm,
                                .object = fmt::format("descriptor {} ({})", seen.number, seen.link),
                                .reason = fmt::format("its network device {} is gone after the restore: reading and "
                                                      "writing fail with EBADFD ({})",
                                                      name, choice.rule),
                                .advice = "the program must make it again by itself",
                                .fatal = false});
    return {};
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    if (makes_networks(seen))
        TRY(let_go_of_network(context, seen));
    return model::Device{.inode = TRY(context.inode(seen))};
}

} // namespace
} // namespace device

Kind device_kind() {
    return {.name = "device", .matches = device::matches, .capture = device::capture, .complete = nullptr};
}

} // namespace abey::capture
