// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A file system of its own for a test, in a mount namespace of its own: whatever becomes of the test, the mount goes
// with the process, and the loop device with the mount.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace abey::test {

class Disk {
  public:
    // type: "btrfs", "ext4", "tmpfs". Empty path() and a reason when it cannot be had.
    explicit Disk(const std::string &type, unsigned megabytes = 512) {
        static const bool own_mounts = ::unshare(CLONE_NEWNS) == 0 &&
                                       ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                                       ::mount("tmpfs", "/mnt", "tmpfs", 0, nullptr) == 0;
        if (!own_mounts) {
            why_not_ = "cannot have mounts of its own: run as root";
            return;
        }
        std::string pattern = "/mnt/XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr) {
            why_not_ = "no temporary directory";
            return;
        }
        base_ = pattern;
        std::string top = base_ + "/top";
        ::mkdir(top.c_str(), 0755);
        if (type == "tmpfs") {
            if (::mount("tmpfs", top.c_str(), "tmpfs", 0, nullptr) != 0) {
                why_not_ = "cannot mount a tmpfs";
                return;
            }
        } else {
            std::string image = fmt::format("/var/tmp/abey-disk-{}", ::getpid());
            std::string make = fmt::format("truncate -s {}M {} && mkfs.{} -q {} && mount -o loop {} {}", megabytes,
                                           image, type, image, image, top);
            bool made = std::system(("(" + make + ") >/dev/null 2>&1").c_str()) == 0;
            ::unlink(image.c_str()); // the loop device holds it
            if (!made) {
                why_not_ = fmt::format("cannot make or mount a {}", type);
                return;
            }
        }
        path_ = top;
    }
    Disk(const Disk &) = delete;
    Disk &operator=(const Disk &) = delete;
    ~Disk() {
        if (base_.empty())
            return;
        ::umount2((base_ + "/top").c_str(), MNT_DETACH);
        std::error_code ignored;
        std::filesystem::remove_all(base_, ignored);
    }

    [[nodiscard]] const std::string &path() const { return path_; }
    [[nodiscard]] const std::string &base() const { return base_; } // a directory on another file system
    [[nodiscard]] const std::string &why_not() const { return why_not_; }

  private:
    std::string base_, path_, why_not_;
};

} // namespace abey::test
