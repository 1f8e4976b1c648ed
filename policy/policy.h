// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the administrator wants, from TOML files (docs/POLICY.md), checked and ready to be asked. A Policy never changes
// after it has been made, and holds no reference to the text that it came from.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/result.h"
#include "engine/peers.h"
#include "policy/hook_rules.h"
#include "policy/mistake.h"
#include "policy/service_rules.h"
#include "policy/subject.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace abey::policy {

enum class HomeProvider : uint8_t { automatic, btrfs, rsync, tar, reflink, none, nilfs2 };
enum class OnDivergence : uint8_t { rollback, private_home, keep, fail };
enum class Pids : uint8_t { automatic, same, in_namespace };
enum class OnLogin : uint8_t { automatic, ask, never };
// Of a session that was attached to, when the last login has ended from which that was done.
enum class OnLoginEnd : uint8_t { stay, suspend, end };

// Why a file needs keeping, as rules see it.
enum class FileState : uint8_t {
    deleted,     // link count 0
    linked,      // it has other names, which could not be found
    unnamed,     // made by O_TMPFILE
    not_lasting, // it has a name, in memory or where lasts() says no
};

// What a file rule can ask about one held file.
struct FileFacts {
    std::string_view path;    // bytes; without " (deleted)"
    uint64_t size = 0;        // bytes
    uint64_t file_system = 0; // f_type of statfs(2)
    uint32_t owner = 0;       // uid
    FileState state = FileState::deleted;
    bool mapped = false; // held by a mapping; otherwise by a descriptor
    bool writable = false;
};

// What the rules say about one file.
struct Choice {
    std::vector<model::Strategy> strategies; // tried in order, never empty, never `none`
    std::string rule;                        // for people: "/etc/abeyance/policy.toml:12" or "built-in default"
};

struct Limits {
    uint64_t embed = 256ULL << 20U;     // bytes of one embedded file
    uint64_t embed_total = 4ULL << 30U; // bytes of all embedded files of a checkpoint
    bool operator==(const Limits &) const = default;
};

// What provider "none" writes down of a home, and verifies at the resume.
struct HomeVerified {
    std::vector<std::string> trees; // relative to the home; "." is all of it
    bool contents = false;          // by hashes, too
    bool operator==(const HomeVerified &) const = default;
};

// Where provider "btrfs" makes snapshots. "{home}" in both, "{id}" and "{time}" in the name stand for what the provider
// knows.
struct HomeSnapshots {
    std::string directory; // absolute; empty: beside the home
    std::string name = "{id}";
    bool snapper = false; // laid out as snapper's
    bool operator==(const HomeSnapshots &) const = default;
};

// What of XDG_RUNTIME_DIR is kept at most although no process of the session holds it.
struct UnheldLimits {
    uint64_t size = 16ULL << 20U; // bytes of data
    uint64_t files = 1000;        // and symbolic links, and directories without any
    bool operator==(const UnheldLimits &) const = default;
};

// What becomes at the resume of a file with a lasting name that was written to since the suspend.
enum class ChangedAction : uint8_t { accept, restore_size, fail };

// One [[file]], [[peer]], ... table, for people.
struct WrittenRule {
    std::string text;   // its keys and values, as TOML of several lines
    std::string json;   // the same as one JSON object
    std::string origin; // "/etc/abeyance/policy.toml:12"
};

// A file that holds rules must not be larger, nor hold more rules, patterns longer than this.
inline constexpr size_t policy_size_limit = 1U << 20U;
inline constexpr size_t rule_count_limit = 1000;

class Policy {
  public:
    // The built-in policy, equal to the shipped policy.toml.
    static Policy defaults();
    // The built-in policy overridden by one file.
    static Result<Policy> load(const std::string &file);
    // The built-in policy overridden by abeyance/policy.toml and then, in the order of their names, by
    // abeyance/policy.d/*.toml: of ROOT's /etc, /run, /usr/local/lib and /usr/lib, where an earlier one's file masks
    // the later ones' of the same name (systemd.unit(5), as for all of its configuration). A file that somebody other
    // than root could write is an error (cause::policy_invalid, as are mistakes); files that do not exist are none.
    static Result<Policy> load_system(const std::string &root = "");
    // All that is wrong with that file, or with those; nothing of load() is missing in it.
    struct Findings {
        std::vector<Mistake> mistakes;
        std::vector<std::string> warnings; // see warnings()
    };
    static Findings examine(const std::string &file);
    static Findings examine_system(const std::string &root = "");
    // Those files, in the order in which they are read; some may be links to /dev/null, which say nothing.
    static Result<std::vector<std::string>> system_files(const std::string &root = "");
    // The built-in policy overridden by this text. `name` stands for the file in messages. Takes any input whatever.
    static Result<Policy> parse(std::string_view text, const std::string &name);

    // What it says of a user, or of one of a user's sessions: [[user]] and [[session]] sections that match are laid
    // over the rest. Asked without this, a policy says what holds for everybody else.
    [[nodiscard]] Result<Policy> of(const Subject &subject) const;
    // The same of the user of this id, or a session of theirs (subject_of()). The user database is asked only when
    // there are sections; an error when it cannot be.
    [[nodiscard]] Result<Policy> of(uid_t uid) const;
    [[nodiscard]] Result<Policy> of(uid_t uid, const std::string &session, const std::string &service,
                                    const std::string &tty) const;
    // Where its sections are, for people: "[[user]] FILE:LINE".
    [[nodiscard]] std::vector<std::string> sections() const;
    // What is no mistake yet: keys that have other names by now. One line each.
    [[nodiscard]] const std::vector<std::string> &warnings() const;

    // The rules of this name ("file", "area", "peer", "device", "pin", "changed", "hook") as they stand in their files,
    // in the order in which they are asked. What is built in comes after them.
    [[nodiscard]] const std::vector<WrittenRule> &written(std::string_view list) const;
    // Where this value ("home.provider") was set: "FILE:LINE"; empty: it is built in.
    [[nodiscard]] std::string origin(std::string_view key) const;

    // The first file rule that matches; the built-in one when none does. Rules of a later file are asked before
    // those of an earlier one, in a file from top to bottom.
    [[nodiscard]] Choice choose(const FileFacts &file) const;

    // What becomes of a file of this path that has changed since the suspend; fail when no rule matches.
    [[nodiscard]] ChangedAction changed(std::string_view path) const;

    // How a copy of a file with a lasting name is made for the case that another one has the name at the resume:
    // reflink, copy, in this order; empty: there is none.
    [[nodiscard]] std::vector<model::Strategy> pin(std::string_view path) const;

    // Will a file of this name still be there after a reboot? Asked of those whose file system lasts.
    [[nodiscard]] bool lasts(std::string_view path) const;
    // The patterns of names that do not.
    [[nodiscard]] std::vector<std::string> not_lasting() const;

    // The directory in which copy, relink and reflink keep files of this path: an absolute path, or a plain name, which
    // means: at the top of the subvolume or mount that the file lies in.
    [[nodiscard]] std::string area(std::string_view path) const;

    // What becomes of an internet connection to this address outside; hangup when no rule matches.
    [[nodiscard]] engine::PeerChoice peer(const os::InetAddress &remote) const;
    // Of a connection to a unix socket of this name outside (see engine::UnixPeerPolicy). When no rule matches:
    // reconnect to the journal, which takes lines of text from a new connection as well, and to agents of ssh;
    // otherwise hangup.
    [[nodiscard]] engine::PeerChoice unix_peer(std::string_view name) const;

    // What becomes of a device of this path that cannot be kept. No action when no rule matches.
    [[nodiscard]] engine::DeviceChoice device(std::string_view path) const;

    // Is a file of this path in XDG_RUNTIME_DIR, which no process of the session holds, to be there after a resume,
    // too?
    [[nodiscard]] bool keeps_unheld(std::string_view path) const;
    // Nor what is below this path: it is not even looked at.
    [[nodiscard]] bool leaves_unheld(std::string_view path) const;
    // The patterns that decide it.
    [[nodiscard]] std::vector<std::string> unheld() const;
    [[nodiscard]] std::vector<std::string> left_unheld() const;
    [[nodiscard]] const UnheldLimits &unheld_limits() const;

    [[nodiscard]] const Limits &limits() const;
    [[nodiscard]] HomeProvider home_provider() const;
    [[nodiscard]] const HomeVerified &home_verified() const;
    [[nodiscard]] const HomeSnapshots &home_snapshots() const;
    [[nodiscard]] OnDivergence on_divergence() const;
    [[nodiscard]] Pids pids() const;
    [[nodiscard]] OnLogin resume_on_login() const;
    [[nodiscard]] OnLoginEnd on_login_end() const;
    [[nodiscard]] const ServiceRules &service() const;
    // In the order in which they are run: those of later files first, in a file from top to bottom.
    [[nodiscard]] const std::vector<HookRule> &hooks() const;

    // The name that the policy's own language has for it: "auto", "btrfs", ... (snapshot::make_provider takes these).
    [[nodiscard]] std::string home_provider_name() const;

    struct Rules; // compiled
    explicit Policy(std::shared_ptr<const Rules> rules) : rules_(std::move(rules)) {}

  private:
    std::shared_ptr<const Rules> rules_;
};

// What the system's policy says of that user, or session of theirs (Policy::load_system(), Policy::of()). The files are
// read anew each time.
Result<Policy> policy_for(uid_t uid);
Result<Policy> policy_for(uid_t uid, const std::string &session, const std::string &service, const std::string &tty);

// The policy's word for a strategy: "embed", "copy", ...
std::string_view strategy_name(model::Strategy strategy);

} // namespace abey::policy
