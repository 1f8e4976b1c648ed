// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/area.h"

#include "engine/os/date.h"
#include "snapshot/changes.h"
#include "snapshot/nested.h"
#include "snapshot/place.h"

#include <climits>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <vector>

#include <dirent.h>
#include <sys/file.h>

namespace abey::snapshot {
namespace {

constexpr size_t uuid_length = 36;
constexpr int name_attempts = 100;

Result<> only_roots(const Fd &directory, const std::string &path) {
    const auto status = TRY(stat_of(directory));
    if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(EPERM,
                    "{}: others than root may write there, so snapshots and roll-backs are not safe: "
                    "chown root and chmod go-w it",
                    path);
    return {};
}

Result<Fd> own_directory(const Fd &parent, const std::string &where, const std::string &name, mode_t mode) {
    const auto path = where + "/" + name;
    if (::mkdirat(parent.get(), name.c_str(), mode) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", path);
    auto directory = TRY_IN(open_directory(parent.get(), name), "{}", where);
    TRY(only_roots(directory, path));
    // The umask may have taken bits, an earlier run may have died before this.
    const auto status = TRY(stat_of(directory));
    if ((status.st_mode & 07777) != mode && ::fchmod(directory.get(), mode) < 0)
        return fail(errno, "cannot set the mode of {}", path);
    return directory;
}

// Of "UUID_NAME"; `number`: two in one second.
std::string name_displaced(const std::string &incoming, int number) {
    const auto wanted = incoming.substr(incoming.find('_') + 1);
    return number == 1 ? wanted : fmt::format("{}-{}", wanted, number);
}

} // namespace

std::string timestamp() { return os::utc_date(std::time(nullptr), "%Y%m%d-%H%M%S"); }

Result<std::vector<std::string>> names_in(const Fd &directory, size_t limit) {
    Fd again = TRY(open_directory(directory.get(), "."));
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::fdopendir(again.get()), ::closedir);
    if (!stream)
        return fail(errno, "cannot list a directory");
    (void)again.release();
    std::vector<std::string> names;
    errno = 0;
    while (const auto *entry = ::readdir(stream.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..")
            names.push_back(name);
        if (names.size() > limit)
            return fail(EFBIG, "more than {} entries", limit);
    }
    if (errno != 0)
        return fail(errno, "cannot list a directory");
    return names;
}

Result<> move_to(const Fd &from, const std::string &old_name, const Fd &to, const std::string &new_name) {
    if (::renameat2(from.get(), old_name.c_str(), to.get(), new_name.c_str(), RENAME_NOREPLACE) < 0)
        return fail(errno, "cannot rename {} to {}", old_name, new_name);
    return {};
}

Result<Area> Area::open(const std::string &parent, const std::string &name) {
    Area area;
    area.parent_ = TRY(open_directory(AT_FDCWD, parent));
    TRY(only_roots(area.parent_, parent));
    const auto top_path = parent + "/" + name;
    const auto top = TRY(own_directory(area.parent_, parent, name, 0711));
    area.lock_ = TRY_IN(open_at(top.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600), "{}", top_path);
    while (::flock(area.lock_.get(), LOCK_EX) < 0)
        if (errno != EINTR)
            return fail(errno, "cannot lock {}/lock", top_path);
    area.snapshots_ = TRY(own_directory(top, top_path, "snapshots", 0700));
    area.displaced_ = TRY(own_directory(top, top_path, "displaced", 0711));
    area.incoming_ = TRY(own_directory(top, top_path, "incoming", 0700));
    return area;
}

std::string Area::place_of(const std::string &parent, const std::string &id) {
    auto place = snapshots_path(parent) + "/" + id;
    auto elsewhere = read_link(place);
    return elsewhere ? std::move(*elsewhere) : place;
}

Result<> Area::point(const std::string &id, const std::string &path) const {
    if (::symlinkat(path.c_str(), snapshots_.get(), id.c_str()) < 0)
        return fail(errno, "cannot note where the snapshot of checkpoint {} is", id);
    if (::fsync(snapshots_.get()) < 0)
        return fail(errno, "cannot write the directory of snapshots to disk");
    return {};
}

Result<> Area::forget_place(const std::string &id) const {
    if (::unlinkat(snapshots_.get(), id.c_str(), 0) < 0 && errno != ENOENT)
        return fail(errno, "cannot forget where the snapshot of checkpoint {} is", id);
    return {};
}

Result<Fd> Area::open_snapshot(const std::string &id) const {
    std::string target(PATH_MAX, '\0');
    const auto length = ::readlinkat(snapshots_.get(), id.c_str(), target.data(), target.size());
    if (length < 0)
        return open_directory(snapshots_.get(), id);
    target.resize(static_cast<size_t>(length));
    return open_directory(AT_FDCWD, target);
}

Result<> Area::remove_snapshot(const std::string &parent, const std::string &id,
                               const std::function<bool(const Subvolume &)> &mine) const {
    const auto path = place_of(parent, id);
    if (path == snapshots_path(parent) + "/" + id)
        return delete_all(snapshots_, id);
    const std::filesystem::path place = path;
    const bool not_ours = !is_spot_of(path, id).value_or(true);
    if (const auto found = open_snapshot(id); found && !not_ours) {
        if (!is_subvolume(*found) || !mine(TRY(subvolume_of(*found, path))))
            return fail(ESTALE,
                        "{} is not the snapshot that checkpoint {} made: remove the link {}/{} to leave it alone", path,
                        id, snapshots_path(parent), id);
        const auto directory = TRY(open_directory(AT_FDCWD, place.parent_path()));
        TRY_IN(delete_all(directory, place.filename()), "{}", place.parent_path().string());
    }
    TRY(drop_spot(path, id));
    if (::unlinkat(snapshots_.get(), id.c_str(), 0) < 0 && errno != ENOENT)
        return fail(errno, "cannot remove {}/{}", snapshots_path(parent), id);
    return {};
}

std::string Area::displaced_name(const std::string &incoming) const {
    for (int number = 1;; ++number) {
        auto name = name_displaced(incoming, number);
        struct stat status {};
        if (number == name_attempts || ::fstatat(displaced_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            return name;
    }
}

Result<std::string> Area::displace(const std::string &incoming) const {
    for (int number = 1;; ++number) {
        auto name = name_displaced(incoming, number);
        const auto moved = move_to(incoming_, incoming, displaced_, name);
        if (moved)
            return name;
        if (moved.error().code() != EEXIST || number == name_attempts)
            return std::unexpected(moved.error());
    }
}

Result<bool> Area::has_changed_files(const std::string &incoming) const {
    const auto copy = TRY(open_directory(incoming_.get(), incoming));
    const auto subvolume = TRY(subvolume_of(copy, incoming));
    // Delayed inode items are seen by no search before they are in the tree.
    if (::syncfs(copy.get()) < 0)
        return fail(errno, "cannot write the dirty data of {} to disk", incoming);
    for (const auto &name : TRY(names_in(snapshots_))) {
        const auto snapshot = open_snapshot(name);
        if (!snapshot)
            continue;
        if (const auto found = subvolume_of(*snapshot, name); found && found->uuid == subvolume.parent_uuid)
            return TRY(changed_since(copy, *snapshot, subvolume.created, Compare::files)) ||
                   TRY(nested_have_changed_files(copy, *snapshot));
    }
    return true; // its snapshot is gone: nobody can tell
}

Result<> Area::retire(const std::string &incoming) const {
    if (!TRY(has_changed_files(incoming)))
        return delete_all(incoming_, incoming);
    TRY(displace(incoming));
    return {};
}

Result<> Area::clean() const {
    for (const auto &name : TRY(names_in(incoming_))) {
        if (name == incoming_new) {
            TRY_IN(delete_all(incoming_, name), "left by a roll-back that was killed");
            continue;
        }
        if (name.size() <= uuid_length + 1 || name[uuid_length] != '_')
            return fail(EEXIST, ".abeyance/incoming/{} is not ours: move it away", name);
        const auto found = TRY(child_subvolume(incoming_, name));
        if (found.uuid == name.substr(0, uuid_length))
            TRY_IN(retire(name), "left by a roll-back that was killed");
        else
            TRY(displace(name));
    }
    return {};
}

} // namespace abey::snapshot
