// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The compiled form of a policy: private to this room.
#pragma once

#include "policy/address.h"
#include "policy/glob.h"
#include "policy/policy.h"

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>

namespace abey::policy {

// One [[file]] table. What is empty matches everything.
struct FileRule {
    std::vector<Glob> paths;                    // any of them
    std::optional<uint64_t> min_size, max_size; // both inclusive
    std::vector<uint64_t> file_systems;
    std::vector<uint32_t> owners;
    std::vector<FileState> states;
    std::optional<bool> mapped;
    std::optional<bool> writable;
    std::vector<model::Strategy> strategies;
    std::string origin; // "file:line"

    [[nodiscard]] bool matches(const FileFacts &file) const;
};

// One [[area]] table.
struct AreaRule {
    std::vector<Glob> paths;
    std::string directory;
};

// One [[pin]] table.
struct PinRule {
    std::vector<Glob> paths;
    std::vector<model::Strategy> strategies;
};

// One [[changed]] table.
struct ChangedRule {
    std::vector<Glob> paths;
    std::optional<ChangedAction> action; // always there once it has been read
};

// One [[peer]] table. What is empty matches everything.
struct PeerRule {
    std::vector<AddressRange> addresses;
    std::vector<uint16_t> ports;
    std::vector<Glob> sockets;               // names of unix sockets; a rule that has some is about no other peers
    std::optional<model::PeerAction> action; // always there once it has been read
    model::PeerAction otherwise = model::PeerAction::fail; // when it is `keep`, and that is not possible
    std::string origin;

    [[nodiscard]] bool matches(const os::InetAddress &remote) const;
    [[nodiscard]] bool matches(std::string_view socket) const;
};

// One [[device]] table.
struct DeviceRule {
    std::vector<Glob> paths;
    std::optional<engine::DeviceAction> action; // always there once it has been read
    std::string origin;
};

enum class SectionKind : uint8_t { user, session };

struct SectionText; // sections.h

// Of patterns that are known to be right.
inline std::vector<Glob> globs(std::initializer_list<std::string_view> patterns) {
    std::vector<Glob> all;
    for (const std::string_view pattern : patterns)
        all.push_back(Glob::compile(pattern).value());
    return all;
}

// One [[user]] or [[session]] table. Lists are of patterns (glob(7)); an empty one matches everything.
struct Section {
    SectionKind kind = SectionKind::user;
    std::vector<std::string> users, groups, services, ttys, units;
    std::shared_ptr<const SectionText> text; // what it says otherwise: checked already
    std::string origin;                      // "file:line"
};

struct Policy::Rules {
    std::vector<FileRule> files;      // the first that matches counts
    std::vector<AreaRule> areas;      // the same
    std::vector<PeerRule> peers;      // the same
    std::vector<DeviceRule> devices;  // the same
    std::vector<PinRule> pins;        // the same
    std::vector<ChangedRule> changed; // the same
    std::vector<HookRule> hooks;      // all that match count
    std::vector<Glob> not_lasting = globs({"/tmp/**"});
    // What belongs to services of the user's own manager (they make it anew) is left
    std::vector<Glob> unheld = globs({"/run/user/*/**"});
    std::vector<Glob> left_unheld =
        globs({"/run/user/*/systemd", "/run/user/*/dbus-1", "/run/user/*/gnupg", "/run/user/*/keyring",
               "/run/user/*/pulse", "/run/user/*/pipewire-*", "/run/user/*/wayland-*", "/run/user/*/gvfs*"});
    UnheldLimits unheld_limits;
    Limits limits;
    HomeProvider home_provider = HomeProvider::automatic;
    HomeVerified home_verified;
    HomeSnapshots home_snapshots;
    OnDivergence on_divergence = OnDivergence::rollback;
    Pids pids = Pids::automatic;
    OnLogin on_login = OnLogin::automatic;
    OnLoginEnd on_login_end = OnLoginEnd::stay;
    ServiceRules service;
    std::vector<Section> sections;                                        // in the order in which they are laid over
    std::vector<std::string> warnings;                                    // one line each: deprecated keys
    std::map<std::string, std::vector<WrittenRule>, std::less<>> written; // "file" and the like, as above
    std::map<std::string, std::string, std::less<>> origins;              // "home.provider": "FILE:LINE"
};

// Changes `rules` by what the TOML text says; with mistakes, which are told in the order of the text, they are left
// half changed. `name` is for messages.
[[nodiscard]] std::vector<Mistake> read_rules(std::string_view text, const std::string &name, Policy::Rules &rules);

} // namespace abey::policy
