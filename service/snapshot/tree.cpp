// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree.h"

#include "engine/os/human_size.h"
#include "engine/os/room.h"
#include "snapshot/nilfs2.h"
#include "snapshot/received.h"
#include "snapshot/tree_exchange.h"
#include "snapshot/tree_states.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include <sys/statvfs.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr int attempts = 3; // to copy a home that others are changing

// A path in one line of a message.
std::string printable(std::string_view bytes) {
    std::string out;
    for (const char c : bytes) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += c;
    }
    return out;
}

std::string list_of(const std::vector<Change> &changes) {
    std::string text;
    for (size_t i = 0; i < std::min(changes.size(), differences_shown); ++i)
        text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", changes[i].path.empty() ? "." : printable(changes[i].path));
    return text + (changes.size() > differences_shown ? ", ..." : "");
}

class TreeHome final : public Provider {
  public:
    TreeHome(TreeKind kind, std::string home, StepDone step_done)
        : kind_(kind), home_(std::move(home)), parent_(fs::path(home_).parent_path().string()),
          name_(fs::path(home_).filename().string()), exchange_(home_, step_done), step_done_(std::move(step_done)) {}

    Result<> prepare() override;
    Result<Saved> save(const std::string &id) override;
    Result<> discard(const std::string &id) override { return discard_tree(home_, id); }
    Result<std::string> remove(const Saved &saved) override;
    Result<bool> diverged(const Saved &saved) override;
    Result<> check(const Saved &saved) override;
    Result<Displaced> roll_back(const Saved &saved) override;
    Result<> undo(const Displaced &displaced) override;
    Result<bool> untouched(const Saved &saved) override;
    Result<std::vector<Change>> changes(const Saved &saved, size_t limit) override;
    Result<std::string> copy_out(const Saved &saved) override;
    Result<> drop_copy(const std::string &place) override;
    Result<engine::FormerFiles> former_files(const Saved &saved) override;
    [[nodiscard]] std::string view(const Saved &saved) const override {
        return kind_ == TreeKind::tar || kind_ == TreeKind::nilfs2 ? home_ : tree_in(saved.place);
    }
    Result<std::string> foretell() override;

  private:
    // What a copy needs.
    struct Wanted {
        uint64_t bytes = 0;   // on disk
        uint64_t charged = 0; // to the user's quota, which does not know of shared data
        uint64_t files = 0;   // the same
    };
    [[nodiscard]] Result<Fd> live() const;
    [[nodiscard]] Result<Fd> live_on_nilfs2() const;
    [[nodiscard]] static Result<> keep_snapshot(const Passing &passing);
    [[nodiscard]] Result<uint64_t> snapshot_of(const Saved &saved) const;
    [[nodiscard]] Result<Saved> named(const Fd &home, const std::string &id, Passing &passing);
    [[nodiscard]] Result<Manifest> looked_at(const Fd &home) const;
    [[nodiscard]] Result<> check_room(const Fd &home, const Wanted &wanted) const;
    [[nodiscard]] Result<> verify(const std::string &tree, const Manifest &wanted) const;
    [[nodiscard]] Result<Manifest> manifest_of(const Saved &saved) const;
    [[nodiscard]] Result<Passing> copy_of(const Saved &saved) const;
    void done(std::string_view step) const {
        if (step_done_)
            step_done_(step);
    }

    TreeKind kind_;
    std::string home_, parent_, name_;
    HomeExchange exchange_;
    StepDone step_done_;
    std::optional<Passing> passing_; // after prepare()
    std::optional<Manifest> copied_; // what the copy in it is one of
};

Result<Fd> TreeHome::live() const {
    auto home = TRY_IN(open_directory(AT_FDCWD, home_), "home");
    struct statx status {};
    if (::statx(home.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) < 0)
        return fail(errno, "cannot stat {}", home_);
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return fail(EBUSY,
                    "home {} is a mount point of its own, which cannot be exchanged by a rename: mount the file system "
                    "on the directory above it, or choose [home] provider = \"none\" in the policy",
                    home_);
    struct statvfs file_system {};
    if (::fstatvfs(home.get(), &file_system) < 0)
        return fail(errno, "cannot look at the file system of {}", home_);
    if ((file_system.f_flag & ST_RDONLY) != 0)
        return fail(EROFS, "{}: its file system is mounted read-only: mount it writable", home_);
    return home;
}

Result<Fd> TreeHome::live_on_nilfs2() const {
    auto home = TRY(live());
    if (!is_nilfs2(home))
        return fail(ENOTSUP, "home {} is not on nilfs2: choose another provider in the policy", home_);
    return home;
}

// Mounts below are left out, as they are by a snapshot; a subvolume would be missed.
Result<Manifest> TreeHome::looked_at(const Fd &home) const {
    auto manifest = TRY_IN(Manifest::of(home, home_), "home {}", home_);
    for (const auto &path : manifest.mounts) {
        struct statx status {};
        if (::statx(home.get(), path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &status) == 0 &&
            (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0)
            return fail(ENOTSUP,
                        "home {} holds another subvolume, which a copy leaves out: {}/{}: move it out of the home or "
                        "turn it into a directory",
                        home_, home_, printable(path));
    }
    return manifest;
}

Result<> TreeHome::check_room(const Fd &home, const Wanted &wanted) const {
    const auto parent = TRY(open_directory(AT_FDCWD, parent_));
    const auto room = TRY(os::room_in(parent));
    // The copy is the user's, too. Root could make it all the same, and nobody could write to that home any more.
    const auto quota = os::room_of_user(home, TRY(stat_of(home)).st_uid);
    if (const auto fits = os::check_room(quota, wanted.charged); !fits)
        return fail(fits.error().code(),
                    "a copy of home {} by {} has about {} of the user's own, and {} has {} left: raise it, or "
                    "choose [home] provider = \"none\" in the policy",
                    home_, name_of(kind_), os::human_size(wanted.charged), quota.bound, os::human_size(quota.bytes));
    if (wanted.files > quota.files)
        return fail(EDQUOT,
                    "a copy of home {} by {} takes {} files, and {} has {} left: raise it, or choose [home] provider = "
                    "\"none\" in the policy",
                    home_, name_of(kind_), wanted.files, quota.bound, quota.files);
    if (const auto fits = os::check_room(room, wanted.bytes); !fits)
        return fail(fits.error().code(),
                    "a copy of home {} by {} takes about {}, and {} has {} left: make room, or choose [home] "
                    "provider = \"none\" in the policy",
                    home_, name_of(kind_), os::human_size(wanted.bytes), room.bound, os::human_size(room.bytes));
    return {};
}

Result<> TreeHome::verify(const std::string &tree, const Manifest &wanted) const {
    const auto directory = TRY(open_directory(AT_FDCWD, tree));
    auto found = TRY(Manifest::of(directory, tree));
    // mount points are copied as the empty directories that they are
    std::erase_if(found.entries, [&](const Entry &entry) {
        return std::ranges::find(wanted.mounts, entry.path) != wanted.mounts.end();
    });
    const auto wrong = differences(wanted, found, Match::copy, differences_shown + 1);
    if (!wrong.empty())
        return fail(EIO, "the copy of home {} by {} is not like it in {}", home_, name_of(kind_), list_of(wrong));
    return {};
}

Result<> TreeHome::prepare() {
    TRY(check_program(kind_));
    const auto home = TRY(live());
    passing_.reset();
    {
        const auto area = TRY(Area::open(parent_, tree_area));
        TRY(sweep(area.snapshots(), states_path(parent_)));
        TRY(sweep(area.incoming(), exchange_.incoming_path()));
        TRY(exchange_.clean(area));
        passing_.emplace(TRY(Passing::make(area.snapshots(), states_path(parent_))));
    }
    if (kind_ == TreeKind::nilfs2) {
        TRY(live_on_nilfs2());
        if (::syncfs(home.get()) < 0)
            return fail(errno, "cannot write the dirty data of {} to disk", home_);
        return {};
    }
    auto now = TRY(looked_at(home));
    const auto last = last_state(states_path(parent_), name_, name_of(kind_));
    Wanted wanted{.bytes = now.entries.size() * entry_cost};
    for (const Entry &entry : now.entries) {
        const auto *before = last && kind_ != TreeKind::reflink ? last->manifest.find(entry.path) : nullptr;
        const bool copied = before == nullptr || before->mtime != entry.mtime || before->size != entry.size;
        const uint64_t bytes = copied ? entry.blocks * 512 : 0;
        wanted.bytes += kind_ == TreeKind::reflink ? 0 : bytes;
        if (kind_ == TreeKind::tar)
            continue; // archives are root's
        wanted.charged += bytes;
        wanted.files += copied || S_ISDIR(entry.mode) ? 1 : 0;
    }
    TRY(check_room(home, wanted));
    const TreeState state{.place = last ? last->place : "", .manifest = last ? &last->manifest : nullptr};
    const auto begun = now.present();
    const auto saved =
        save_tree(kind_, home_, now, passing_->path(), last ? &state : nullptr, [&](int percent) { tell(percent); });
    if (saved) {
        copied_ = std::move(now);
        copied_->unsure_from = begun;
    } else if (kind_ != TreeKind::reflink) { // cp stops at a file that has vanished: it is all done again in save()
        return within(saved.error(), "home {}", home_);
    }
    // save() has to wait for what is dirty then.
    if (::syncfs(home.get()) < 0)
        return fail(errno, "cannot write the dirty data of {} to disk", home_);
    return {};
}

Result<Saved> TreeHome::save(const std::string &id) {
    TRY(checked_id(id));
    if (!passing_)
        return fail(EINVAL, "home {}: it was not prepared", home_);
    const auto home = TRY(live());
    const auto &place = passing_->path();
    if (kind_ == TreeKind::nilfs2) {
        TRY_IN(keep_snapshot(*passing_), "home {}", home_);
        return named(home, id, *passing_);
    }
    auto now = TRY(looked_at(home));
    for (int attempt = 1;; ++attempt) {
        if (copied_) {
            if (differences(*copied_, now, Match::same_tree, 1).empty())
                break;
            TRY_IN(update_tree(kind_, home_, *copied_, now, place), "home {}", home_);
        } else {
            TRY_IN(save_tree(kind_, home_, now, place, nullptr, {}), "home {}", home_);
        }
        copied_ = std::exchange(now, TRY(looked_at(home)));
        const auto changed = differences(*copied_, now, Match::same_tree, differences_shown + 1);
        if (changed.empty())
            break;
        if (attempt == attempts)
            return fail(EBUSY,
                        "home {} is being changed by others while it is copied: {}: end what writes there, or choose "
                        "[home] provider = \"none\" in the policy",
                        home_, list_of(changed));
    }
    if (kind_ != TreeKind::tar)
        TRY(verify(tree_in(place), now));
    TRY(now.write(passing_->fd(), "manifest"));
    return named(home, id, *passing_);
}

// The number is on disk before the snapshot is one, so that whoever comes after a kill finds it.
Result<> TreeHome::keep_snapshot(const Passing &passing) {
    const auto number = TRY(write_checkpoint(passing.fd()));
    TRY(write_file(passing.path() + "/checkpoint", fmt::format("{}", number)));
    if (::syncfs(passing.fd().get()) < 0)
        return fail(errno, "cannot write {} to disk", passing.path());
    return keep_checkpoint(passing.fd(), number);
}

// What was saved in it gets its lasting name.
Result<Saved> TreeHome::named(const Fd &home, const std::string &id, Passing &passing) {
    done("copied");
    const auto place = passing.path();
    TRY(write_file(place + "/home", name_));
    TRY(write_file(place + "/kind", name_of(kind_)));
    if (::syncfs(passing.fd().get()) < 0)
        return fail(errno, "cannot write {} to disk", place);
    const auto area = TRY(Area::open(parent_, tree_area));
    TRY(passing.become(id));
    passing_.reset();
    if (::fsync(area.snapshots().get()) < 0)
        return fail(errno, "cannot write {} to disk", states_path(parent_));
    done("named");
    const auto status = TRY(stat_of(home));
    return Saved{.provider = std::string(name_of(kind_)),
                 .home = home_,
                 .filesystem = "",
                 .source = number_of(status),
                 .place = states_path(parent_) + "/" + id,
                 .snapshot = "",
                 .generation = 0};
}

Result<std::string> TreeHome::remove(const Saved &saved) {
    const auto id = fs::path(saved.place).filename().string();
    if (saved.home != home_ || saved.place != states_path(parent_) + "/" + id)
        return fail(EINVAL, "the copy {} is not one of home {}", saved.place, home_);
    TRY(discard_tree(home_, id));
    return std::string();
}

Result<uint64_t> TreeHome::snapshot_of(const Saved &saved) const {
    const auto number = checkpoint_in(saved.place);
    if (!number)
        return fail(EINVAL, "{} names no snapshot of the file system", saved.place);
    const auto place = TRY(open_directory(AT_FDCWD, saved.place));
    if (!is_nilfs2(place) || !TRY(is_kept_checkpoint(place, *number)))
        return fail(ENOENT,
                    "checkpoint {} of the file system is no snapshot any more (was it released by chcp, or removed by "
                    "rmcp?): home {} cannot be brought back to it",
                    *number, home_);
    return *number;
}

Result<Manifest> TreeHome::manifest_of(const Saved &saved) const {
    const auto id = fs::path(saved.place).filename().string();
    TRY(checked_id(id));
    if (saved.provider != name_of(kind_))
        return fail(EINVAL, "home {} was saved by provider {}, not {}", home_, saved.provider, name_of(kind_));
    if (saved.home != home_ || saved.place != states_path(parent_) + "/" + id)
        return fail(EINVAL, "the copy {} is not one of home {}", saved.place, home_);
    const auto place = open_directory(AT_FDCWD, saved.place);
    if (!place && place.error().code() == ENOENT)
        return fail(ENOENT, "the copy {} is gone: the home cannot be brought back to it", saved.place);
    if (!place)
        return std::unexpected(place.error());
    if (kind_ == TreeKind::nilfs2) {
        const auto number = TRY(snapshot_of(saved));
        const auto mounted = TRY(MountedCheckpoint::mount(home_, number));
        const auto then = TRY(open_directory(AT_FDCWD, mounted.path()));
        auto manifest = TRY_IN(Manifest::of(then, home_), "home {}", home_);
        // what was mounted in the home lies above an empty directory of it
        const auto home = TRY(live());
        const auto now = TRY(looked_at(home));
        std::erase_if(manifest.entries, [&](const Entry &entry) {
            return std::ranges::find(now.mounts, entry.path) != now.mounts.end();
        });
        return manifest;
    }
    return TRY_IN(Manifest::read(*place, "manifest"), "{}", saved.place);
}

Result<bool> TreeHome::diverged(const Saved &saved) {
    const auto home = TRY(live());
    const auto then = TRY(manifest_of(saved));
    const auto now = TRY(looked_at(home));
    return !differences(then, now, Match::same_tree, 1).empty();
}

Result<std::vector<Change>> TreeHome::changes(const Saved &saved, size_t limit) {
    const auto home = TRY(live());
    const auto then = TRY(manifest_of(saved));
    const auto now = TRY(looked_at(home));
    // After a roll-back all inodes are others, and nothing has changed by that.
    const bool brought = !then.entries.empty() && then.entries.front().number != now.entries.front().number;
    return differences(then, now, brought ? Match::copy : Match::same_tree, limit);
}

Result<bool> TreeHome::untouched(const Saved &saved) {
    const auto home = TRY(live());
    const auto then = TRY(manifest_of(saved));
    const auto now = TRY(looked_at(home));
    if (differences(then, now, Match::same_tree, 1).empty())
        return true;
    const auto place = TRY(open_directory(AT_FDCWD, saved.place));
    const auto brought = Manifest::read(place, "brought");
    return brought && differences(*brought, now, Match::same_tree, 1).empty();
}

Result<engine::FormerFiles> TreeHome::former_files(const Saved &saved) {
    return former_files_of(TRY(manifest_of(saved)));
}

Result<> TreeHome::check(const Saved &saved) {
    TRY(check_program(kind_));
    const auto home = TRY(live());
    const auto then = TRY(manifest_of(saved));
    if (kind_ == TreeKind::nilfs2)
        return check_room(home, {.bytes = then.entries.size() * entry_cost + then.bytes(),
                                 .charged = then.bytes(),
                                 .files = then.entries.size()});
    std::error_code error;
    const auto copy = kind_ == TreeKind::tar ? saved.place + "/0.tar" : tree_in(saved.place);
    if (!fs::exists(copy, error))
        return fail(ENOENT, "{} is gone: the home cannot be brought back to it", copy);
    const bool shares = kind_ != TreeKind::tar && can_reflink(home_);
    return check_room(home, {.bytes = then.entries.size() * entry_cost + (shares ? 0 : then.bytes()),
                             .charged = then.bytes(),
                             .files = then.entries.size()});
}

// A further copy of the saved state, in incoming/: PATH/tree.
Result<Passing> TreeHome::copy_of(const Saved &saved) const {
    const auto then = TRY(manifest_of(saved));
    std::optional<Passing> passing;
    {
        const auto area = TRY(Area::open(parent_, tree_area));
        TRY(sweep(area.incoming(), exchange_.incoming_path()));
        TRY(exchange_.clean(area));
        passing.emplace(TRY(Passing::make(area.incoming(), exchange_.incoming_path())));
    }
    const auto tree = tree_in(passing->path());
    const CopyProgress progress = [&](int percent) { tell(percent); };
    if (kind_ == TreeKind::nilfs2) {
        const auto number = TRY(snapshot_of(saved));
        const auto mounted = TRY(MountedCheckpoint::mount(home_, number));
        TRY_IN(copy_tree(mounted.path(), tree, progress), "home {}", home_);
    } else {
        TRY_IN(make_tree(kind_, saved.place, tree, progress), "home {}", home_);
    }
    TRY(verify(tree, then));
    return std::move(*passing);
}

Result<std::string> TreeHome::copy_out(const Saved &saved) {
    TRY(check(saved));
    const auto wanted = fmt::format("{}-private-{}-{}", name_, timestamp(), fs::path(saved.place).filename().string());
    std::string name;
    {
        const auto area = TRY(Area::open(parent_, tree_area));
        name = area.displaced_name(Area::incoming_name("", wanted));
    }
    auto place = displaced_trees_path(parent_) + "/" + name;
    TRY(tell_copying(place));
    done("copy announced");
    const auto passing = TRY(copy_of(saved));
    done("copy ready");
    const auto area = TRY(Area::open(parent_, tree_area));
    TRY(move_to(passing.fd(), "tree", area.displaced(), name));
    done("copied out");
    return place;
}

// It may have been killed while it was on its way.
Result<> TreeHome::drop_copy(const std::string &place) {
    const auto name = fs::path(place).filename().string();
    TRY(checked_id(name));
    if (place != displaced_trees_path(parent_) + "/" + name)
        return fail(EINVAL, "{} is not a copy of home {}", place, home_);
    {
        const auto area = TRY(Area::open(parent_, tree_area));
        TRY(sweep(area.incoming(), exchange_.incoming_path()));
    }
    return remove_tree(place);
}

Result<Displaced> TreeHome::roll_back(const Saved &saved) {
    TRY(check(saved));
    const auto id = fs::path(saved.place).filename().string();
    const auto passing = TRY(copy_of(saved));
    const auto tree = tree_in(passing.path());
    const auto copy = TRY(open_directory(AT_FDCWD, tree));
    const auto place = TRY(open_directory(AT_FDCWD, saved.place));
    const auto brought = TRY(Manifest::of(copy, tree));
    TRY_IN(brought.write(place, "brought"), "{}", saved.place);
    if (::syncfs(copy.get()) < 0)
        return fail(errno, "cannot write {} to disk", tree);
    done("copy made");

    const auto area = TRY(Area::open(parent_, tree_area));
    const auto home = TRY(live());
    const auto state = number_of(TRY(stat_of(home)));
    const auto wanted = fmt::format("{}-{}-{}", name_, timestamp(), id);
    const auto incoming = Area::incoming_name(number_of(TRY(stat_of(copy))), wanted);
    TRY(move_to(passing.fd(), "tree", area.incoming(), incoming));
    done("copy named");
    auto exchanged = tell_displacing(
        {.home = home_, .place = displaced_trees_path(parent_) + "/" + area.displaced_name(incoming), .state = state});
    if (exchanged)
        exchanged = exchange_.exchange(area, incoming);
    if (!exchanged) {
        (void)remove_tree(exchange_.incoming_path() + "/" + incoming); // if not now, then at the next call
        return std::unexpected(exchanged.error());
    }
    done("exchanged");
    const auto displaced = area.displace(incoming);
    if (!displaced) {
        if (exchange_.exchange(area, incoming)) // only then it is the copy that lies there
            (void)remove_tree(exchange_.incoming_path() + "/" + incoming);
        return std::unexpected(displaced.error());
    }
    done("displaced");
    if (::syncfs(copy.get()) < 0) {
        const int error = errno;
        if (move_to(area.displaced(), *displaced, area.incoming(), incoming) && exchange_.exchange(area, incoming))
            (void)remove_tree(exchange_.incoming_path() + "/" + incoming);
        return fail(error, "cannot write the exchange of home {} to disk", home_);
    }
    return Displaced{.home = home_, .place = displaced_trees_path(parent_) + "/" + *displaced, .state = state};
}

Result<> TreeHome::undo(const Displaced &displaced) {
    const auto name = fs::path(displaced.place).filename().string();
    TRY(checked_id(name));
    if (displaced.home != home_ || displaced.place != displaced_trees_path(parent_) + "/" + name)
        return fail(EINVAL, "{} is not a displaced state of home {}", displaced.place, home_);
    TRY(live());
    const auto area = TRY(Area::open(parent_, tree_area));
    TRY(exchange_.clean(area));
    const auto home = TRY(live());
    const auto number = number_of(TRY(stat_of(home)));
    if (number == displaced.state)
        return {};
    // Under the name that a copy of ours has, so that whoever comes after a kill does the right thing on either side of
    // the exchange.
    const auto incoming = Area::incoming_name(number, name);
    TRY(move_to(area.displaced(), name, area.incoming(), incoming));
    done("undo named");
    if (const auto exchanged = exchange_.exchange(area, incoming); !exchanged) {
        (void)move_to(area.incoming(), incoming, area.displaced(), name); // if not now, then at the next call
        return std::unexpected(exchanged.error());
    }
    done("undo exchanged");
    if (::syncfs(home.get()) < 0)
        return fail(errno, "cannot write the exchange of home {} to disk", home_);
    return exchange_.retire(area, incoming);
}

Result<std::string> TreeHome::foretell() {
    TRY(check_program(kind_));
    const auto home = TRY(live());
    if (kind_ == TreeKind::nilfs2) {
        TRY(live_on_nilfs2());
        return std::string();
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto now = TRY(looked_at(home));
    const std::chrono::duration<double> walk = std::chrono::steady_clock::now() - begin;
    const bool found = last_state(states_path(parent_), name_, name_of(kind_)).has_value();
    return fmt::format("home {}: {} files, {}, are copied by {} before the freeze{}; while the session stands still "
                       "they are only looked through again (about {:.1f} s), and what has changed in between is copied",
                       home_, now.entries.size(), os::human_size(now.bytes()), name_of(kind_),
                       found ? ", as far as they have changed since the last time" : "", 3 * walk.count());
}

} // namespace

std::unique_ptr<Provider> make_tree_provider(TreeKind kind, std::string home, StepDone step_done) {
    return std::make_unique<TreeHome>(kind, std::move(home), std::move(step_done));
}

Result<> discard_tree(const std::string &home, const std::string &id) {
    TRY(checked_id(id));
    const auto parent = fs::path(home).parent_path().string();
    std::error_code error;
    if (!fs::exists(states_path(parent), error))
        return {};
    const auto area = TRY(Area::open(parent, tree_area));
    TRY(sweep(area.snapshots(), states_path(parent)));
    return remove_state(states_path(parent) + "/" + id);
}

} // namespace abey::snapshot
