// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What no kind brings back, refused by name: a reason, and what the user can do.
#include "engine/capture/kinds.h"

#include <algorithm>
#include <array>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

namespace abey::capture {
namespace {

constexpr std::array refused_links = {
    Refused{"anon_inode:[io_uring]", "an io_uring cannot be brought back",
            "run the program with its io_uring support switched off"},
    Refused{"anon_inode:[userfaultfd]", "a userfaultfd cannot be brought back", "end the program"},
    Refused{"anon_inode:bpf", "BPF objects cannot be brought back", "end the program that uses them"},
    Refused{"anon_inode:[perf_event]", "performance counters cannot be brought back", "end the profiler"},
    Refused{"anon_inode:[fscontext]", "a mount that is being made cannot be brought back", "try again later"},
    Refused{"anon_inode:kvm", "a virtual machine (KVM) cannot be brought back", "save and end the virtual machine"},
    Refused{"anon_inode:[landlock", "a Landlock ruleset that is being made cannot be brought back", "try again later"},
    Refused{"anon_inode:seccomp notify", "a seccomp listener cannot be brought back", "end the supervising program"},
    Refused{"anon_inode:dmabuf", "memory of a graphics device cannot be brought back", "end the graphical program"},
    Refused{"/dmabuf:", "memory of a graphics device cannot be brought back", "end the graphical program"},
    Refused{"anon_inode:sync_file", "a fence of a graphics device cannot be brought back", "end the graphical program"},
    Refused{"anon_inode:", "this kernel object cannot be brought back", "end the program that holds it"},
};

std::string family_name(int family) {
    switch (family) {
    case AF_INET:
        return "an internet (IPv4) socket";
    case AF_INET6:
        return "an internet (IPv6) socket";
    case AF_NETLINK:
        return "a netlink socket";
    case AF_VSOCK:
        return "a socket to the hypervisor (vsock)";
    case AF_BLUETOOTH:
        return "a bluetooth socket";
    case AF_ALG:
        return "a socket of the kernel's cryptography";
    default:
        return fmt::format("a socket of address family {}", family);
    }
}

} // namespace

const Refused *refused_by_link(std::string_view link) {
    const auto *const found =
        std::ranges::find_if(refused_links, [link](const Refused &refused) { return link.starts_with(refused.link); });
    return found == refused_links.end() ? nullptr : found;
}

Error refusal(const Seen &seen) {
    if (S_ISSOCK(seen.stat.st_mode)) {
        int family = -1;
        socklen_t size = sizeof family;
        if (::getsockopt(seen.file->get(), SOL_SOCKET, SO_DOMAIN, &family, &size) < 0)
            return Error(errno, "cannot ask the socket for its family");
        return Error(0,
                     family_name(family) +
                         " of this type cannot be brought back; close the connection or end the program that holds it");
    }
    if (const Refused *refused = refused_by_link(seen.link); refused != nullptr)
        return Error(0, fmt::format("{}; {}", refused->reason, refused->advice));
    if (S_ISCHR(seen.stat.st_mode))
        return Error(0, fmt::format("the device {} (character device {}:{}) has state in the kernel that cannot be "
                                    "brought back; end the program that holds it",
                                    seen.link, major(seen.stat.st_rdev), minor(seen.stat.st_rdev)));
    if (S_ISBLK(seen.stat.st_mode))
        return Error(0,
                     fmt::format("an open disk ({}) cannot be brought back; end the program that holds it", seen.link));
    return Error(0, "an object of this kind cannot be brought back; end the program that holds it");
}

} // namespace abey::capture
