// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/probes.h"
#include "ctl/text.h"

#include "dbus/bus.h"
#include "dbus/names.h"
#include "engine/os/fd.h"
#include "engine/os/program.h"
#include "policy/policy.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <sys/statvfs.h>

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
    const auto is_there = [](const char *name) {
        return ::access(fmt::format("/etc/pam.d/{}", name).c_str(), R_OK) == 0 ||
               ::access(fmt::format("/usr/lib/pam.d/{}", name).c_str(), R_OK) == 0;
    };
    if (!is_there("abeyance"))
        return broken("PAM service", "no /etc/pam.d/abeyance",
                      "resumed sessions cannot be opened; install the package again");
    if (!is_there("abeyance-run"))
        return {.name = "PAM service",
                .verdict = Verdict::lacking,
                .found = "abeyance, and no /etc/pam.d/abeyance-run",
                .cost = "`abeyctl run` cannot begin sessions; install the package again"};
    return {.name = "PAM service", .found = "abeyance, abeyance-run"};
}

// What all sessions together hold, which has to be written down before the machine sleeps or ends; 0: not known.
uint64_t memory_of_sessions() {
    constexpr size_t limit = 1U << 16U;
    const auto text = read_file("/sys/fs/cgroup/user.slice/memory.stat", limit);
    uint64_t bytes = 0;
    if (text && text->starts_with("anon "))
        (void)std::from_chars(text->data() + 5, text->data() + text->size(), bytes);
    return bytes;
}

// Sleep and shutdown wait so long for checkpoints, logind's InhibitDelayMaxSec.
Probe time_to_act(sd_bus *bus) {
    Probe probe{.name = "time to act"};
    uint64_t delay = 0; // microseconds
    if (sd_bus_get_property_trivial(bus, "org.freedesktop.login1", "/org/freedesktop/login1",
                                    "org.freedesktop.login1.Manager", "InhibitDelayMaxUSec", nullptr, 't',
                                    &delay) < 0) {
        probe.found = "not examined: logind does not answer";
        return probe;
    }
    const auto policy = policy::Policy::load_system();
    if (!policy || (policy->service().triggers.on_sleep == policy::Act::nothing &&
                    policy->service().triggers.on_shutdown == policy::Act::nothing)) {
        probe.found = "none is needed: nothing happens at sleep and shutdown";
        return probe;
    }
    constexpr uint64_t second = 1'000'000, each_second = 256ULL << 20U; // what a plain disk writes
    const uint64_t memory = memory_of_sessions();
    // Applications may have that long before anything is written
    const uint64_t needed = std::max(policy->service().user_limits.application_delay, 1 + memory / each_second);
    probe.found = fmt::format("logind waits {} s at sleep and shutdown", delay / second);
    if (memory != 0)
        probe.found += fmt::format("; sessions hold {}", human_size(memory));
    if (needed * second > delay) {
        probe.verdict = Verdict::lacking;
        probe.cost = fmt::format("they may need {} s, and those that are not ready then are lost with a shutdown: set "
                                 "InhibitDelayMaxSec= in logind.conf(5), as in "
                                 "/usr/share/doc/abeyance/logind.conf.d-abeyance.conf",
                                 needed);
    }
    return probe;
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

// Asks for passwords on a terminal (pkttyagent(1)).
Probe password_agent() {
    if (has_program("pkttyagent"))
        return {.name = "pkttyagent", .found = "yes"};
    return {.name = "pkttyagent",
            .verdict = Verdict::lacking,
            .found = "no",
            .cost =
                "abeyctl cannot ask for a password where polkit wants one: what is not one's own needs root; install "
                "polkit's programs"};
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

} // namespace

std::vector<Probe> system_probes() {
    std::vector<Probe> probes;
    if (auto bus = bus::open_system()) {
        probes = {systemd_version(bus->get()), logind(bus->get()), time_to_act(bus->get()), service(bus->get()),
                  polkit(bus->get())};
    } else {
        probes.push_back(broken("system bus", bus.error().message(), "the service cannot be reached"));
    }
    probes.insert(probes.end(), {password_agent(), pam(), policy_files(), store(), room(), programs()});
    std::ranges::move(home_probes(), std::back_inserter(probes));
    return probes;
}

} // namespace abey::ctl
