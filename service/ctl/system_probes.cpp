// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/probes.h"
#include "ctl/text.h"

#include "dbus/bus.h"
#include "dbus/names.h"
#include "engine/os/fd.h"
#include "engine/os/program.h"
#include "engine/os/user.h"
#include "policy/policy.h"

#include <array>

#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

namespace abey::ctl {
namespace {

constexpr unsigned oldest_systemd = 252;

Probe broken(std::string name, std::string found, std::string cost) {
    return {.name = std::move(name), .verdict = Verdict::broken, .found = std::move(found), .cost = std::move(cost)};
}

Probe systemd_version(sd_bus *bus) {
    const auto version = bus::string_property(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                              "org.freedesktop.systemd1.Manager", "Version");
    if (!version)
        return broken("systemd", version.error().message(), "workers are units of systemd: nothing works without it");
    Probe probe{.name = "systemd", .found = *version};
    if (leading_number(*version) < oldest_systemd) {
        probe.verdict = Verdict::lacking;
        probe.cost = fmt::format("older than {}: not tried", oldest_systemd);
    }
    return probe;
}

Probe logind(sd_bus *bus) {
    auto message =
        bus::method_call(bus, "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.DBus.Peer", "Ping");
    if (message)
        if (auto reply = bus::call(bus, *message); reply)
            return {.name = "logind", .found = "answers"};
    return broken("logind", "does not answer",
                  "there are no sessions to suspend; see `systemctl status systemd-logind`");
}

Probe service(sd_bus *bus) {
    const auto version =
        bus::string_property(bus, bus::service_name, bus::manager_path, bus::manager_interface, "Version");
    if (version)
        return {.name = "abeyd", .found = "answers, version " + *version};
    return broken("abeyd", version.error().message(), "nothing can be asked for; see `systemctl status abeyd`");
}

Probe pam() {
    const bool good = ::access("/etc/pam.d/abeyance", R_OK) == 0 || ::access("/usr/lib/pam.d/abeyance", R_OK) == 0;
    if (good)
        return {.name = "PAM service", .found = "abeyance"};
    return broken("PAM service", "no /etc/pam.d/abeyance",
                  "resumed sessions cannot be opened; install the package again");
}

Probe policy_files() {
    const auto policy = policy::Policy::load_system();
    if (policy)
        return {.name = "policy",
                .found = policy->warnings().empty()
                             ? "well-formed"
                             : fmt::format("well-formed; {} warnings, see `abeyctl policy check`",
                                           policy->warnings().size())};
    return broken("policy", policy.error().message(), "no session is suspended or resumed until that is mended");
}

Probe store() {
    constexpr const char *path = "/var/lib/abeyance";
    struct stat status {};
    if (::stat(path, &status) < 0)
        return broken("store", fmt::format("no {}", path),
                      "checkpoints cannot be kept; run `systemd-tmpfiles --create`");
    if (!S_ISDIR(status.st_mode) || status.st_uid != 0 || (status.st_mode & 077U) != 0)
        return broken("store", fmt::format("{} is not root's alone", path),
                      "others could read the memory of sessions; run `chown root: /var/lib/abeyance; chmod 700 "
                      "/var/lib/abeyance`");
    return {.name = "store", .found = path};
}

Probe room() {
    constexpr uint64_t little = 1ULL << 30U;
    struct statvfs status {};
    if (::statvfs("/var/lib/abeyance", &status) < 0)
        return {.name = "free space", .found = "not examined: there is no store"};
    const uint64_t free = status.f_bavail * status.f_frsize;
    Probe probe{.name = "free space", .found = human_size(free) + " for checkpoints"};
    if (free < little) {
        probe.verdict = Verdict::lacking;
        probe.cost =
            "a session takes about as much as its memory: larger ones are refused; `abeyctl prune`, or make room";
    }
    return probe;
}

Probe polkit(sd_bus *bus) {
    auto message = bus::method_call(bus, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                                    "org.freedesktop.DBus.Peer", "Ping");
    if (message)
        if (auto reply = bus::call(bus, *message); reply)
            return {.name = "polkit", .found = "answers"};
    return {.name = "polkit",
            .verdict = Verdict::lacking,
            .found = "does not answer",
            .cost = "users may act on what is theirs alone, administrators have to be root; install polkitd"};
}

Probe programs() {
    struct Used {
        const char *name;
        const char *what;
    };
    constexpr std::array used{Used{"rsync", "saving homes that are not on btrfs"}, Used{"tar", "export and import"},
                              Used{"zstd", "export and import"}};
    Probe probe{.name = "programs", .found = "rsync, tar, zstd"};
    std::string missing;
    for (const auto &[name, what] : used)
        if (!has_program(name)) {
            missing += (missing.empty() ? "" : ", ") + std::string(name);
            probe.cost += (probe.cost.empty() ? "not possible: " : ", ") + std::string(what);
        }
    if (!missing.empty()) {
        probe.verdict = Verdict::lacking;
        probe.found = "not: " + missing;
    }
    return probe;
}

// A subvolume's root directory has this inode number (btrfs on-disk format).
constexpr ino_t subvolume_inode = 256;

Probe home() {
    const auto user = os::user_of(::getuid());
    if (!user)
        return {.name = "home",
                .verdict = Verdict::lacking,
                .found = user.error().message(),
                .cost = "your home was not examined"};
    const std::string &path = user->home;
    struct statfs file_system {};
    struct stat status {};
    if (::statfs(path.c_str(), &file_system) < 0 || ::stat(path.c_str(), &status) < 0)
        return {.name = "home",
                .verdict = Verdict::lacking,
                .found = fmt::format("{} cannot be examined", path),
                .cost = "it is not known whether it could be saved"};
    const bool btrfs = file_system.f_type == BTRFS_SUPER_MAGIC;
    if (btrfs && status.st_ino == subvolume_inode)
        return {.name = "home", .found = fmt::format("{} is a btrfs subvolume", path)};
    if (file_system.f_type == NILFS_SUPER_MAGIC && has_program("rsync"))
        return {.name = "home", .found = fmt::format("{} is on nilfs2", path)};
    return {.name = "home",
            .verdict = Verdict::lacking,
            .found = fmt::format("{} is {}", path, btrfs ? "in btrfs, but no subvolume" : "not in btrfs"),
            .cost = has_program("rsync") || btrfs
                        ? "its state is copied at each suspend, which takes time and space; a subvolume of btrfs takes "
                          "neither"
                        : "its state is not saved with the session, and files must be unchanged at the resume: install "
                          "rsync, or make it a subvolume of btrfs"};
}

} // namespace

std::vector<Probe> system_probes() {
    std::vector<Probe> probes;
    if (auto bus = bus::open_system()) {
        probes = {systemd_version(bus->get()), logind(bus->get()), service(bus->get()), polkit(bus->get())};
    } else {
        probes.push_back(broken("system bus", bus.error().message(), "the service cannot be reached"));
    }
    probes.insert(probes.end(), {pam(), policy_files(), store(), room(), programs(), home()});
    return probes;
}

} // namespace abey::ctl
