// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/btrfs.h"

#include "engine/os/room.h"
#include "snapshot/area.h"
#include "snapshot/changes.h"
#include "snapshot/manifest.h"
#include "snapshot/nested.h"
#include "snapshot/place.h"
#include "snapshot/received.h"

#include <algorithm>
#include <filesystem>

#include <sys/statvfs.h>
#include <sys/syscall.h>

namespace abey::snapshot {
namespace {

// The home and where it is, checked.
struct Live {
    Fd directory;
    Subvolume subvolume;
    std::string filesystem;
};

// statx(2), STATX_ATTR_MOUNT_ROOT: the top of a mount, which cannot be renamed (EBUSY).
Result<bool> is_mount_point(const Fd &directory, const std::string &path) {
    struct statx status {};
    if (::statx(directory.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0)
        return fail(errno, "cannot stat {}", path);
    return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Result<> writable(const Fd &directory, const std::string &path) {
    struct statvfs status {};
    if (::fstatvfs(directory.get(), &status) < 0)
        return fail(errno, "cannot look at the file system of {}", path);
    if ((status.f_flag & ST_RDONLY) != 0)
        return fail(EROFS, "{}: its file system is mounted read-only: mount it writable", path);
    return {};
}

// A subvolume that is read-only cannot be renamed into another directory (EROFS); it is so again afterwards.
class WritableMeanwhile {
  public:
    static Result<WritableMeanwhile> make(const Live &home, const std::string &path) {
        if (!home.subvolume.read_only)
            return WritableMeanwhile(Fd());
        TRY(set_read_only(home.directory, false, path));
        return WritableMeanwhile(TRY(duplicate(home.directory)));
    }
    WritableMeanwhile(WritableMeanwhile &&) = default;
    WritableMeanwhile &operator=(WritableMeanwhile &&) = delete;
    WritableMeanwhile(const WritableMeanwhile &) = delete;
    WritableMeanwhile &operator=(const WritableMeanwhile &) = delete;
    ~WritableMeanwhile() {
        if (directory_)
            (void)set_read_only(directory_, true, "");
    }

  private:
    explicit WritableMeanwhile(Fd directory) : directory_(std::move(directory)) {}
    Fd directory_;
};

// Records from before snapshots could lie elsewhere name no id.
std::string id_of(const Saved &saved) {
    return saved.id.empty() ? std::filesystem::path(saved.place).filename().string() : saved.id;
}

class Btrfs final : public Provider {
  public:
    Btrfs(std::string home, SnapshotPlace place, StepDone step_done)
        : home_(std::move(home)), parent_(std::filesystem::path(home_).parent_path().string()),
          name_(std::filesystem::path(home_).filename().string()), place_(std::move(place)),
          step_done_(std::move(step_done)) {}

    Result<> prepare() override;
    Result<Saved> save(const std::string &id) override;
    Result<> discard(const std::string &id) override;
    Result<std::string> remove(const Saved &saved) override;
    Result<bool> diverged(const Saved &saved) override;
    Result<> check(const Saved &saved) override;
    Result<Displaced> roll_back(const Saved &saved) override;
    Result<> undo(const Displaced &displaced) override;
    Result<std::vector<Change>> changes(const Saved &saved, size_t limit) override;
    Result<std::string> copy_out(const Saved &saved) override;
    Result<std::optional<uint64_t>> exclusive(const Saved &saved, MeasureUntil until) override;
    Result<> drop_copy(const std::string &place) override;
    Result<engine::FormerFiles> former_files(const Saved &saved) override {
        return saved.list.empty() ? engine::FormerFiles() : former_files_of(TRY(list_of(saved)));
    }
    Result<std::string> foretell() override {
        const auto home = TRY(savable());
        return let_in(place_, home.directory);
    }

  private:
    [[nodiscard]] Result<Live> live() const;
    [[nodiscard]] Result<Live> savable() const;
    [[nodiscard]] Result<> checked_saved(const Live &live, const Saved &saved) const;
    // The snapshot, verified to be the one that was saved.
    [[nodiscard]] Result<Fd> opened(const Saved &saved) const;
    [[nodiscard]] Result<> exchange(const Area &area, const std::string &incoming) const;
    [[nodiscard]] Result<Saved> made(const std::string &id, const Live &home, std::vector<Nested> nested) const;
    void done(std::string_view step) const {
        if (step_done_)
            step_done_(step);
    }

    std::string home_, parent_, name_;
    SnapshotPlace place_;
    StepDone step_done_;
};

Result<Live> Btrfs::live() const {
    Live live;
    live.directory = TRY_IN(open_directory(AT_FDCWD, home_), "home");
    if (!is_btrfs(live.directory))
        return fail(ENOTSUP,
                    "home {} is not on btrfs: move it to a btrfs subvolume, or choose another provider in the "
                    "policy ([home] provider = \"none\")",
                    home_);
    if (!is_subvolume(live.directory))
        return fail(ENOTSUP,
                    "home {} is a directory in btrfs, not a subvolume of its own: make one with "
                    "`btrfs subvolume create`, move the files there, and put it in the home's place",
                    home_);
    if (TRY(is_mount_point(live.directory, home_)))
        return fail(EBUSY,
                    "home {} is a mount point of its own, which cannot be exchanged by a rename: mount the directory "
                    "above it from the same file system instead, or choose another provider in the policy",
                    home_);
    live.subvolume = TRY(subvolume_of(live.directory, home_));
    live.filesystem = TRY(filesystem_of(live.directory, home_));
    TRY(writable(live.directory, home_));
    return live;
}

Result<Live> Btrfs::savable() const {
    auto home = TRY(live());
    TRY(nested_of(home.directory, home_));
    TRY(check_place(place_, home.directory, home_));
    // The home may be at its own limit: a snapshot is charged to where it is named.
    const auto parent = TRY(open_directory(AT_FDCWD, parent_));
    const auto room = TRY(os::room_in(parent));
    TRY_IN(os::check_room(room, 0), "no snapshot of home {} can be made beside it", home_);
    return home;
}

Result<> Btrfs::prepare() {
    const auto home = TRY(savable());
    const auto area = TRY(Area::open(parent_));
    TRY_IN(area.clean(), "{}", parent_);
    // The snapshot would wait for dirty data while the session stands still; wait for it now, while it runs.
    if (::syncfs(home.directory.get()) < 0)
        return fail(errno, "cannot write the dirty data of {} to disk", home_);
    return {};
}

Result<Saved> Btrfs::save(const std::string &id) {
    TRY(checked_id(id));
    const auto home = TRY(live());
    const auto area = TRY(Area::open(parent_));
    auto nested = TRY(nested_of(home.directory, home_));
    if (place_.directory.empty()) {
        TRY_IN(save_all(home.directory, area.snapshots(), id, nested), "home {}", home_);
        done("snapshot made");
        return made(id, home, std::move(nested));
    }
    const auto spot = TRY(make_spot(place_, id));
    const auto save = [&]() -> Result<Saved> {
        TRY(area.point(id, spot.path));
        done("place noted");
        TRY_IN(save_all(home.directory, spot.parent, spot.name, nested), "home {}", home_);
        done("snapshot made");
        return made(id, home, std::move(nested));
    };
    auto saved = save();
    if (!saved) {
        (void)discard(id);
        (void)drop_spot(spot.path, id); // it may have failed before the place was noted
    }
    return saved;
}

Result<Saved> Btrfs::made(const std::string &id, const Live &home, std::vector<Nested> nested) const {
    const auto place = Area::place_of(parent_, id);
    const auto made = TRY(open_directory(AT_FDCWD, place));
    const auto snapshot = TRY(subvolume_of(made, place));
    return Saved{.provider = "btrfs",
                 .home = home_,
                 .filesystem = home.filesystem,
                 .source = home.subvolume.uuid,
                 .place = place,
                 .id = id,
                 .snapshot = snapshot.uuid,
                 // not that of the source now: others may have written since
                 .generation = snapshot.created,
                 .nested = std::move(nested)};
}

Result<> Btrfs::discard(const std::string &id) {
    TRY(checked_id(id));
    const auto area = TRY(Area::open(parent_));
    // A snapshot elsewhere must be one of the home: names there are the administrator's.
    const auto home = child_subvolume(area.parent(), name_);
    TRY_IN(area.remove_snapshot(parent_, id,
                                [&home](const Subvolume &found) { return home && found.parent_uuid == home->uuid; }),
           "{}", Area::snapshots_path(parent_));
    return {};
}

Result<Fd> Btrfs::opened(const Saved &saved) const {
    const auto id = id_of(saved);
    TRY(checked_id(id));
    if (saved.home != home_ || saved.place != Area::place_of(parent_, id))
        return fail(EINVAL, "the snapshot {} is not one of home {}", saved.place, home_);
    auto directory = open_directory(AT_FDCWD, saved.place);
    if (!directory && directory.error().code() == ENOENT)
        return fail(ENOENT,
                    "the snapshot {} is gone (was it deleted?): the home cannot be brought back to it; resume with "
                    "--on-divergence=keep when it has not changed since, or remove the checkpoint",
                    saved.place);
    if (!directory)
        return directory;
    const auto found = TRY(subvolume_of(*directory, saved.place));
    if (found.uuid != saved.snapshot || !found.read_only)
        return fail(ESTALE, "the snapshot {} is another one than was saved (UUID {}, {}; saved was {})", saved.place,
                    found.uuid, found.read_only ? "read-only" : "writable", saved.snapshot);
    return directory;
}

// Users may delete snapshots by btrfs or snapper, and give their names to something else.
Result<std::string> Btrfs::remove(const Saved &saved) {
    const auto id = id_of(saved);
    TRY(checked_id(id));
    const auto area = TRY(Area::open(parent_));
    const auto usual = Area::snapshots_path(parent_) + "/" + id;
    struct stat there {};
    const bool gone = ::lstat(usual.c_str(), &there) != 0 && errno == ENOENT;
    if (gone && saved.home == home_)
        return std::string(); // where it is elsewhere, too: the link is the last to go
    if (saved.home != home_ || saved.place != Area::place_of(parent_, id))
        return fail(EINVAL, "the snapshot {} is not one of home {}", saved.place, home_);
    const auto mine = [&saved](const Subvolume &found) { return found.uuid == saved.snapshot; };
    const bool elsewhere = saved.place != usual;
    const auto directory = open_directory(AT_FDCWD, saved.place);
    const bool taken = directory ? !is_subvolume(*directory) || !mine(TRY(subvolume_of(*directory, saved.place)))
                                 : directory.error().code() != ENOENT;
    auto left = fmt::format("{} is not the snapshot that checkpoint {} made, and was left alone", saved.place, id);
    if (taken && !elsewhere)
        return left;
    const auto removed = area.remove_snapshot(parent_, id, mine);
    if (removed)
        return std::string();
    if (!taken || removed.error().code() != ESTALE)
        return std::unexpected(removed.error());
    TRY(area.forget_place(id));
    return left;
}

Result<> Btrfs::checked_saved(const Live &live, const Saved &saved) const {
    if (saved.provider != "btrfs")
        return fail(EINVAL, "home {} was saved by provider {}, not btrfs", home_, saved.provider);
    if (live.filesystem != saved.filesystem)
        return fail(EXDEV, "home {} is on another file system (UUID {}) than when it was saved (UUID {})", home_,
                    live.filesystem, saved.filesystem);
    return {};
}

Result<bool> Btrfs::diverged(const Saved &saved) {
    const auto home = TRY(live());
    TRY(checked_saved(home, saved));
    const auto snapshot = TRY(opened(saved));
    // Delayed inode items are seen by no search before they are in the tree.
    if (::syncfs(home.directory.get()) < 0)
        return fail(errno, "cannot write the dirty data of {} to disk", home_);
    if (home.subvolume.uuid != saved.source && home.subvolume.parent_uuid != saved.snapshot)
        return true;
    // Or rolled back to this very state already, by a resume that did not come to its end.
    const auto since = home.subvolume.uuid == saved.source ? saved.generation : home.subvolume.created;
    return TRY_IN(changed_since(home.directory, snapshot, since), "home {}", home_) ||
           TRY_IN(nested_changed(home.directory, snapshot, saved.nested), "home {}", home_);
}

Result<std::vector<Change>> Btrfs::changes(const Saved &saved, size_t limit) {
    const auto home = TRY(live());
    TRY(checked_saved(home, saved));
    const auto snapshot = TRY(opened(saved));
    if (::syncfs(home.directory.get()) < 0)
        return fail(errno, "cannot write the dirty data of {} to disk", home_);
    if (home.subvolume.uuid == saved.source || home.subvolume.parent_uuid == saved.snapshot) {
        const auto since = home.subvolume.uuid == saved.source ? saved.generation : home.subvolume.created;
        auto changes = TRY_IN(list_changes(home.directory, snapshot, since, limit), "home {}", home_);
        TRY_IN(list_nested_changes(home.directory, snapshot, saved.nested, changes, limit), "home {}", home_);
        std::ranges::sort(changes, {}, &Change::path);
        return changes;
    }
    // Another subvolume lies there: nothing is known of what they have in common.
    const auto then = TRY(Manifest::of(snapshot, saved.place));
    const auto now = TRY(Manifest::of(home.directory, home_));
    return differences(then, now, Match::copy, limit);
}

Result<std::optional<uint64_t>> Btrfs::exclusive(const Saved &saved, MeasureUntil until) {
    const auto snapshot = TRY(opened(saved));
    const auto home = live(); // what lies there may be no subvolume any more: then all is looked at
    const auto root = home ? TRY(duplicate(home->directory)) : Fd();
    uint64_t sum = 0;
    const auto add = [&](const Fd &now, const Fd &then, const std::string &source) -> Result<bool> {
        const auto kept = TRY(subvolume_of(then, saved.place));
        uint64_t since = 0;
        bool related = false;
        if (now && is_subvolume(now)) {
            const auto found = TRY(subvolume_of(now, home_));
            related = found.uuid == source || found.parent_uuid == kept.uuid;
            since = found.uuid == source ? kept.created : found.created;
        }
        const Fd none;
        const auto size = TRY(exclusive_data(related ? now : none, then, since, until));
        sum += size.value_or(0);
        return size.has_value();
    };
    if (!TRY_IN(add(root, snapshot, saved.source), "home {}", home_))
        return std::optional<uint64_t>();
    for (const auto &one : saved.nested) {
        const auto then = TRY(open_below(snapshot, one.path));
        Fd now;
        if (root)
            now = open_below(root, one.path).value_or(Fd());
        if (!TRY_IN(add(now, then, one.source), "home {}", home_))
            return std::optional<uint64_t>();
    }
    return std::optional(sum);
}

Result<> Btrfs::check(const Saved &saved) {
    const auto home = TRY(live());
    TRY(checked_saved(home, saved));
    TRY(opened(saved));
    return {};
}

Result<> Btrfs::exchange(const Area &area, const std::string &incoming) const {
    if (::renameat2(area.parent().get(), name_.c_str(), area.incoming().get(), incoming.c_str(), RENAME_EXCHANGE) < 0)
        return fail(errno, "cannot exchange home {} with the other state of it", home_);
    return {};
}

Result<Displaced> Btrfs::roll_back(const Saved &saved) {
    TRY(check(saved));
    const auto area = TRY(Area::open(parent_));
    TRY_IN(area.clean(), "{}", parent_);
    // Only now, under the lock, is it sure to stay what it is.
    const auto home = TRY(live());
    const auto snapshot = TRY(opened(saved));
    const auto id = id_of(saved);
    const auto wanted = fmt::format("{}-{}-{}", name_, timestamp(), id);

    TRY_IN(copy_all(snapshot, area.incoming(), incoming_new, saved.nested), "home {}", home_);
    done("copy made");
    const auto copy = TRY(child_subvolume(area.incoming(), incoming_new));
    const auto incoming = Area::incoming_name(copy.uuid, wanted);
    TRY(move_to(area.incoming(), incoming_new, area.incoming(), incoming));
    done("copy named");
    const auto writable = TRY(WritableMeanwhile::make(home, home_));
    auto exchanged = tell_displacing({.home = home_,
                                      .place = Area::displaced_path(parent_) + "/" + area.displaced_name(incoming),
                                      .state = home.subvolume.uuid});
    if (exchanged)
        exchanged = exchange(area, incoming);
    if (!exchanged) {
        (void)delete_all(area.incoming(), incoming); // if not now, then at the next call
        return std::unexpected(exchanged.error());
    }
    done("exchanged");
    const auto displaced = area.displace(incoming);
    if (!displaced) {
        if (exchange(area, incoming)) // only then it is the copy that lies there
            (void)delete_all(area.incoming(), incoming);
        return std::unexpected(displaced.error());
    }
    done("displaced");
    if (const auto committed = commit_transaction(area.parent(), parent_); !committed) {
        if (move_to(area.displaced(), *displaced, area.incoming(), incoming) && exchange(area, incoming))
            (void)delete_all(area.incoming(), incoming);
        return std::unexpected(committed.error());
    }
    // It is the home already: a home that can be written to is no reason to give up.
    if (home.subvolume.read_only) {
        if (const auto now = open_directory(area.parent().get(), name_))
            (void)set_read_only(*now, true, home_);
    }
    return Displaced{
        .home = home_, .place = Area::displaced_path(parent_) + "/" + *displaced, .state = home.subvolume.uuid};
}

Result<std::string> Btrfs::copy_out(const Saved &saved) {
    TRY(check(saved));
    const auto area = TRY(Area::open(parent_));
    TRY_IN(area.clean(), "{}", parent_);
    const auto snapshot = TRY(opened(saved));
    const auto id = id_of(saved);
    const auto wanted = fmt::format("{}-private-{}-{}", name_, timestamp(), id);
    const auto name = area.displaced_name(Area::incoming_name("", wanted));
    auto place = Area::displaced_path(parent_) + "/" + name;
    TRY(tell_copying(place));
    done("copy announced");
    TRY_IN(copy_all(snapshot, area.displaced(), name, saved.nested), "home {}", home_);
    done("copied out");
    return place;
}

Result<> Btrfs::drop_copy(const std::string &place) {
    const auto name = std::filesystem::path(place).filename().string();
    TRY(checked_id(name));
    if (place != Area::displaced_path(parent_) + "/" + name)
        return fail(EINVAL, "{} is not a copy of home {}", place, home_);
    const auto area = TRY(Area::open(parent_));
    return delete_all(area.displaced(), name);
}

Result<> Btrfs::undo(const Displaced &displaced) {
    const auto name = std::filesystem::path(displaced.place).filename().string();
    TRY(checked_id(name));
    if (displaced.home != home_ || displaced.place != Area::displaced_path(parent_) + "/" + name)
        return fail(EINVAL, "{} is not a displaced state of home {}", displaced.place, home_);
    TRY(live());
    const auto area = TRY(Area::open(parent_));
    TRY_IN(area.clean(), "{}", parent_);
    const auto home = TRY(live());
    if (!displaced.state.empty() && home.subvolume.uuid == displaced.state)
        return {};
    // Under the name that a copy of ours has, so that whoever comes after a kill does the right thing on either side of
    // the exchange.
    const auto incoming = Area::incoming_name(home.subvolume.uuid, name);
    const auto former = TRY(open_directory(area.displaced().get(), name));
    Live put_aside;
    put_aside.directory = TRY(duplicate(former));
    put_aside.subvolume = TRY(subvolume_of(former, name));
    const auto writable = TRY(WritableMeanwhile::make(home, home_));
    const auto writable_too = TRY(WritableMeanwhile::make(put_aside, displaced.place));
    TRY(move_to(area.displaced(), name, area.incoming(), incoming));
    done("undo named");
    if (const auto exchanged = exchange(area, incoming); !exchanged) {
        (void)move_to(area.incoming(), incoming, area.displaced(), name); // if not now, then at the next call
        return std::unexpected(exchanged.error());
    }
    done("undo exchanged");
    TRY(commit_transaction(area.parent(), parent_));
    return area.retire(incoming);
}

} // namespace

std::unique_ptr<Provider> make_btrfs(std::string home, SnapshotPlace place, StepDone step_done) {
    return std::make_unique<Btrfs>(std::move(home), std::move(place), std::move(step_done));
}

} // namespace abey::snapshot
