// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A file system of its own for a test, in a mount namespace of its own: whatever becomes of the test, the mount goes
// with the process, and the loop device with the mount.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::test {

// Runs a command without its output; true when it ends with 0.
inline bool run(std::vector<std::string> command) {
    std::vector<char *> arguments;
    arguments.reserve(command.size() + 1);
    for (std::string &argument : command)
        arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child = 0;
    bool started = ::posix_spawnp(&child, arguments.front(), &actions, nullptr, arguments.data(), environ) == 0;
    ::posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    return started && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class Disk {
  public:
    // type: "btrfs", "ext4", "ext4 with whole seconds", "xfs", "nilfs2", "tmpfs". Empty path() and a reason when it
    // cannot be had.
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
            const bool whole_seconds = type == "ext4 with whole seconds";
            const auto driver = whole_seconds ? std::string("ext4") : type;
            std::vector<std::string> format = {"mkfs." + driver, "-q", image};
            if (whole_seconds)
                format.insert(format.end() - 1, {"-I", "128"});
            bool made = run({"truncate", "-s", fmt::format("{}M", megabytes), image}) && run(format) &&
                        run({"mount", "-i", "-t", driver, "-o", "loop", image, top}); // nilfs2: without its cleaner
            ::unlink(image.c_str());                                                  // the loop device holds it
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
