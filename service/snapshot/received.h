// SPDX-License-Identifier: LGPL-2.1-or-later
//
// States of homes on their way between machines. A state leaves as a tree and a list of what lay in the home; where it
// arrives it becomes a saved state of the home there: a snapshot where that is a subvolume of btrfs, a copy elsewhere.
// Inode numbers are others then; the list tells which file each name meant.
#pragma once

#include "snapshot/provider.h"
#include "snapshot/tree_states.h"

#include <memory>
#include <string>

namespace abey::snapshot {

// What lay in the home when it was saved.
Result<Manifest> list_of(const Saved &saved);

// Which inode each name meant, as a list tells.
engine::FormerFiles former_files_of(Manifest list);

// The saved state as a directory that can be read: as long as this object lives.
class Readable {
  public:
    static Result<Readable> of(const Saved &saved);
    Readable(Readable &&) noexcept = default;
    Readable &operator=(Readable &&) = delete;
    Readable(const Readable &) = delete;
    Readable &operator=(const Readable &) = delete;
    ~Readable();

    [[nodiscard]] const std::string &path() const { return path_; }

  private:
    Readable() = default;
    std::unique_ptr<Provider> provider_;
    std::string path_, copy_; // copy_: goes afterwards
};

// EEXIST: a state of this checkpoint lies beside the home already, as when another system on this machine has the same
// homes. What is found there later is that of the import then.
Result<> check_no_state(const std::string &home, const std::string &id);

// A state that arrives, for the home of a user of this machine. What is not finished is gone with this object, or is
// swept by the next one who works there.
class Received {
  public:
    // Is there room for what the list names? ENOSPC.
    static Result<Received> begin(const std::string &home, const Manifest &list);
    Received(Received &&) noexcept = default;
    Received &operator=(Received &&) = delete;
    Received(const Received &) = delete;
    Received &operator=(const Received &) = delete;
    ~Received();

    // An empty directory of root's, within others of root's alone.
    [[nodiscard]] std::string tree() const;
    // It is filled: compares it with the list, and makes it the saved state `id` of the home. `list_file` holds the
    // list, and stays as long as the checkpoint. On error there is no such state.
    Result<Saved> finish(const std::string &id, const Manifest &list, const std::string &list_file);

  private:
    Result<Saved> finish_snapshot(const Fd &made, const std::string &id, const std::string &list_file);
    Result<Saved> finish_copy(const std::string &id, const Manifest &list);

    Received(std::string home, bool subvolume, Passing passing)
        : home_(std::move(home)), subvolume_(subvolume), passing_(std::move(passing)) {}

    std::string home_;
    bool subvolume_ = false;
    Passing passing_;
};

} // namespace abey::snapshot
