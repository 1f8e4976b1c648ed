// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/namespace.h"

#include "engine/os/kernel.h"

#include <array>
#include <cerrno>
#include <utility>

#include <linux/sched.h>
#include <sched.h>

namespace abey::os {

namespace {

std::string own_namespace(std::string_view name) { return fmt::format("/proc/thread-self/ns/{}", name); }

} // namespace

int namespace_flag(std::string_view name) {
    constexpr std::array<std::pair<std::string_view, int>, 8> flags = {{{"cgroup", CLONE_NEWCGROUP},
                                                                        {"ipc", CLONE_NEWIPC},
                                                                        {"mnt", CLONE_NEWNS},
                                                                        {"net", CLONE_NEWNET},
                                                                        {"pid", CLONE_NEWPID},
                                                                        {"time", CLONE_NEWTIME},
                                                                        {"user", CLONE_NEWUSER},
                                                                        {"uts", CLONE_NEWUTS}}};
    for (const auto &[known, flag] : flags)
        if (known == name)
            return flag;
    return 0;
}

Result<Inside> Inside::of(const Fd &there, std::string_view name) {
    Fd before = TRY(open_file(own_namespace(name), O_RDONLY));
    if (::setns(there.get(), namespace_flag(name)) < 0)
        return fail(errno, "cannot enter a {} namespace", name);
    return Inside(std::move(before), name);
}

Result<Inside> Inside::of_new(std::string_view name) {
    Fd before = TRY(open_file(own_namespace(name), O_RDONLY));
    if (::unshare(namespace_flag(name)) < 0)
        return fail(errno, "cannot make a {} namespace", name);
    return Inside(std::move(before), name);
}

Inside::~Inside() {
    if (before_)
        (void)::setns(before_.get(), namespace_flag(name_)); // the way back is always open to root
}

Result<Fd> Inside::file() const { return open_file(own_namespace(name_), O_RDONLY); }

} // namespace abey::os
