// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/mounted_btrfs.h"

#include "snapshot/area.h"
#include "snapshot/place.h"
#include "snapshot/top_level.h"

#include <filesystem>
#include <optional>
#include <system_error>

#include <mntent.h>
#include <sys/file.h>
#include <sys/mount.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

void replace_all(std::string &text, const std::string &what, const std::string &with) {
    for (size_t at = text.find(what); !what.empty() && at != std::string::npos; at = text.find(what, at + with.size()))
        text.replace(at, what.size(), with);
}

std::string with_prefix(const std::string &path, const std::string &old_prefix, const std::string &prefix) {
    return path.starts_with(old_prefix + "/") ? prefix + path.substr(old_prefix.size()) : path;
}

// A subvolume keeps its id when it is renamed: the next boot would mount the displaced one.
Result<> not_mounted_by_id(const std::string &home) {
    const std::unique_ptr<FILE, int (*)(FILE *)> table(::setmntent("/etc/fstab", "re"), ::endmntent);
    while (const auto *entry = table ? ::getmntent(table.get()) : nullptr)
        if (home == entry->mnt_dir && ::hasmntopt(entry, "subvolid") != nullptr)
            return fail(ENOTSUP,
                        "home {} is mounted by subvolid= in /etc/fstab, so that the next boot would bring back what a "
                        "roll-back displaces: name it by subvol= there",
                        home);
    return {};
}

Result<> holds_no_mounts(const std::string &home) {
    for (const auto &mount : TRY(os::own_mounts()))
        if (mount.point.starts_with(home + "/"))
            return fail(EBUSY, "{} is mounted in home {}, whose own mount has to be renewed: unmount it", mount.point,
                        home);
    return {};
}

Result<std::string> uuid_of(const std::string &path) {
    const auto directory = TRY(open_directory(AT_FDCWD, path));
    return TRY(subvolume_of(directory, path)).uuid;
}

// What the subvolume was called whose mount shows one that a killed roll-back has moved into the area: of
// "NAME-YYYYMMDD-hhmmss-ID" the part that is there beside the area.
Result<std::string> former_name(const std::string &parent, const std::string &moved) {
    constexpr size_t stamp = sizeof "YYYYMMDD-hhmmss" - 1;
    for (size_t dash = moved.rfind('-'); dash != std::string::npos && dash > 0; dash = moved.rfind('-', dash - 1)) {
        const auto rest = moved.substr(dash + 1);
        std::error_code error;
        if (rest.size() > stamp && rest[stamp] == '-' && rest.find_first_not_of("0123456789-") >= stamp &&
            fs::is_directory(parent + "/" + moved.substr(0, dash), error))
            return moved.substr(0, dash);
    }
    return fail(ENOENT, "cannot tell which subvolume {} was", moved);
}

class MountedBtrfs final : public Provider {
  public:
    MountedBtrfs(std::string home, SnapshotPlace place, StepDone step_done, std::string shown)
        : home_(std::move(home)), place_(std::move(place)), step_done_(std::move(step_done)),
          runtime_(std::move(shown)) {}

    Result<> prepare() override {
        TRY(not_mounted_by_id(home_));
        TRY(place_is_outside());
        return inside([](Provider &home) { return home.prepare(); });
    }
    Result<Saved> save(const std::string &id) override {
        return outer(TRY(inside([&](Provider &home) { return home.save(id); })));
    }
    Result<> discard(const std::string &id) override {
        return inside([&](Provider &home) { return home.discard(id); });
    }
    Result<std::string> remove(const Saved &saved) override {
        const auto left = TRY(inside([&](Provider &home) { return home.remove(inner(saved)); }));
        return told(fail(0, "{}", left).error()).message();
    }
    Result<bool> diverged(const Saved &saved) override {
        return inside([&](Provider &home) { return home.diverged(inner(saved)); });
    }
    Result<> check(const Saved &saved) override {
        TRY(not_mounted_by_id(home_));
        TRY(holds_no_mounts(home_));
        return inside([&](Provider &home) { return home.check(inner(saved)); });
    }
    Result<Displaced> roll_back(const Saved &saved) override;
    Result<> undo(const Displaced &displaced) override;
    Result<std::string> copy_out(const Saved &saved) override {
        const auto place = TRY(inside([&](Provider &home) {
            home.on_copying([this](const std::string &at) { return tell_copying(with_prefix(at, area_, shown_)); });
            return home.copy_out(inner(saved));
        }));
        TRY(show());
        return with_prefix(place, area_, shown_);
    }
    Result<> drop_copy(const std::string &place) override {
        return inside([&](Provider &home) { return home.drop_copy(with_prefix(place, shown_, area_)); });
    }
    Result<std::vector<Change>> changes(const Saved &saved, size_t limit) override {
        return inside([&](Provider &home) { return home.changes(inner(saved), limit); });
    }
    Result<std::string> foretell() override {
        TRY(not_mounted_by_id(home_));
        TRY(place_is_outside());
        return inside([](Provider &home) { return home.foretell(); });
    }
    Result<std::optional<uint64_t>> exclusive(const Saved &saved, MeasureUntil until) override {
        return inside([&](Provider &home) { return home.exclusive(inner(saved), until); });
    }
    [[nodiscard]] std::string view(const Saved &saved) const override { return inner(saved).place; }

  private:
    // Calls what is to be done there; errors speak of the home by the path that people know.
    template <class Work> auto inside(Work work) -> decltype(work(std::declval<Provider &>())) {
        TRY(enter());
        auto result = work(*provider_);
        if (!result)
            return std::unexpected(told(result.error()));
        return result;
    }
    [[nodiscard]] Error told(const Error &error) const;
    [[nodiscard]] Result<> told_of(const Result<> &result) const {
        return result ? Result<>() : std::unexpected(told(result.error()));
    }
    // Inside, the home has another path than the one which the policy's directory is compared with here.
    [[nodiscard]] Result<> place_is_outside() const {
        const auto directory = TRY(open_directory(AT_FDCWD, home_));
        return check_place(place_, directory, home_);
    }
    Result<> enter();
    Result<> recover(const std::string &showing);
    Result<> renew();
    Result<> uncover(const std::string &state);
    // Files of this home in a directory of root's; like mounts they do not outlast a boot.
    [[nodiscard]] std::string own_file(const char *suffix) const {
        auto label = home_;
        replace_all(label, "/", ":");
        return runtime_ + "/private/" + label + suffix;
    }
    // There while a roll-back is at work.
    [[nodiscard]] std::string mark() const { return own_file(".rolling-back"); }
    // Held by whoever exchanges, or finds out whether an exchange was left half done.
    [[nodiscard]] Result<Fd> lock() const {
        auto file = TRY(open_file(own_file(".home"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
        if (::flock(file.get(), LOCK_EX) < 0)
            return fail(errno, "cannot lock home {}", home_);
        return file;
    }
    void done(std::string_view step) const {
        if (step_done_)
            step_done_(step);
    }
    Result<> show() {
        const auto mount = TRY(mount_at(home_));
        return show_at(shown_, area_, mount);
    }
    [[nodiscard]] Saved inner(Saved saved) const {
        saved.home = saved.home == home_ ? inner_ : saved.home;
        saved.place = with_prefix(saved.place, shown_, area_);
        return saved;
    }
    // As others see it: what was saved, or displaced.
    template <class State> [[nodiscard]] State outer(State state) const {
        state.home = home_;
        state.place = with_prefix(state.place, area_, shown_);
        return state;
    }

    std::string home_;
    SnapshotPlace place_;
    StepDone step_done_;
    std::string runtime_;
    std::optional<TopLevel> top_;
    std::string inner_; // the home
    std::string area_;  // .abeyance beside it
    std::string shown_; // where that is shown
    std::unique_ptr<Provider> provider_;
};

Error MountedBtrfs::told(const Error &error) const {
    auto text = error.message();
    if (const auto cause = ": " + std::generic_category().message(error.code());
        error.code() != 0 && text.ends_with(cause))
        text.resize(text.size() - cause.size());
    replace_all(text, inner_, home_);
    replace_all(text, area_, shown_);
    replace_all(text, top_ ? top_->path() : "", "(the top level of the file system)");
    return {error.code(), text};
}

Result<> MountedBtrfs::enter() {
    if (provider_)
        return {};
    if (::mkdir(runtime_.c_str(), 0711) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", runtime_);
    // Whatever the umask: what is shown in it has an owner who may go there.
    if (::chmod(runtime_.c_str(), 0711) < 0)
        return fail(errno, "cannot set the mode of {}", runtime_);
    if (::mkdir((runtime_ + "/private").c_str(), 0700) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}/private", runtime_);
    const auto held = TRY(lock());
    const auto mount = TRY_IN(mount_at(home_), "home");
    if (mount.type != "btrfs" || mount.root == "/")
        return fail(ENOTSUP,
                    "home {} is all of its file system, which cannot be exchanged: make a subvolume in it and mount "
                    "that (subvol=), or choose another provider in the policy",
                    home_);
    auto top = TRY_IN(TopLevel::mount(mount.source, runtime_ + "/private"), "home {}", home_);
    fs::path within = mount.root;
    // Left by a killed one between the exchange and the renewal of the mount: where the subvolume has been moved to.
    const bool displaced = within.parent_path().parent_path().filename() == ".abeyance";
    auto parent = displaced ? within.parent_path().parent_path().parent_path() : within.parent_path();
    auto moved = within.filename().string();
    if (displaced && within.parent_path().filename() == "incoming")
        moved = moved.substr(moved.find('_') + 1);
    auto above = top.path() + (parent == "/" ? "" : parent.string());
    const auto name = displaced ? TRY(former_name(above, moved)) : moved;
    inner_ = above + "/" + name;
    area_ = above + "/.abeyance";
    const auto opened = TRY(open_directory(AT_FDCWD, inner_));
    const auto uuid = TRY(filesystem_of(opened, home_));
    auto label = parent == "/" ? "" : parent.string();
    replace_all(label, "/", ":");
    shown_ = runtime_ + "/" + uuid + label;
    const auto showing = TRY(uuid_of(home_));
    if (!displaced && TRY(uuid_of(inner_)) != showing)
        return fail(ESTALE, "home {} is not the subvolume {} of its file system", home_, mount.root);
    top_.emplace(std::move(top));
    // What an undo takes away is deleted by it at once: nobody may see that by then.
    provider_ = make_btrfs(inner_, place_, [this](std::string_view step) {
        done(step);
        if (step == "undo exchanged")
            (void)renew(); // undo() does it again, and tells
    });
    if (displaced)
        return told_of(recover(showing));
    ::unlink(mark().c_str());
    return {};
}

// A killed one has exchanged the subvolumes and not renewed the mount. People have worked in what that shows since, so
// an exchange that was to be a roll-back is taken back.
Result<> MountedBtrfs::recover(const std::string &showing) {
    if (::access(mark().c_str(), F_OK) != 0)
        return renew();
    std::string place;
    {
        const auto area = TRY(Area::open(fs::path(inner_).parent_path().string()));
        TRY(area.clean());
        for (const auto &name : TRY(names_in(area.displaced())))
            if (const auto found = child_subvolume(area.displaced(), name); found && found->uuid == showing)
                place = fmt::format("{}/displaced/{}", area_, name);
    }
    if (place.empty())
        return fail(ENOENT, "cannot find the subvolume that home {} shows", home_);
    TRY(provider_->undo({.home = inner_, .place = place, .state = showing}));
    ::unlink(mark().c_str());
    return {};
}

// The mount shows what has the subvolume's name now.
Result<> MountedBtrfs::renew() {
    if (TRY(uuid_of(home_)) == TRY(uuid_of(inner_)))
        return {};
    const auto mount = TRY(mount_at(home_));
    return renew_mount(mount, inner_);
}

Result<Displaced> MountedBtrfs::roll_back(const Saved &saved) {
    TRY(check(saved));
    const auto held = TRY(lock());
    TRY(write_file(mark(), ""));
    auto rolled_back = inside([&](Provider &home) {
        home.on_displacing([this](const Displaced &displaced) { return tell_displacing(outer(displaced)); });
        return home.roll_back(inner(saved));
    });
    if (!rolled_back) {
        ::unlink(mark().c_str());
        return rolled_back;
    }
    done("exchanged beneath the mount");
    auto seen = renew();
    if (seen)
        seen = show();
    if (!seen) {
        if (inside([&](Provider &home) { return home.undo(*rolled_back); }) && renew())
            ::unlink(mark().c_str());
        return std::unexpected(told(seen.error()));
    }
    done("mount renewed");
    ::unlink(mark().c_str());
    return outer(*rolled_back);
}

// Where the kernel cannot mount beneath a mount (before Linux 6.5), that of the displaced home lies beneath ours, which
// is mounted on its root: nothing of that can be renamed (EBUSY). Without ours it is what people see again.
Result<> MountedBtrfs::uncover(const std::string &state) {
    if (!top_)
        return fail(EINVAL, "home {}: the top level of its file system is not mounted", home_);
    const auto mount = TRY(mount_at(home_));
    for (const auto &beneath : TRY(os::own_mounts())) {
        if (beneath.id != mount.parent || beneath.point != home_ || beneath.type != "btrfs")
            continue;
        if (const auto shown = uuid_of(top_->path() + beneath.root); !shown || *shown != state)
            continue;
        if (::umount2(home_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
            return fail(errno, "cannot take the mount on {} away", home_);
        return {};
    }
    return {};
}

Result<> MountedBtrfs::undo(const Displaced &displaced) {
    TRY(enter());
    const auto held = TRY(lock());
    TRY(uncover(displaced.state));
    TRY(inside([&](Provider &home) {
        return home.undo({.home = displaced.home == home_ ? inner_ : displaced.home,
                          .place = with_prefix(displaced.place, shown_, area_),
                          .state = displaced.state});
    }));
    done("undone beneath the mount");
    return told_of(renew());
}

} // namespace

std::unique_ptr<Provider> make_mounted_btrfs(std::string home, SnapshotPlace place, StepDone step_done,
                                             std::string shown) {
    return std::make_unique<MountedBtrfs>(std::move(home), std::move(place), std::move(step_done), std::move(shown));
}

bool is_whole_file_system(const std::string &home) {
    const auto mount = mount_at(home);
    return mount && mount->root == "/";
}

} // namespace abey::snapshot
