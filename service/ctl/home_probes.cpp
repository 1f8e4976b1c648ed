// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/probes.h"
#include "ctl/text.h"

#include "engine/os/program.h"
#include "engine/os/user.h"

#include <array>

#include <linux/magic.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

namespace abey::ctl {
namespace {

// A subvolume's root directory has this inode number (btrfs on-disk format).
constexpr ino_t subvolume_inode = 256;
constexpr size_t most_homes = 50;

// What is kept of a home lies on its file system: snapshots, copies, what was deleted.
Probe with_room(Probe probe, const std::string &path) {
    constexpr uint64_t little = 1ULL << 30U;
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) < 0)
        return probe;
    const uint64_t free = status.f_bavail * status.f_frsize;
    probe.found += fmt::format("; {} free there", human_size(free));
    if (free < little) {
        probe.verdict = Verdict::lacking;
        probe.cost += probe.cost.empty() ? "" : "; and ";
        probe.cost += "little space for what is kept of the home: a suspend may be refused; make room";
    }
    return probe;
}

Probe home_of(std::string name, const std::string &path) {
    struct statfs file_system {};
    struct stat status {};
    if (::statfs(path.c_str(), &file_system) < 0 || ::stat(path.c_str(), &status) < 0)
        return {.name = std::move(name),
                .verdict = Verdict::lacking,
                .found = fmt::format("{} cannot be examined", path),
                .cost = "it is not known whether it could be saved"};
    const bool btrfs = file_system.f_type == BTRFS_SUPER_MAGIC;
    if (btrfs && status.st_ino == subvolume_inode)
        return with_room({.name = std::move(name), .found = fmt::format("{} is a btrfs subvolume", path)}, path);
    if (file_system.f_type == NILFS_SUPER_MAGIC && has_program("rsync"))
        return with_room({.name = std::move(name), .found = fmt::format("{} is on nilfs2", path)}, path);
    return with_room(
        {.name = std::move(name),
         .verdict = Verdict::lacking,
         .found = fmt::format("{} is {}", path, btrfs ? "in btrfs, but no subvolume" : "not in btrfs"),
         .cost = has_program("rsync") || btrfs
                     ? "its state is copied at each suspend, which takes time and space; a subvolume of btrfs takes "
                       "neither"
                     : "its state is not saved with the session, and files must be unchanged at the resume: install "
                       "rsync, or make it a subvolume of btrfs"},
        path);
}

bool can_log_in(const passwd &user) {
    constexpr uid_t first = 1000, last = 60000; // as login.defs(5) has them
    const std::string_view shell = user.pw_shell == nullptr ? "" : user.pw_shell;
    struct stat status {};
    return user.pw_uid >= first && user.pw_uid <= last && !shell.ends_with("/nologin") && !shell.ends_with("/false") &&
           ::stat(user.pw_dir, &status) == 0 && S_ISDIR(status.st_mode);
}

std::vector<Probe> all_homes() {
    std::vector<Probe> probes;
    size_t more = 0;
    ::setpwent();
    while (const passwd *user = ::getpwent()) { // NOLINT(concurrency-mt-unsafe): there is one thread
        if (!can_log_in(*user))
            continue;
        if (probes.size() < most_homes)
            probes.push_back(home_of(fmt::format("home of {}", user->pw_name), user->pw_dir));
        else
            more++;
    }
    ::endpwent();
    if (probes.empty())
        probes.push_back({.name = "homes", .found = "no user who can log in has one here"});
    if (more != 0)
        probes.push_back({.name = "homes", .found = fmt::format("{} more were not examined", more)});
    return probes;
}

} // namespace

std::vector<Probe> home_probes() {
    if (::getuid() == 0)
        return all_homes();
    const auto user = os::user_of(::getuid());
    if (!user)
        return {{.name = "home",
                 .verdict = Verdict::lacking,
                 .found = user.error().message(),
                 .cost = "your home was not examined"}};
    return {home_of("home", user->home)};
}

} // namespace abey::ctl
