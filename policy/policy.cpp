// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/policy.h"

#include "policy/file_system.h"
#include "policy/rules.h"
#include "policy/sections.h"

#include <algorithm>
#include <array>

namespace abey::policy {

namespace {

template <class T> bool among(const std::vector<T> &wanted, const T &value) {
    return wanted.empty() || std::ranges::find(wanted, value) != wanted.end();
}

bool any_matches(const std::vector<Glob> &paths, std::string_view path) {
    return paths.empty() || std::ranges::any_of(paths, [&](const Glob &glob) { return glob.matches(path); });
}

std::vector<std::string> patterns_of(const std::vector<Glob> &globs) {
    std::vector<std::string> patterns;
    patterns.reserve(globs.size());
    for (const Glob &glob : globs)
        patterns.push_back(glob.pattern());
    return patterns;
}

// Asked when no rule of any file matches, in this order (docs/POLICY.md tells why).
std::vector<model::Strategy> built_in(const FileFacts &file) {
    using enum model::Strategy;
    if (is_volatile(file.file_system))
        return {embed};
    switch (file.state) {
    case FileState::linked:
        // the inode itself, because a copy would part it from its other names
        return {relink, reflink, embed, copy};
    case FileState::unnamed:
        // relink last but one: giving it a name takes away for good its program's right to do so
        return {reflink, embed, relink, copy};
    case FileState::deleted:
    case FileState::not_lasting:
        break;
    }
    return {reflink, embed, copy};
}

// ssh-agent's protocol has no greeting and each request is answered by itself, so that another connection serves as
// well: of OpenSSH (sshd's forwarded ones, too), GNOME and GnuPG. GnuPG's own protocol greets, and goes to other
// sockets.
bool is_ssh_agent(std::string_view name) {
    constexpr std::array<std::string_view, 7> sockets = {"/tmp/ssh-*/agent.*",
                                                         "/run/user/*/openssh_agent",
                                                         "/run/user/*/ssh-agent.socket",
                                                         "/run/user/*/keyring/ssh",
                                                         "/run/user/*/keyring/.ssh",
                                                         "/run/user/*/gcr/ssh",
                                                         "/run/user/*/gnupg/S.gpg-agent.ssh"};
    return std::ranges::any_of(sockets, [&](std::string_view pattern) {
        const auto glob = Glob::compile(pattern);
        return glob && glob->matches(name);
    });
}

// What holds where no [[peer]] rule matches.
engine::PeerChoice built_in(model::PeerAction action) {
    return {.action = action, .otherwise = model::PeerAction::fail, .rule = "built in"};
}

} // namespace

bool FileRule::matches(const FileFacts &file) const {
    return (!min_size || file.size >= *min_size) && (!max_size || file.size <= *max_size) &&
           (!mapped || file.mapped == *mapped) && (!writable || file.writable == *writable) &&
           among(file_systems, file.file_system) && among(owners, file.owner) && among(states, file.state) &&
           any_matches(paths, file.path);
}

bool PeerRule::matches(const os::InetAddress &remote) const {
    return sockets.empty() && among(ports, remote.port()) &&
           (addresses.empty() ||
            std::ranges::any_of(addresses, [&](const AddressRange &range) { return range.contains(remote); }));
}

bool PeerRule::matches(std::string_view socket) const {
    const std::string path = socket.starts_with('/') ? std::string(socket) : fmt::format("/{}", socket);
    return !sockets.empty() && any_matches(sockets, path); // without any it is about addresses
}

Policy Policy::defaults() { return Policy(std::make_shared<Rules>()); }

Result<Policy> Policy::parse(std::string_view text, const std::string &name) {
    auto rules = std::make_shared<Rules>();
    if (const auto mistakes = read_rules(text, name, *rules); !mistakes.empty())
        return failure(mistakes);
    return Policy(std::move(rules));
}

Result<Policy> Policy::of(const Subject &subject) const {
    if (rules_->sections.empty())
        return *this;
    return Policy(std::make_shared<Rules>(TRY(lay_over(*rules_, subject))));
}

Result<Policy> Policy::of(uid_t uid) const {
    if (rules_->sections.empty())
        return *this;
    return of(TRY(subject_of(uid)));
}

Result<Policy> Policy::of(uid_t uid, const std::string &session, const std::string &service,
                          const std::string &tty) const {
    if (rules_->sections.empty())
        return *this;
    return of(TRY(subject_of(uid, session, service, tty)));
}

Result<Policy> policy_for(uid_t uid) { return TRY(Policy::load_system()).of(uid); }

Result<Policy> policy_for(uid_t uid, const std::string &session, const std::string &service, const std::string &tty) {
    return TRY(Policy::load_system()).of(uid, session, service, tty);
}

std::vector<std::string> Policy::sections() const {
    std::vector<std::string> all;
    for (const auto &one : rules_->sections)
        all.push_back(fmt::format("[[{}]] {}", one.kind == SectionKind::user ? "user" : "session", one.origin));
    return all;
}

const std::vector<std::string> &Policy::warnings() const { return rules_->warnings; }

const std::vector<WrittenRule> &Policy::written(std::string_view list) const {
    static const std::vector<WrittenRule> none;
    const auto found = rules_->written.find(list);
    return found == rules_->written.end() ? none : found->second;
}

std::string Policy::origin(std::string_view key) const {
    const auto found = rules_->origins.find(key);
    return found == rules_->origins.end() ? std::string() : found->second;
}

Choice Policy::choose(const FileFacts &file) const {
    for (const FileRule &rule : rules_->files) {
        if (rule.matches(file))
            return {rule.strategies, rule.origin};
    }
    return {built_in(file), "built-in default"};
}

ChangedAction Policy::changed(std::string_view path) const {
    for (const ChangedRule &rule : rules_->changed) {
        if (any_matches(rule.paths, path))
            return rule.action.value_or(ChangedAction::fail);
    }
    return ChangedAction::fail;
}

std::vector<model::Strategy> Policy::pin(std::string_view path) const {
    for (const PinRule &rule : rules_->pins) {
        if (any_matches(rule.paths, path))
            return rule.strategies;
    }
    return {};
}

bool Policy::lasts(std::string_view path) const {
    return std::ranges::none_of(rules_->not_lasting, [&](const Glob &glob) { return glob.matches(path); });
}

std::vector<std::string> Policy::not_lasting() const { return patterns_of(rules_->not_lasting); }
std::vector<std::string> Policy::unheld() const { return patterns_of(rules_->unheld); }
std::vector<std::string> Policy::left_unheld() const { return patterns_of(rules_->left_unheld); }

bool Policy::keeps_unheld(std::string_view path) const {
    return std::ranges::any_of(rules_->unheld, [&](const Glob &glob) { return glob.matches(path); });
}

bool Policy::leaves_unheld(std::string_view path) const {
    return std::ranges::any_of(rules_->left_unheld, [&](const Glob &glob) { return glob.matches(path); });
}

const UnheldLimits &Policy::unheld_limits() const { return rules_->unheld_limits; }

std::string Policy::area(std::string_view path) const {
    for (const AreaRule &rule : rules_->areas) {
        if (any_matches(rule.paths, path))
            return rule.directory;
    }
    return ".abeyance";
}

engine::PeerChoice Policy::peer(const os::InetAddress &remote) const {
    for (const PeerRule &rule : rules_->peers) {
        if (rule.matches(remote))
            return {rule.action.value_or(model::PeerAction::hangup), rule.otherwise, rule.origin};
    }
    return built_in(model::PeerAction::hangup);
}

engine::PeerChoice Policy::unix_peer(std::string_view name) const {
    for (const PeerRule &rule : rules_->peers) {
        if (rule.matches(name))
            return {rule.action.value_or(model::PeerAction::hangup), rule.otherwise, rule.origin};
    }
    const bool is_known = name == "/run/systemd/journal/stdout" || is_ssh_agent(name);
    return built_in(is_known ? model::PeerAction::reconnect : model::PeerAction::hangup);
}

engine::DeviceChoice Policy::device(std::string_view path) const {
    for (const DeviceRule &rule : rules_->devices) {
        if (any_matches(rule.paths, path))
            return {rule.action, rule.origin};
    }
    return {};
}

const Limits &Policy::limits() const { return rules_->limits; }
HomeProvider Policy::home_provider() const { return rules_->home_provider; }
const HomeVerified &Policy::home_verified() const { return rules_->home_verified; }
const HomeSnapshots &Policy::home_snapshots() const { return rules_->home_snapshots; }
OnDivergence Policy::on_divergence() const { return rules_->on_divergence; }
Pids Policy::pids() const { return rules_->pids; }
OnLogin Policy::resume_on_login() const { return rules_->on_login; }
OnLoginEnd Policy::on_login_end() const { return rules_->on_login_end; }
const ServiceRules &Policy::service() const { return rules_->service; }
const std::vector<HookRule> &Policy::hooks() const { return rules_->hooks; }

std::string_view name_of(HookEvent event) {
    switch (event) {
    case HookEvent::pre_suspend:
        return "pre-suspend";
    case HookEvent::post_suspend:
        return "post-suspend";
    case HookEvent::pre_resume:
        return "pre-resume";
    case HookEvent::post_resume:
        break;
    }
    return "post-resume";
}

std::string Policy::home_provider_name() const {
    switch (rules_->home_provider) {
    case HomeProvider::btrfs:
        return "btrfs";
    case HomeProvider::rsync:
        return "rsync";
    case HomeProvider::tar:
        return "tar";
    case HomeProvider::reflink:
        return "reflink";
    case HomeProvider::nilfs2:
        return "nilfs2";
    case HomeProvider::none:
        return "none";
    case HomeProvider::automatic:
        break;
    }
    return "auto";
}

std::string_view strategy_name(model::Strategy strategy) {
    switch (strategy) {
    case model::Strategy::embed:
        return "embed";
    case model::Strategy::copy:
        return "copy";
    case model::Strategy::relink:
        return "relink";
    case model::Strategy::reflink:
        return "reflink";
    case model::Strategy::empty:
        return "empty";
    case model::Strategy::fail:
        return "fail";
    case model::Strategy::pin:
        return "pin";
    case model::Strategy::none:
        break;
    }
    return "none";
}

} // namespace abey::policy
