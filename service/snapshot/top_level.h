// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Mounts of a btrfs file system beside those that the machine has. A subvolume that is mounted somewhere cannot be
// exchanged by that path (rename(2): EBUSY), but it can through the top level of its file system. Likewise of snapshots
// of NILFS2.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/mounts.h"

#include <string>

namespace abey::snapshot {

// The top level (subvolid=5) in a directory that only root can enter, until this object goes. What a killed one has
// left goes with the next.
class TopLevel {
  public:
    // `source`: the device; `directory`: 0700, made when missing. `data`: the options; with "nilfs2" read-only.
    static Result<TopLevel> mount(const std::string &source, const std::string &directory,
                                  const std::string &type = "btrfs", const std::string &data = "subvolid=5");

    TopLevel(TopLevel &&other) noexcept
        : lock_(std::move(other.lock_)), path_(std::exchange(other.path_, std::string())) {}
    TopLevel &operator=(TopLevel &&) = delete;
    TopLevel(const TopLevel &) = delete;
    TopLevel &operator=(const TopLevel &) = delete;
    ~TopLevel();

    [[nodiscard]] const std::string &path() const { return path_; }

  private:
    TopLevel(Fd lock, std::string path) : lock_(std::move(lock)), path_(std::move(path)) {}
    Fd lock_; // says that we live
    std::string path_;
};

// The mount that `path` is the top of. EINVAL: it is not one.
Result<os::MountEntry> mount_at(const std::string &path);

// Mounts `directory` (of another mount) where `old` is, with the options of that, which goes: from one moment to the
// next where the kernel can mount beneath a mount (Linux 6.5), otherwise the new one hides the old one.
Result<> renew_mount(const os::MountEntry &old, const std::string &directory);

// Shows `directory` at `place`, too, with the options of `like`; `place` is made when missing. Nothing is done when it
// is there already.
Result<> show_at(const std::string &place, const std::string &directory, const os::MountEntry &like);

} // namespace abey::snapshot
