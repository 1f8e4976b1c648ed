// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Restore's side: named files by name and identity, kept ones made again.
#include "engine/os/long_path.h"
#include "engine/times.h"
#include "files/area.h"
#include "files/contents.h"
#include "files/cut.h"
#include "files/files.h"
#include "files/fingerprint.h"
#include "files/identity.h"
#include "files/ledger.h"
#include "files/remake.h"
#include "files/unheld.h"
#include "files/whereabouts.h"
#include "policy/file_system.h"
#include "policy/policy.h"

#include <map>
#include <ranges>
#include <set>

#include <sys/statvfs.h>

namespace abey::files {

namespace {

using model::Naming;
using model::Strategy;

// Flags that say how a file was found or made, not how it is open.
constexpr uint32_t finding_flags = O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW;

class Opener final : public engine::FileOpener {
  public:
    Opener(std::string images, std::vector<HomeTranslation> homes, OnChanged on_changed)
        : images_(std::move(images)), whereabouts_(std::move(homes)), on_changed_(std::move(on_changed)) {}
    Opener(const Opener &) = delete;
    Opener &operator=(const Opener &) = delete;
    ~Opener() override { undo(); }

    void enter(model::ObjRef mount_namespace, int root) override { whereabouts_.enter(mount_namespace, root); }

    Result<> recognise(const model::Inode &inode, const Fd &file) override {
        model::Inode saved = inode;
        model::Inode now;
        now.path = inode.path;
        TRY_IN(describe(file, now), "{}", described(inode));
        saved.content = {};
        saved.size = now.size;
        saved.mtime = now.mtime;
        saved.ctime = now.ctime;
        const Where at = TRY(whereabouts_.find(saved, saved.path));
        TRY_IN(verify(saved, file, at), "{}", described(inode));
        return {};
    }

    Result<> check(const model::Inode &inode) override {
        TRY_IN(check_one(inode), "{}", described(inode));
        return {};
    }

    Result<Fd> open(const model::Inode &inode, uint32_t flags) override {
        return TRY_IN(open_one(inode, flags), "{}", described(inode));
    }

    Result<> put_back(const model::Inode &inode) override {
        TRY_IN(put_back_one(inode), "{}", described(inode));
        return {};
    }

    void expect(const model::Inode &inode, const std::string &name) override { further_[inode.id][name]; }

    Result<Fd> rename(const model::Inode &inode, Fd opened, uint32_t flags, const std::string &name,
                      bool unlinked) override {
        if (const Fd *shown = further_name(inode, name); shown != nullptr && unlinked)
            return TRY_IN(open_again(*shown, inode, flags), "{}", described(inode));
        // Only for what /proc shows. Where it is not possible, the file itself is what counts.
        const auto at = whereabouts_.find(inode, name);
        const auto found = !at        ? Result<Fd>(std::unexpected(at.error()))
                           : unlinked ? shown_as_unlinked(opened, inode, *at, name)
                                      : os::open_long(at->full(), O_PATH | O_NOFOLLOW);
        if (!found)
            return opened;
        const auto there = stat_of(*found);
        if (!there || !is_same_inode(*there, TRY(stat_of(opened))))
            return opened;
        return TRY_IN(open_again(*found, inode, flags), "{}", described(inode));
    }

    Result<> settle() override {
        for (Flagged &one : flagged_) {
            const Fd file = TRY(reopen(one.file, O_RDONLY | O_NONBLOCK));
            const uint32_t before = read_flags(file);
            if (!apply_last_flags(file, one.flags, true))
                return fail(errno, "{}: cannot make it append-only or immutable again", printable(one.path));
            one.set = read_flags(file) != before;
        }
        set_times_above();
        TRY(cut_.keep());
        return cut_.cut();
    }

    Result<> finish(bool keep_checkpoint) override {
        Result<> first = cut_.forget();
        flagged_.clear();
        made_.clear();
        further_.clear();
        located_.clear();
        made_names_.clear();
        made_directories_.clear();
        auto remove = [&](const std::string &path) {
            if (auto removed = remove_kept_file(path); !removed && first)
                first = std::move(removed);
        };
        for (const std::string &place : places_) {
            const HomeTranslation *home = whereabouts_.home_of(place);
            bool rolled_back = home != nullptr && home->place == home->home;
            // what lies in a home that was brought back is a copy: the snapshot has its own
            if (!keep_checkpoint || rolled_back)
                remove(place);
            if (rolled_back && !home->displaced.empty())
                remove(home->displaced + place.substr(home->home.size()));
        }
        places_.clear();
        return first;
    }

  private:
    static std::string described(const model::Inode &inode) {
        return fmt::format("{} {}", type_name(inode.mode), printable(inode.path));
    }

    // The same of a file that was found by its lasting name: the policy may take it as it is.
    [[nodiscard]] Result<> verify_named(const model::Inode &inode, const Fd &file, const Where &where) const {
        auto verified = verify(inode, file, where);
        if (verified || !S_ISREG(inode.mode))
            return verified;
        model::Inode now;
        now.path = inode.path;
        TRY(describe(file, now));
        model::Inode written = inode;
        written.size = now.size;
        written.mtime = now.mtime;
        written.ctime = now.ctime;
        if (!verify(written, file, where)) // another file
            return fail(0, "{}; bring the one of that time back under its name, then try again",
                        verified.error().message());
        switch (on_changed_ ? on_changed_(inode.path) : policy::ChangedAction::fail) {
        case policy::ChangedAction::accept:
            return {};
        case policy::ChangedAction::restore_size:
            if (now.size >= inode.size)
                return {};
            return within(std::move(verified).error(), "it is smaller, so its size alone cannot be restored");
        case policy::ChangedAction::fail:
            break;
        }
        return fail(0, "{}; bring its former contents back, or take it as it is by a [[changed]] rule of the policy",
                    verified.error().message());
    }

    // An O_PATH descriptor of the file under that name, verified. O_PATH first, so that a fifo or device which may have
    // taken the name is not opened before it has been recognised.
    [[nodiscard]] Result<Fd> locate(const model::Inode &inode, const std::string &path) const {
        Where at = TRY(whereabouts_.find(inode, path));
        if (at.stands_in && at.home->former) {
            TRY(verify_former(inode, at));
            return open_file("/dev/null", O_PATH); // nobody looks at it
        }
        Fd file = TRY(os::open_long(at.full(), O_PATH | O_NOFOLLOW));
        TRY(verify_named(inode, file, at));
        return file;
    }

    // Kept although it has a name, which does not outlast a reboot.
    static bool is_kept_by_name(const model::Inode &inode) {
        return inode.kept.strategy != Strategy::none && inode.kept.strategy != Strategy::pin &&
               inode.naming == Naming::named;
    }

    // The file still has that name, or an empty Fd when nothing has it.
    [[nodiscard]] Result<Fd> locate_if_there(const model::Inode &inode) const {
        auto found = locate(inode, inode.path);
        if (!found && found.error().code() == ENOENT)
            return Fd();
        return found;
    }

    Result<> check_one(const model::Inode &inode) {
        note(inode);
        if (inode.unheld) // whatever becomes of it, the session does not depend on it
            return {};
        if (inode.kept.strategy == Strategy::none) {
            TRY(locate(inode, inode.naming == Naming::moved ? inode.other_path : inode.path));
            return {};
        }
        if (inode.kept.strategy == Strategy::pin && locate(inode, inode.path))
            return {};
        if (is_kept_by_name(inode) && TRY(locate_if_there(inode)))
            return {};
        Fd directory = TRY(find_parent(inode));
        if (S_ISREG(inode.mode) && inode.kept.strategy != Strategy::empty) {
            Fd source = TRY(open_source(inode));
            uint64_t bytes = TRY(data_size(source));
            const bool shared = inode.kept.strategy != Strategy::embed && policy::may_reflink(inode.identity.fs_type);
            TRY(check_space(directory, shared ? 0 : bytes));
        }
        return {};
    }

    // The directory, or the nearest one above it, in which a file could be made again.
    [[nodiscard]] Result<Fd> find_parent(const model::Inode &inode) const {
        Where at = TRY(whereabouts_.find(inode, inode.path));
        Fd directory = TRY(Parent::nearest(
            at.base, at.path, is_kept_by_name(inode) ? Parent::Blocked::refuse : Parent::Blocked::stop_above));
        model::Inode now;
        TRY(describe(directory, now));
        TRY(check_kept_parent(inode, now));
        struct statvfs fs = {};
        if (::fstatvfs(directory.get(), &fs) != 0)
            return fail(errno, "cannot ask for the file system's state");
        if ((fs.f_flag & ST_RDONLY) != 0 && !at.stands_in)
            return fail(EROFS, "cannot be made again");
        return directory;
    }

    // What lived in memory must not come to lie on disk for good because a mount is missing.
    static Result<> check_kept_parent(const model::Inode &inode, const model::Inode &directory, bool stays = false) {
        if ((stays || is_kept_by_name(inode)) && directory.identity.fs_type != inode.identity.fs_type)
            return fail(ENOENT, "the {} that it was in is not mounted",
                        policy::file_system_name(inode.identity.fs_type));
        return {};
    }

    // The kept contents, open for reading, verified as far as they can be.
    [[nodiscard]] Result<Fd> open_source(const model::Inode &inode) const {
        Fd path;
        if (inode.kept.strategy == Strategy::embed || inode.kept.strategy == Strategy::pin) {
            const std::string &blob = inode.kept.blob;
            if (blob.empty() || blob.find_first_not_of("0123456789") != std::string::npos)
                return fail(EINVAL, "\"{}\" is not the name of an embedded file", printable(blob));
            Fd directory = TRY(open_file(images_ + "/deleted", O_PATH | O_DIRECTORY));
            path = TRY_IN(open_at(directory.get(), blob, O_PATH | O_NOFOLLOW), "embedded contents");
        } else {
            Where at = TRY(whereabouts_.find({}, inode.kept.place));
            KeptFile kept = TRY(find_kept(at.full()));
            path = TRY_IN(open_at(kept.files.get(), kept.name, O_PATH | O_NOFOLLOW), "kept contents");
            if (inode.kept.strategy == Strategy::relink)
                TRY_IN(verify(inode, path, at), "the file that was linked");
        }
        struct stat stat = TRY(stat_of(path));
        if (!S_ISREG(stat.st_mode) || static_cast<uint64_t>(stat.st_size) != inode.size)
            return fail(EINVAL, "the kept contents are damaged: {} of {} bytes, expected a regular file of {}",
                        type_name(stat.st_mode), stat.st_size, inode.size);
        return reopen(path, O_RDONLY | O_NOATIME);
    }

    // What finish() will have to look at.
    void note(const model::Inode &inode) {
        if (!inode.kept.place.empty())
            places_.insert(inode.kept.place);
    }

    Result<Fd> open_one(const model::Inode &inode, uint32_t flags) {
        note(inode);
        if (auto made = made_.find(inode.id); made != made_.end())
            return open_again(made->second, inode, flags);
        const bool by_name = inode.kept.strategy == Strategy::pin ? locate(inode, inode.path).has_value()
                                                                  : inode.kept.strategy == Strategy::none;
        if (by_name && inode.naming != Naming::moved) {
            if (const Fd *known = located(inode))
                return S_ISREG(inode.mode) ? open_once_more(*known, flags) : open_again(*known, inode, flags);
            Fd file = TRY(locate(inode, inode.path));
            auto opened = TRY(open_again(file, inode, flags));
            TRY(note_appended(inode, file));
            remember(inode, std::move(file));
            return opened;
        }
        Fd file;
        if (inode.kept.strategy == Strategy::none)
            file = TRY(open_moved(inode));
        else if (is_kept_by_name(inode))
            file = TRY(open_or_make_named(inode));
        else if (inode.naming == Naming::moved)
            file = TRY(open_by_other_name(inode));
        if (!file)
            file = TRY(make(inode));
        // no writable descriptor stays behind: it would keep others from executing the file
        Fd path = S_ISLNK(inode.mode) ? std::move(file) : TRY(reopen(file, O_PATH));
        auto opened = TRY(open_again(path, inode, flags));
        if (inode.flags != 0 && inode.kept.strategy != Strategy::relink)
            flagged_.push_back({TRY(duplicate(path)), inode.path, inode.flags, false});
        made_.emplace(inode.id, std::move(path));
        return opened;
    }

    // Found before under its name, where it still is as it was then; null when it is not, or has not been.
    const Fd *located(const model::Inode &inode) {
        const auto known = located_.find(inode.id);
        struct stat now = {};
        if (known == located_.end() || inode.mount_namespace != 0 || ::lstat(inode.path.c_str(), &now) != 0)
            return nullptr;
        const struct stat &then = known->second.stat;
        const auto same = [](const timespec &a, const timespec &b) {
            return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
        };
        return is_same_inode(now, then) && now.st_mode == then.st_mode && now.st_size == then.st_size &&
                       same(now.st_mtim, then.st_mtim) && same(now.st_ctim, then.st_ctim)
                   ? &known->second.file
                   : nullptr;
    }

    // As open_again() of a regular file: half of that is the way from / to the link in /proc.
    Result<Fd> open_once_more(const Fd &path, uint32_t wanted) {
        if (!own_descriptors_)
            own_descriptors_ = TRY(open_file("/proc/self/fd", O_PATH | O_DIRECTORY));
        const auto flags = static_cast<int>(wanted & ~(finding_flags | O_TMPFILE)) | O_NOCTTY;
        return open_at(own_descriptors_.get(), std::to_string(path.get()), flags);
    }

    void remember(const model::Inode &inode, Fd file) {
        const auto status = stat_of(file);
        if (!status || inode.mount_namespace != 0 || whereabouts_.home_of(inode.path) != nullptr)
            return;
        if (located_.size() >= most_located)
            located_.clear();
        located_.insert_or_assign(inode.id, Located{std::move(file), *status});
    }

    Result<Fd> open_moved(const model::Inode &inode) { return show(inode, TRY(locate(inode, inode.other_path))); }

    // Under the name that it had when it was opened.
    Result<Fd> show(const model::Inode &inode, Fd file) {
        Where at = TRY(whereabouts_.find(inode, inode.path));
        // Only for what /proc shows. Where it is not possible, the file itself is what counts.
        if (auto parent = Parent::open(at.base, at.path, Parent::Blocked::stop_above)) {
            if (auto shown = show_as_deleted(*parent, inode.path, file))
                return shown;
        }
        return file;
    }

    // Made with the file, which has no name any more that another could be made from.
    const Fd *further_name(const model::Inode &inode, const std::string &name) const {
        const auto names = further_.find(inode.id);
        if (names == further_.end())
            return nullptr;
        const auto found = names->second.find(name);
        return found != names->second.end() && found->second ? &found->second : nullptr;
    }

    // Of a file that is being made again under its first name. Where one is not possible the first has to do.
    void show_further_names(const model::Inode &inode, const Fd &file) {
        const auto names = further_.find(inode.id);
        if (names == further_.end())
            return;
        for (auto &[name, shown] : names->second) {
            const auto at = whereabouts_.find(inode, name);
            const auto parent = at ? Parent::open(at->base, at->path, Parent::Blocked::stop_above)
                                   : Result<Parent>(std::unexpected(at.error()));
            if (!parent)
                continue;
            if (auto opened = show_as_deleted(*parent, name, file))
                shown = std::move(*opened);
        }
    }

    static Result<Fd> shown_as_unlinked(const Fd &opened, const model::Inode &inode, const Where &at,
                                        const std::string &name) {
        if (!S_ISREG(inode.mode))
            return fail(ENOTSUP, "only regular files have several names");
        const Fd file = TRY(reopen(opened, O_PATH));
        const auto parent = TRY(Parent::open(at.base, at.path, Parent::Blocked::stop_above));
        return show_as_deleted(parent, name, file);
    }

    Result<Fd> open_or_make_named(const model::Inode &inode) {
        if (Fd there = TRY(locate_if_there(inode))) {
            TRY(note_appended(inode, there));
            return there;
        }
        return make_under(inode, inode.path);
    }

    Result<Fd> make_under(const model::Inode &inode, const std::string &path) {
        Where at = TRY(whereabouts_.find(inode, path));
        Parent parent = TRY(Parent::open(at.base, at.path));
        model::Inode directory;
        TRY(describe(parent.directory(), directory));
        TRY(check_kept_parent(inode, directory, true));
        Fd made = TRY(make_named(parent, inode, filler(inode)));
        made_names_.push_back({TRY(duplicate(parent.directory())), parent.name()});
        for (Parent::Made &one : TRY(parent.keep(inode.above, inode.uid, inode.gid)))
            made_directories_.push_back(std::move(one));
        return made;
    }

    Result<> put_back_one(const model::Inode &inode) {
        const Where at = TRY(whereabouts_.find(inode, inode.path));
        const Fd above = TRY(Parent::nearest(at.base, at.path));
        const auto made = TRY(made_when(above));
        if (inode.file_system_made != model::Time() && made == inode.file_system_made)
            return {};
        // The image is not to be believed that far: a user's own directory in memory, or nothing
        const Fd top_directory = TRY(top_of(above));
        const auto top = TRY(stat_of(top_directory));
        if (inode.uid == 0 || top.st_uid != inode.uid || !policy::is_volatile(inode.identity.fs_type))
            return fail(EPERM, "there is no directory of user {} that lasts as long as a login", inode.uid);
        if (os::open_long(at.full(), O_PATH | O_NOFOLLOW))
            return {};
        const auto done = make_under(inode, inode.path);
        if (!done && done.error().code() != EEXIST) // whoever has made it first
            return std::unexpected(done.error());
        return {};
    }

    // A kept file that had another name than its own: that is its other name still, or again. Nothing: another file has
    // it, or it was written to since.
    Result<Fd> open_by_other_name(const model::Inode &inode) {
        auto there = locate(inode, inode.other_path);
        if (!there && there.error().code() == ENOENT)
            there = make_under(inode, inode.other_path);
        if (!there)
            return Fd();
        return show(inode, std::move(*there));
    }

    Result<Fd> make(const model::Inode &inode) {
        Where at = TRY(whereabouts_.find(inode, inode.path));
        Parent parent = TRY(Parent::open(at.base, at.path, Parent::Blocked::stop_above));
        if (inode.naming == Naming::tmpfile && S_ISREG(inode.mode)) {
            auto made = make_unnamed(parent, inode, filler(inode));
            if (made || (made.error().code() != EOPNOTSUPP && made.error().code() != EISDIR))
                return made;
        }
        if (inode.kept.strategy == Strategy::relink && inode.links > 0) {
            // the inode itself: it has other names, which must go on meaning the same file
            Where kept_at = TRY(whereabouts_.find({}, inode.kept.place));
            KeptFile kept = TRY(find_kept(kept_at.full()));
            Fd file = TRY(open_at(kept.files.get(), kept.name, O_PATH | O_NOFOLLOW));
            TRY(verify(inode, file, kept_at));
            return show_as_deleted(parent, inode.path, file);
        }
        return make_deleted(parent, inode, filler(inode), [&](const Fd &file) { show_further_names(inode, file); });
    }

    Fill filler(const model::Inode &inode) const {
        return [this, &inode](const Fd &file) -> Result<> {
            apply_first_flags(file, inode.flags);
            if (inode.kept.strategy == Strategy::empty) {
                if (::ftruncate(file.get(), static_cast<off_t>(inode.size)) != 0)
                    return fail(errno, "cannot set the size {}", inode.size);
                return {};
            }
            Fd source = TRY(open_source(inode));
            return fill_contents(source, file, inode.size);
        };
    }

    // Another open file on the inode of an O_PATH descriptor.
    static Result<Fd> open_again(const Fd &path, const model::Inode &inode, uint32_t wanted) {
        uint32_t flags = wanted & ~finding_flags;
        if (!S_ISDIR(inode.mode))
            flags &= ~static_cast<uint32_t>(O_TMPFILE); // stays in F_GETFL, and holds O_DIRECTORY
        if ((flags & O_PATH) != 0)
            return S_ISLNK(inode.mode) ? duplicate(path) : reopen(path, static_cast<int>(flags));
        int open_flags = static_cast<int>(flags) | O_NOCTTY;
        if (S_ISFIFO(inode.mode)) {
            // fifo(7): with both ends open for a moment, neither open waits for the other nor fails
            Fd both = TRY(reopen(path, O_RDWR | O_NONBLOCK));
            return reopen(path, open_flags);
        }
        if (S_ISCHR(inode.mode) || S_ISBLK(inode.mode)) {
            Fd file = TRY(reopen(path, open_flags | O_NONBLOCK));
            if (::fcntl(file.get(), F_SETFL, open_flags) != 0)
                return fail(errno, "cannot set the flags");
            return file;
        }
        return reopen(path, open_flags);
    }

    // A file that is longer than it was and is to have its old size again.
    Result<> note_appended(const model::Inode &inode, const Fd &file) {
        if (!S_ISREG(inode.mode) || inode.remade || !on_changed_ || !noted_.insert(inode.id).second)
            return {};
        const auto status = TRY(stat_of(file));
        if (static_cast<uint64_t>(status.st_size) <= inode.size ||
            on_changed_(inode.path) != policy::ChangedAction::restore_size)
            return {};
        cut_.add(TRY(duplicate(file)), inode);
        return {};
    }

    // Of directories that were made again, when everything is in them. Of no weight: nobody relies on them.
    void set_times_above() const {
        for (const Parent::Made &made : made_directories_) {
            if (!made.as)
                continue;
            const timespec times[2] = {engine::to_timespec(made.as->atime), engine::to_timespec(made.as->mtime)};
            (void)::utimensat(made.above.get(), made.name.c_str(), times, AT_SYMLINK_NOFOLLOW);
        }
    }

    // The restore failed: names that we made go away again. Files without name go with their descriptors.
    void undo() noexcept {
        cut_.undo();
        for (const Flagged &one : flagged_)
            if (one.set)
                if (const auto file = reopen(one.file, O_RDONLY | O_NONBLOCK))
                    (void)apply_last_flags(*file, one.flags, false);
        for (const Parent::Made &made : std::views::reverse(made_names_)) {
            if (::unlinkat(made.above.get(), made.name.c_str(), 0) != 0 && errno == EISDIR)
                ::unlinkat(made.above.get(), made.name.c_str(), AT_REMOVEDIR);
        }
        for (const Parent::Made &made : std::views::reverse(made_directories_))
            ::unlinkat(made.above.get(), made.name.c_str(), AT_REMOVEDIR);
    }

    struct Flagged { // made again, not yet append-only or immutable
        Fd file;     // O_PATH
        std::string path;
        uint32_t flags = 0;
        bool set = false;
    };

    const std::string images_;
    Whereabouts whereabouts_;
    const OnChanged on_changed_;
    CutFiles cut_{images_};
    std::vector<Flagged> flagged_;
    std::set<model::ObjRef> noted_;
    std::map<model::ObjRef, Fd> made_; // O_PATH
    // O_PATH: further names of files that have none any more, when they could be shown.
    std::map<model::ObjRef, std::map<std::string, Fd>> further_;
    // The last few that were found by name: to look for one again takes ten times as long as to see that it is the
    // same.
    struct Located {
        Fd file; // O_PATH
        struct stat stat;
    };
    static constexpr size_t most_located = 64;
    Fd own_descriptors_; // /proc/self/fd, when it was needed
    std::map<model::ObjRef, Located> located_;
    std::set<std::string> places_; // kept.place of every inode met
    std::vector<Parent::Made> made_names_;
    std::vector<Parent::Made> made_directories_;
};

} // namespace

std::unique_ptr<engine::FileOpener> make_opener(std::string images, std::vector<HomeTranslation> homes,
                                                OnChanged on_changed) {
    return std::make_unique<Opener>(std::move(images), std::move(homes), std::move(on_changed));
}

Result<> remove_leftovers(const std::string &images) {
    Result<> first;
    for (const std::string &directory : TRY(read_ledger(images))) {
        if (auto removed = remove_kept_directory(directory); !removed && first)
            first = std::move(removed);
    }
    return first;
}

} // namespace abey::files
