// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How the state of the home is kept (docs/POLICY.md, [home]). A provider is made for one home directory.
#pragma once

#include "engine/files.h"
#include "engine/os/result.h"
#include "snapshot/change.h"
#include "snapshot/exclusive.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace abey::snapshot {

// A subvolume in a home.
struct Nested {
    std::string path;       // in the home
    std::string source;     // UUID
    bool read_only = false; // at the suspend; its snapshot always is
};

// What save() made: enough to find it again after a reboot. Goes into the checkpoint's information as JSON.
struct Saved {
    std::string provider;       // "btrfs", "nilfs2", "rsync", "tar", "reflink", "none"
    std::string home;           // absolute path of the home at the suspend
    std::string filesystem;     // UUID
    std::string source;         // btrfs: UUID of the subvolume that was saved; copies: inode number of the home
    std::string place;          // absolute path of the snapshot
    std::string id;             // btrfs: of the checkpoint; empty: the last part of the place
    std::string snapshot;       // btrfs: UUID of the snapshot
    uint64_t generation = 0;    // btrfs: transaction that made the snapshot
    std::vector<Nested> nested; // btrfs: further subvolumes that were saved with it, those above before those below
    std::string list;           // btrfs: of a state from another machine, a file with the list of what lay in that home
};

// The state that roll_back() put aside; never deleted by a resume.
struct Displaced {
    std::string home;
    std::string place; // absolute path where it is now
    std::string state; // UUID of its subvolume or inode number; undo() tells by it that it was done already
};

// Told of what is about to be put aside, before the home is another one.
using Displacing = std::function<Result<>(const Displaced &displaced)>;

// Told of where a copy of the saved state is about to be made.
using Copying = std::function<Result<>(const std::string &place)>;

// How far the present call is, 0 to 100.
using CopyProgress = std::function<void(int percent)>;

class Provider {
  public:
    Provider() = default;
    Provider(const Provider &) = delete;
    Provider &operator=(const Provider &) = delete;
    virtual ~Provider() = default;

    // Before the freeze, session running: can it be saved at all (each lack an error that says what to do), and start
    // writing dirty data back so that save() is short.
    virtual Result<> prepare() = 0;
    // While the session stands still, after the rescue of files. `id` is the checkpoint's.
    virtual Result<Saved> save(const std::string &id) = 0;
    // The checkpoint of that id was given up, or its worker died before what save() made was recorded: nothing remains.
    virtual Result<> discard(const std::string &id) = 0;
    // The checkpoint was removed. One that is gone already is no error. One whose place has been taken by something
    // else is gone, too; that is left alone, and what comes back says so, for people.
    virtual Result<std::string> remove(const Saved &saved) = 0;

    // Has the home changed since? And would roll_back() work? Touches nothing.
    virtual Result<bool> diverged(const Saved &saved) = 0;
    virtual Result<> check(const Saved &saved) = 0;
    // The home becomes what it was; what it had become is kept beside it. Atomic: at every moment there is a home.
    virtual Result<Displaced> roll_back(const Saved &saved) = 0;
    // The resume failed after roll_back(): the displaced state becomes the home again, nothing else remains. Done again
    // after a kill it goes on, or finds that all is done.
    virtual Result<> undo(const Displaced &displaced) = 0;

    // A copy of the saved state beside the home, writable, which the home itself does not come to know of; its path.
    virtual Result<std::string> copy_out(const Saved & /*saved*/) {
        return fail(ENOTSUP, "no state of the home was kept that a copy could be made of");
    }
    // Takes such a copy away again. One that is gone is no error.
    virtual Result<> drop_copy(const std::string & /*place*/) { return {}; }

    // What differs from the saved state, by path; at most `limit`. Touches nothing. A directory that is gone stands for
    // all that was in it.
    virtual Result<std::vector<Change>> changes(const Saved &saved, size_t limit) = 0;
    // Is the home in the saved state, or in the one that roll_back() gave it? diverged() counts the latter as another
    // where inode numbers are others then.
    virtual Result<bool> untouched(const Saved &saved) { return !TRY(diverged(saved)); }
    // Null where inode numbers stay, or nothing could be brought back.
    virtual Result<engine::FormerFiles> former_files(const Saved & /*saved*/) { return engine::FormerFiles(); }
    // Where the saved state can be looked at before roll_back(); the home itself where it cannot.
    [[nodiscard]] virtual std::string view(const Saved &saved) const { return saved.place; }
    // Preflight: one line about what save() means for the time in which the session stands still; empty: next to
    // nothing. Touches nothing.
    virtual Result<std::string> foretell() { return std::string(); }

    // Bytes of data on disk that the saved state alone holds; nothing: not known, or not before `until`.
    virtual Result<std::optional<uint64_t>> exclusive(const Saved & /*saved*/, MeasureUntil /*until*/) {
        return std::optional<uint64_t>();
    }

    virtual void on_progress(CopyProgress progress) { progress_ = std::move(progress); }
    // Whoever has noted what roll_back() tells can undo() it after a kill, however far it had come. An error ends it,
    // with nothing exchanged yet.
    void on_displacing(Displacing displacing) { displacing_ = std::move(displacing); }
    // Whoever has noted what copy_out() tells can drop_copy() after a kill, however far it had come. An error ends it,
    // with nothing at that place yet.
    void on_copying(Copying copying) { copying_ = std::move(copying); }

  protected:
    [[nodiscard]] Result<> tell_displacing(const Displaced &displaced) const {
        return displacing_ ? displacing_(displaced) : Result<>();
    }
    [[nodiscard]] Result<> tell_copying(const std::string &place) const {
        return copying_ ? copying_(place) : Result<>();
    }
    void tell(int percent) const {
        if (progress_)
            progress_(percent);
    }
    CopyProgress progress_;
    Displacing displacing_;
    Copying copying_;
};

// Of a checkpoint or a displaced home, before it becomes part of a path. "new-" begins the names of what is being made.
Result<> checked_id(const std::string &id);

// Trees in the home whose state provider "none" writes down and verifies; paths relative to the home, "." all of it.
struct Verified {
    std::vector<std::string> trees;
    bool contents = false; // by hashes, too
};

// Where "btrfs" makes snapshots, as the policy says. In both "{home}" stands for the last part of the home's path, in
// the name also "{id}" for the checkpoint's id and "{time}" for the time.
struct SnapshotPlace {
    std::string directory;     // absolute; empty: .abeyance/snapshots beside the home, and the rest is not asked
    std::string name = "{id}"; // of the snapshot; for snapper its description
    bool snapper = false;      // as .snapshots/NUMBER/snapshot with an info.xml
};

// The provider for a home, by name ("btrfs", "nilfs2", "rsync", "tar", "reflink", "none", or "auto": what its file
// system allows). Symlinks in the home's path are followed here, once.
Result<std::unique_ptr<Provider>> make_provider(const std::string &name, const std::string &home,
                                                const Verified &verified = {}, const SnapshotPlace &place = {});

// A home that a killed worker has left away from its place (where the file system cannot exchange two directories in
// one step) is there again; otherwise nothing is done.
Result<> give_back_home(const std::string &home);

// Whatever a worker has left that died before what it saved was recorded, whichever the provider was. No home any more:
// nothing to find, no error.
Result<> discard_saved(const std::string &home, const std::string &id);

} // namespace abey::snapshot
