// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/received.h"

#include "engine/os/human_size.h"
#include "snapshot/nilfs2.h"
#include "snapshot/tree_copy.h"
#include "snapshot/tree_states.h"

#include <filesystem>

#include <sys/statvfs.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr const char *tree_name = "tree";

Result<> check_room(const Fd &home, const std::string &path, const Manifest &list) {
    struct statvfs status {};
    if (::fstatvfs(home.get(), &status) < 0)
        return fail(errno, "cannot look at the file system of {}", path);
    uint64_t wanted = 0;
    for (const Entry &entry : list.entries)
        if (__builtin_add_overflow(wanted, entry_cost, &wanted) ||
            (S_ISREG(entry.mode) && entry.blocks > UINT64_MAX / 1024) ||
            __builtin_add_overflow(wanted, S_ISREG(entry.mode) ? entry.blocks * 512 : 0, &wanted))
            return fail(EINVAL, "the list of the home is not credible");
    const uint64_t free = static_cast<uint64_t>(status.f_bfree) * status.f_frsize;
    if (wanted > free)
        return fail(ENOSPC, "the saved home takes about {}, and the file system of {} has {} left: make room",
                    os::human_size(wanted), path, os::human_size(free));
    return {};
}

// Its states lie where nobody else sees them (mounted_btrfs.h).
Result<> check_no_mount(const std::string &home) {
    const auto directory = TRY_IN(open_directory(AT_FDCWD, home), "home");
    struct statx status {};
    if (::statx(directory.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0)
        return fail(errno, "cannot stat {}", home);
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return fail(ENOTSUP, "home {} is a mount point of its own: its state can be brought neither along nor here",
                    home);
    return {};
}

} // namespace

Result<Manifest> list_of(const Saved &saved) {
    if (!saved.list.empty()) {
        const auto path = fs::path(saved.list);
        const auto directory = TRY(open_directory(AT_FDCWD, path.parent_path().string()));
        return Manifest::read(directory, path.filename().string());
    }
    const auto place = TRY(open_directory(AT_FDCWD, saved.place));
    if (const auto number = checkpoint_in(saved.place)) {
        const auto mounted = TRY(MountedCheckpoint::mount(saved.home, *number));
        const auto then = TRY(open_directory(AT_FDCWD, mounted.path()));
        return Manifest::of(then, saved.home);
    }
    return saved.provider == "btrfs" ? Manifest::of(place, saved.place) : Manifest::read(place, "manifest");
}

engine::FormerFiles former_files_of(Manifest list) {
    auto then = std::make_shared<const Manifest>(std::move(list));
    return [then](const std::string &path) -> std::optional<model::Inode> {
        const auto *entry = then->find(path);
        if (entry == nullptr)
            return std::nullopt;
        model::Inode inode;
        inode.identity.number = entry->number;
        inode.mode = entry->mode;
        inode.uid = entry->uid;
        inode.gid = entry->gid;
        inode.links = entry->links;
        inode.size = entry->size;
        inode.rdev = entry->rdev;
        inode.mtime = entry->mtime;
        inode.ctime = entry->ctime;
        return inode;
    };
}

Result<Readable> Readable::of(const Saved &saved) {
    if (saved.provider == "none")
        return fail(ENOTSUP,
                    "its home {} was not saved with it ([home] provider \"none\"), so that nothing of it could be "
                    "brought along: suspend it with another provider",
                    saved.home);
    if (!saved.nested.empty())
        return fail(
            ENOTSUP,
            "home {} holds another subvolume, {}, which cannot be brought along: move it out, and suspend again",
            saved.home, saved.nested.front().path);
    TRY(check_no_mount(saved.home));
    Readable readable;
    readable.provider_ = TRY(make_provider(saved.provider, saved.home));
    TRY(readable.provider_->check(saved));
    if (saved.provider == name_of(TreeKind::tar) || saved.provider == name_of(TreeKind::nilfs2))
        readable.copy_ = TRY(readable.provider_->copy_out(saved));
    readable.path_ = readable.copy_.empty() ? readable.provider_->view(saved) : readable.copy_;
    return readable;
}

Readable::~Readable() {
    if (provider_ && !copy_.empty())
        (void)provider_->drop_copy(copy_);
}

Result<> check_no_state(const std::string &home, const std::string &id) {
    TRY(checked_id(id));
    std::error_code error;
    const auto parent = fs::canonical(home, error).parent_path().string();
    if (error)
        return fail(error.value(), "home {}", home);
    for (const auto &place : {Area::snapshots_path(parent) + "/" + id, states_path(parent) + "/" + id})
        if (fs::exists(fs::symlink_status(place, error)))
            return fail(EEXIST, "a state of the home from checkpoint {} lies in {} already", id, place);
    return {};
}

Result<Received> Received::begin(const std::string &home, const Manifest &list) {
    const auto provider = TRY(make_provider("auto", home)); // tells what a home must be like
    std::error_code error;
    const auto real = fs::canonical(home, error).string();
    if (error)
        return fail(error.value(), "home {}", home);
    TRY(check_no_mount(real));
    const auto directory = TRY_IN(open_directory(AT_FDCWD, real), "home");
    TRY(check_room(directory, real, list));
    const bool subvolume = is_btrfs(directory) && is_subvolume(directory);
    if (subvolume)
        TRY(provider->foretell());
    const auto parent = fs::path(real).parent_path().string();
    const auto area = TRY(Area::open(parent, tree_area));
    TRY(sweep(area.snapshots(), states_path(parent)));
    Received received(real, subvolume, TRY(Passing::make(area.snapshots(), states_path(parent))));
    if (subvolume)
        TRY(make_subvolume(received.passing_.fd(), tree_name));
    else if (::mkdirat(received.passing_.fd().get(), tree_name, 0700) < 0)
        return fail(errno, "cannot make {}", received.tree());
    return received;
}

// Removing a subvolume as a whole is quicker than file by file.
Received::~Received() {
    if (subvolume_ && passing_.fd())
        (void)delete_subvolume(passing_.fd(), tree_name);
}

std::string Received::tree() const { return tree_in(passing_.path()); }

Result<Saved> Received::finish(const std::string &id, const Manifest &list, const std::string &list_file) {
    TRY(checked_id(id));
    const auto made = TRY(open_directory(passing_.fd().get(), tree_name));
    const auto found = TRY(Manifest::of(made, tree()));
    const auto wrong = differences(list, found, Match::copy, differences_shown);
    if (!wrong.empty())
        return fail(EINVAL, "the home that was received is not like its list says: \"{}\" and perhaps others",
                    wrong.front().path);
    if (::syncfs(made.get()) < 0)
        return fail(errno, "cannot write {} to disk", tree());
    return subvolume_ ? finish_snapshot(made, id, list_file) : finish_copy(id, list);
}

Result<Saved> Received::finish_snapshot(const Fd &made, const std::string &id, const std::string &list_file) {
    const auto parent = fs::path(home_).parent_path().string();
    const auto home = TRY(open_directory(AT_FDCWD, home_));
    const auto area = TRY(Area::open(parent));
    TRY_IN(make_snapshot(made, area.snapshots(), id, true), "home {}", home_);
    auto saved = [&]() -> Result<Saved> {
        const auto place = Area::snapshots_path(parent) + "/" + id;
        const auto opened = TRY(open_directory(area.snapshots().get(), id));
        const auto snapshot = TRY(subvolume_of(opened, place));
        TRY(commit_transaction(area.parent(), parent));
        // Of no home of this machine: whatever lies there has diverged.
        return Saved{.provider = "btrfs",
                     .home = home_,
                     .filesystem = TRY(filesystem_of(home, home_)),
                     .source = "",
                     .place = place,
                     .snapshot = snapshot.uuid,
                     .generation = 0,
                     .list = list_file};
    }();
    if (!saved)
        (void)delete_subvolume(area.snapshots(), id);
    return saved;
}

Result<Saved> Received::finish_copy(const std::string &id, const Manifest &list) {
    const auto *const kind = "reflink"; // a tree; the data is shared with the home where that is possible
    const auto parent = fs::path(home_).parent_path().string();
    TRY(write_file(passing_.path() + "/home", fs::path(home_).filename().string()));
    TRY(write_file(passing_.path() + "/kind", kind));
    TRY(list.write(passing_.fd(), "manifest"));
    const auto area = TRY(Area::open(parent, tree_area));
    TRY(passing_.become(id));
    const auto place = states_path(parent) + "/" + id;
    if (::fsync(area.snapshots().get()) < 0) {
        const int code = errno;
        (void)remove_state(place);
        return fail(code, "cannot write {} to disk", states_path(parent));
    }
    return Saved{.provider = kind,
                 .home = home_,
                 .filesystem = "",
                 .source = "",
                 .place = place,
                 .snapshot = "",
                 .generation = 0,
                 .list = ""};
}

} // namespace abey::snapshot
