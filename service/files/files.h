// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Identity of files and the strategies for those which have no name that lasts (docs/POLICY.md): both sides of
// engine/files.h.
#pragma once

#include "engine/files.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace abey::policy {
class Policy;
enum class ChangedAction : uint8_t;
} // namespace abey::policy

namespace abey::files {

// What is going to become of a file that somebody holds.
struct Explanation {
    engine::FileUse use;            // the first that was met
    std::string path;               // bytes
    std::string state;              // "named", "deleted", "replaced", "linked", "unnamed", "not-lasting"
    uint64_t size = 0, on_disk = 0; // bytes
    model::Strategy strategy = model::Strategy::none;       // none: found again by its name
    std::string rule;                                       // what chose it; empty: needs no keeping
    uint64_t cost = 0;                                      // bytes that keeping it writes, about
    std::vector<std::pair<std::string, std::string>> tried; // strategies that are not possible, and why
    std::string refused;                                    // why the suspend would be refused; empty: it would not
};
using Explain = std::function<void(const Explanation &)>;

// Embedded contents go to IMAGES/deleted/ (made when first needed), the other kept files to dedicated areas, in a
// directory named by the checkpoint's id (empty: a random one). The policy must outlive the keeper. `keep_running`: the
// processes go on after the checkpoint and could still write, so an inode itself is never what is kept (no relink). A
// keeper that is destroyed without sync() having succeeded does not discard by itself: call discard().
// `pins`: a directory on the images' file system, made when first needed, by which checkpoints share the copies that
// stand in for system files: one inode for each content, which has a name there and one in each image that uses it.
// Empty: nothing is shared.
std::unique_ptr<engine::FileKeeper> make_keeper(const policy::Policy &policy, std::string images,
                                                std::string checkpoint_id, bool keep_running = false,
                                                Explain explain = {}, // told of each plan(); may be null
                                                std::string pins = {});

// The home was or will be brought back to a saved state: what had a name below `home` is looked for below `place`.
// There inode numbers are as they were, but subvolume and device are others and are not compared. Before the roll-back,
// `place` is the read-only snapshot: check() then tells whether open() would succeed after it. After it, `place` is the
// home itself. So a resume uses two openers.
struct HomeTranslation {
    std::string home;  // absolute path at the suspend
    std::string place; // absolute path of that state now; the same as home after the roll-back
    std::string
        displaced; // after the roll-back: where the state before it lies now. finish() removes our area there, too
    // The state is a copy, whose files are known by what this tells of their names; check() asks only this then,
    // because a copy need not be a tree of files yet. Null: inode numbers are as they were.
    engine::FormerFiles former;
    bool ahead = false; // the home is not yet what it is going to be: check() only
};

// What to do about a file that is the saved one, but was written to since. Null: fail.
using OnChanged = std::function<policy::ChangedAction(const std::string &path)>;

// `images`: the checkpoint's image directory (IMAGES/deleted/ holds embedded contents; it is only read).
std::unique_ptr<engine::FileOpener> make_opener(std::string images, std::vector<HomeTranslation> homes = {},
                                                OnChanged on_changed = {});

// A checkpoint is removed, or was never finished because its worker died: takes away what it has in dedicated areas, as
// IMAGES/deleted/areas tells. To be called before the image is removed. What is not there any more is no error; one
// that cannot be removed is, after everything else has been.
Result<> remove_leftovers(const std::string &images);

// Removes the copies that no image uses any more: those with no other name than the one in `pins`. Harmless beside a
// suspend, which makes a copy anew when the one it wanted has just gone. ENOENT is no error.
Result<> collect_pins(const std::string &pins);

} // namespace abey::files
