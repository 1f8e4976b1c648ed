// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/mount_tree.h"

#include "engine/os/kernel.h"

#include <algorithm>
#include <cerrno>
#include <sstream>

#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::os {

namespace {

// <sys/mount.h> and <linux/mount.h> cannot be included together.
constexpr unsigned long rec = 0x4000, private_mounts = 1UL << 18U;
constexpr int detach = 2, no_follow = 8; // umount2(2)

} // namespace

Result<> leave_mounts() {
    if (::unshare(CLONE_NEWNS) < 0)
        return fail(errno, "cannot make a mount namespace");
    if (::syscall(SYS_mount, "none", "/", nullptr, rec | private_mounts, nullptr) < 0)
        return fail(errno, "cannot make the mounts of a new mount namespace private");
    return {};
}

Result<uint64_t> mount_id(const Fd &file) {
    struct statx status = {};
    if (::statx(file.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status) < 0)
        return fail(errno, "cannot ask for the mount of a file");
    if ((status.stx_mask & STATX_MNT_ID) == 0)
        return fail(ENOTSUP, "cannot ask for the mount of a file");
    return status.stx_mnt_id;
}

Result<Fd> look_below(const Fd &directory, const std::string &path) {
    open_how how = {};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    if (path.empty()) // that of a file has nothing below it
        return duplicate(directory);
    Fd file(static_cast<int>(::syscall(SYS_openat2, directory.get(), path.c_str(), &how, sizeof how)));
    if (!file)
        return fail(errno, "cannot find {}", path);
    return file;
}

Result<Fd> look_in(const Fd &root, const std::string &path) {
    open_how how = {};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    Fd file(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
    if (!file)
        return fail(errno, "cannot find {}", path);
    return file;
}

Result<Fd> uncover(const MountTable &table, size_t index) {
    auto covers = in_the_way(table, index);
    // one may be covered by another itself
    for (size_t before = 0; !covers.empty() && before != covers.size();) {
        before = covers.size();
        std::erase_if(covers, [&](size_t cover) {
            return ::syscall(SYS_umount2, table[cover].place.c_str(), detach | no_follow) == 0;
        });
    }
    const std::string &place = table[index].place;
    Fd root = TRY(abey::open_file(place, O_PATH | O_NOFOLLOW));
    if (TRY(mount_id(root)) != static_cast<uint64_t>(table[index].id))
        return fail(EBUSY, "cannot get at what is mounted on {} below another mount", place);
    return root;
}

Result<Fd> clone_mount(const Fd &place, bool recursive) {
    Fd mount(static_cast<int>(
        ::syscall(SYS_open_tree, place.get(), "",
                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0))));
    if (!mount)
        return fail(errno, "cannot mount a directory once more");
    return mount;
}

Result<> attach(const Fd &mount, const Fd &place) {
    if (::syscall(SYS_move_mount, mount.get(), "", place.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
        0)
        return fail(errno, "cannot mount it");
    return {};
}

Result<> set_attributes(const Fd &mount, uint64_t attributes) {
    constexpr uint64_t all = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                             MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW;
    mount_attr wanted = {};
    wanted.attr_set = attributes;
    wanted.attr_clr = (all & ~attributes) | MOUNT_ATTR__ATIME;
    wanted.propagation = private_mounts;
    if (::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH, &wanted, sizeof wanted) < 0)
        return fail(errno, "cannot set its attributes");
    return {};
}

Result<> set_propagation(const Fd &mount, uint64_t propagation) {
    mount_attr wanted = {};
    wanted.propagation = propagation;
    if (::syscall(SYS_mount_setattr, mount.get(), "", AT_EMPTY_PATH, &wanted, sizeof wanted) < 0)
        return fail(errno, "cannot set how mounts propagate there");
    return {};
}

Result<> join_group(const Fd &mount, const Fd &other) {
    if (::syscall(SYS_move_mount, other.get(), "", mount.get(), "",
                  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP) < 0)
        return fail(errno, "cannot make it a peer of another mount");
    return {};
}

Result<> make_read_only(const Fd &mount) {
    const Fd context(static_cast<int>(::syscall(SYS_fspick, mount.get(), "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)));
    if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "ro", nullptr, 0) < 0 ||
        ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) < 0)
        return fail(errno, "cannot make it read-only");
    return {};
}

Result<Fd> new_file_system(const std::string &type, const std::string &source, const std::string &options) {
    const Fd context(static_cast<int>(::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC)));
    if (!context)
        return fail(errno, "cannot make a {}", type);
    const auto set = [&](unsigned command, const char *key, const char *value) {
        return ::syscall(SYS_fsconfig, context.get(), command, key, value, 0) == 0;
    };
    if (!source.empty())
        (void)set(FSCONFIG_SET_STRING, "source", source.c_str());
    std::istringstream words(options);
    for (std::string word; std::getline(words, word, ',');) {
        const size_t equals = word.find('=');
        if (word == "rw" || word == "ro" || word == "seclabel" || word.starts_with("inode64") || word.empty())
            continue;
        const bool done = equals == std::string::npos
                              ? set(FSCONFIG_SET_FLAG, word.c_str(), nullptr)
                              : set(FSCONFIG_SET_STRING, word.substr(0, equals).c_str(), word.c_str() + equals + 1);
        if (!done)
            return fail(errno, "cannot make a {} with the option {}", type, word);
    }
    if (!set(FSCONFIG_CMD_CREATE, nullptr, nullptr))
        return fail(errno, "cannot make a {} ({})", type, options);
    Fd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
    if (!mount)
        return fail(errno, "cannot mount a new {}", type);
    return mount;
}

Result<> make_root(const Fd &mount) {
    if (::fchdir(mount.get()) < 0 || ::syscall(SYS_pivot_root, ".", ".") < 0 ||
        ::syscall(SYS_umount2, ".", detach) < 0 || ::chdir("/") < 0)
        return fail(errno, "cannot make a mount the root of a namespace");
    return {};
}

} // namespace abey::os
