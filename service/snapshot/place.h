// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Where snapshots of btrfs homes lie when the policy wants them elsewhere than beside the home: under names of the
// administrator's choice in a directory, or as snapper(8) lays its own out, so that this lists and deletes them. In
// .abeyance/snapshots/ a symbolic link of the checkpoint's id then names the snapshot: it is there before the snapshot
// is, so whoever comes after a kill finds that.
#pragma once

#include "snapshot/provider.h"
#include "snapshot/subvolume.h"

#include <optional>
#include <string>

namespace abey::snapshot {

// With "{home}" filled in.
SnapshotPlace place_for(SnapshotPlace place, const std::string &home);

// Could a snapshot of `home` (open as `directory`) lie there? Touches nothing. EPERM: others than root could tamper
// with it, or see old set-user-id programs; EINVAL: it is in the home itself; EXDEV: on another file system.
Result<> check_place(const SnapshotPlace &place, const Fd &directory, const std::string &home);

// For people: whom but root and the home's owner the directory lets in, by its group or an ACL, to what the home held;
// empty: nobody. Touches nothing.
Result<std::string> let_in(const SnapshotPlace &place, const Fd &directory);

// Room for one snapshot that does not exist yet.
struct Spot {
    Fd parent;
    std::string name; // in it
    std::string path; // absolute
};
// Makes the directory when it is missing, and a numbered one in it with its info.xml for snapper. Names that are taken
// get "-2" and on.
Result<Spot> make_spot(const SnapshotPlace &place, const std::string &id);

// What make_spot() has made for snapper beside the snapshot, which is gone by now. Of another's, or gone: no error.
Result<> drop_spot(const std::string &path, const std::string &id);

// Did make_spot() make this for that checkpoint, as far as snapper's layout tells? Nothing: it does not.
std::optional<bool> is_spot_of(const std::string &path, const std::string &id);

} // namespace abey::snapshot
