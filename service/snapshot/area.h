// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The directory beside the homes which belongs to the btrfs provider, on the file system of the homes:
//   .abeyance/lock         held while one of us works here
//   .abeyance/snapshots/   saved states, read-only, by checkpoint; root's alone: they hold old set-user-id programs. A
//                          symbolic link where the policy wants them elsewhere (place.h)
//   .abeyance/displaced/   homes put aside, each with its owner's permissions: the owner may fetch things from there
//   .abeyance/incoming/    roll-backs on their way; empty when none is at work
// Homes that are saved as copies have such a directory, too: .abeyance-homes (tree.h).
//
// A roll-back must leave a home at every moment, and whoever comes after a killed one must tell a half-made copy, which
// goes, from somebody's data, which never does. So: a copy is made as incoming/new, renamed to "UUID_NAME", UUID being
// its own, and only then exchanged with the home. What carries its own UUID was never a home, or has been one for a
// roll-back that was undone; anything else is a displaced home and moves to displaced/NAME.
#pragma once

#include "snapshot/subvolume.h"

#include <functional>
#include <string>
#include <vector>

namespace abey::snapshot {

inline constexpr const char *incoming_new = "new";

class Area {
  public:
    // For homes in `parent`; made when missing. Waits for another's lock. EPERM: others than root could tamper with it.
    static Result<Area> open(const std::string &parent, const std::string &name = ".abeyance");

    [[nodiscard]] const Fd &parent() const { return parent_; }
    [[nodiscard]] const Fd &snapshots() const { return snapshots_; }
    [[nodiscard]] const Fd &displaced() const { return displaced_; }
    [[nodiscard]] const Fd &incoming() const { return incoming_; }

    // Where the snapshot of a checkpoint is: snapshots/ID itself, or what that names as a symbolic link (place.h).
    [[nodiscard]] static std::string place_of(const std::string &parent, const std::string &id);
    // That it is elsewhere; durable.
    [[nodiscard]] Result<> point(const std::string &id, const std::string &path) const;
    // It is elsewhere no more; what lies there stays.
    [[nodiscard]] Result<> forget_place(const std::string &id) const;
    // The snapshot goes, and all that led to it; none is no error. ESTALE: `path`, where it is elsewhere, has been
    // taken by something else that `mine` does not know.
    [[nodiscard]] Result<> remove_snapshot(const std::string &parent, const std::string &id,
                                           const std::function<bool(const Subvolume &)> &mine) const;

    // Finishes or takes back what a killed one left in incoming/.
    [[nodiscard]] Result<> clean() const;

    // "UUID_NAME" in incoming/, exchanged with the home, goes to displaced/. Its name there: NAME, or NAME-2 and on
    // when that is taken.
    [[nodiscard]] Result<std::string> displace(const std::string &incoming) const;
    // The name that displace() would give it now.
    [[nodiscard]] std::string displaced_name(const std::string &incoming) const;

    // A copy of ours in incoming/, which may have been the home for a while: goes, or to displaced/ when somebody has
    // changed files in it.
    [[nodiscard]] Result<> retire(const std::string &incoming) const;

    static std::string snapshots_path(const std::string &parent) { return parent + "/.abeyance/snapshots"; }
    static std::string displaced_path(const std::string &parent) { return parent + "/.abeyance/displaced"; }
    static std::string incoming_name(const std::string &uuid, const std::string &name) { return uuid + "_" + name; }

  private:
    Area() = default;
    [[nodiscard]] Result<bool> has_changed_files(const std::string &incoming) const;
    [[nodiscard]] Result<Fd> open_snapshot(const std::string &id) const;

    Fd parent_, lock_, snapshots_, displaced_, incoming_;
};

// What a directory holds, in no order. EFBIG: more than `limit`.
Result<std::vector<std::string>> names_in(const Fd &directory, size_t limit = 10'000);

// "20261123-101502", UTC: names in displaced/ sort by time.
std::string timestamp();

// renameat2(2) with RENAME_NOREPLACE.
Result<> move_to(const Fd &from, const std::string &old_name, const Fd &to, const std::string &new_name);

} // namespace abey::snapshot
