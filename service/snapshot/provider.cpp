// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/provider.h"

#include "engine/os/program.h"
#include "snapshot/btrfs.h"
#include "snapshot/mounted_btrfs.h"
#include "snapshot/nilfs2.h"
#include "snapshot/none.h"
#include "snapshot/place.h"
#include "snapshot/subvolume.h"
#include "snapshot/tree.h"

#include <filesystem>

namespace abey::snapshot {
namespace {

Result<std::string> real_path(const std::string &home) {
    if (!home.starts_with('/'))
        return fail(EINVAL, "home \"{}\" is not an absolute path", home);
    std::error_code error;
    auto real = std::filesystem::canonical(home, error).string();
    if (error)
        return fail(error.value(), "home {}", home);
    return real;
}

bool is_top_of_mount(const Fd &home) {
    struct statx status {};
    return ::statx(home.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) != 0 ||
           (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// A home that is a mount cannot be exchanged; one beside which others than root may write is not safe with us.
bool can_be_exchanged(const Fd &home, const std::string &path) {
    struct stat parent {};
    return !is_top_of_mount(home) && ::stat(std::filesystem::path(path).parent_path().c_str(), &parent) == 0 &&
           parent.st_uid == 0 && (parent.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

Result<std::string> best_for(const std::string &home) {
    const auto directory = TRY_IN(open_directory(AT_FDCWD, home), "home");
    if (is_btrfs(directory) && is_subvolume(directory) && !is_whole_file_system(home))
        return "btrfs";
    if (!can_be_exchanged(directory, home))
        return "none";
    if (is_nilfs2(directory) && has_program("rsync"))
        return "nilfs2";
    if (can_reflink(home))
        return "reflink";
    return has_program("rsync") ? "rsync" : "none";
}

Result<std::unique_ptr<Provider>> btrfs_for(const std::string &home, const SnapshotPlace &place = {}) {
    const auto directory = TRY_IN(open_directory(AT_FDCWD, home), "home");
    const bool mounted = is_btrfs(directory) && is_subvolume(directory) && is_top_of_mount(directory);
    return mounted ? make_mounted_btrfs(home, place) : make_btrfs(home, place);
}

} // namespace

Result<> checked_id(const std::string &id) {
    if (id.empty() || id.front() == '.' || id.starts_with("new-") || id.find('/') != std::string::npos ||
        id.size() > 128)
        return fail(EINVAL, "not the id of a checkpoint: \"{}\"", id);
    return {};
}

Result<std::unique_ptr<Provider>> make_provider(const std::string &name, const std::string &home,
                                                const Verified &verified, const SnapshotPlace &place) {
    TRY(give_back_home(home));
    const auto real = TRY(real_path(home));
    auto kind = name;
    if (name == "auto")
        kind = TRY(best_for(real));
    if (kind == "btrfs")
        return btrfs_for(real, place_for(place, real));
    if (kind == "none")
        return make_none(real, verified);
    for (const auto tree : {TreeKind::rsync, TreeKind::tar, TreeKind::reflink, TreeKind::nilfs2})
        if (kind == name_of(tree))
            return make_tree_provider(tree, real);
    return fail(EINVAL,
                "no provider of homes is called \"{}\": there are btrfs, nilfs2, rsync, tar, reflink, "
                "none and auto",
                name);
}

Result<> discard_saved(const std::string &home, const std::string &id) {
    TRY(give_back_home(home));
    const auto real = real_path(home);
    if (!real)
        return {};
    TRY(discard_tree(*real, id));
    const auto directory = open_directory(AT_FDCWD, *real);
    if (!directory || !is_btrfs(*directory) || !is_subvolume(*directory) || is_whole_file_system(*real))
        return {};
    return TRY(btrfs_for(*real))->discard(id);
}

} // namespace abey::snapshot
