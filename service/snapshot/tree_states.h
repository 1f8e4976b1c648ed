// SPDX-License-Identifier: LGPL-2.1-or-later
//
// States of homes that are saved as copies, on disk: in a directory beside the homes, .abeyance-homes, laid out as
// area.h tells. In its snapshots/ are:
//   ID/          a saved state: `home` (the name of the home), `kind`, `manifest` (what lay in the home), the copy.
//                Of NILFS2 instead of the latter two `checkpoint`, the number of the snapshot.
//                `brought`: of a roll-back, what its copy looked like when it became the home
//   new-XXXXXX/  one that is being made; locked (flock(2)) by who makes it, so what is not locked is nobody's
#pragma once

#include "engine/os/fd.h"
#include "snapshot/area.h"
#include "snapshot/manifest.h"

#include <optional>
#include <string>

namespace abey::snapshot {

inline constexpr const char *tree_area = ".abeyance-homes";

std::string states_path(const std::string &parent);          // PARENT/.abeyance-homes/snapshots
std::string displaced_trees_path(const std::string &parent); // PARENT/.abeyance-homes/displaced

// A directory that is being made; goes with this object unless it was given its lasting name.
class Passing {
  public:
    // In `directory`, whose path is `path`.
    static Result<Passing> make(const Fd &directory, const std::string &path);
    Passing(Passing &&other) noexcept
        : fd_(std::move(other.fd_)), path_(std::move(other.path_)), gone_(std::exchange(other.gone_, true)) {}
    Passing &operator=(Passing &&) = delete;
    Passing(const Passing &) = delete;
    Passing &operator=(const Passing &) = delete;
    ~Passing();

    [[nodiscard]] const Fd &fd() const { return fd_; }
    [[nodiscard]] const std::string &path() const { return path_; }
    // Renames it to `name` in the same directory.
    Result<> become(const std::string &name);

  private:
    Passing() = default;
    Fd fd_;
    std::string path_;
    bool gone_ = false;
};

// Removes what Passing objects of killed processes have left.
Result<> sweep(const Fd &directory, const std::string &path);

// A saved state, or one that was being made: first the snapshot that it names, then the directory.
Result<> remove_state(const std::string &path);
// The number that a state of NILFS2 has noted; nothing: it is none.
std::optional<uint64_t> checkpoint_in(const std::string &path);

// A directory and all in it; symbolic links are not followed. ENOENT is no error.
Result<> remove_tree(const std::string &path);

// The last saved state of this home and kind, that a further one may build on; nothing when there is none.
struct Former {
    std::string place;
    Manifest manifest;
};
std::optional<Former> last_state(const std::string &states, const std::string &home_name, std::string_view kind);

} // namespace abey::snapshot
