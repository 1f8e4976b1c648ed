// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree_exchange.h"

#include "snapshot/tree_states.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

// Of a home in incoming/ that is exchanged in several steps.
constexpr std::string_view away_prefix = "away_";

} // namespace

std::string number_of(const struct stat &status) { return fmt::format("{}", status.st_ino); }

HomeExchange::HomeExchange(const std::string &home, StepDone step_done)
    : home_(home), name_(fs::path(home).filename().string()),
      incoming_path_(fs::path(states_path(fs::path(home).parent_path().string())).parent_path().string() + "/incoming"),
      step_done_(std::move(step_done)) {}

Result<> HomeExchange::exchange(const Area &area, const std::string &incoming) const {
    if (::renameat2(area.parent().get(), name_.c_str(), area.incoming().get(), incoming.c_str(), RENAME_EXCHANGE) == 0)
        return {};
    if (errno != EINVAL)
        return fail(errno, "cannot exchange home {} with the other state of it", home_);
    // The file system cannot do it in one step (nilfs2). Whoever comes after a kill in between gives the home back.
    const auto away = std::string(away_prefix) + incoming.substr(incoming.find('_') + 1);
    TRY_IN(move_to(area.parent(), name_, area.incoming(), away), "home {}", home_);
    done("home away");
    if (auto moved = move_to(area.incoming(), incoming, area.parent(), name_); !moved) {
        (void)move_to(area.incoming(), away, area.parent(), name_); // if not now, then at the next look for it
        return within(std::move(moved).error(), "home {}", home_);
    }
    done("other in place");
    if (auto moved = move_to(area.incoming(), away, area.incoming(), incoming); !moved) {
        if (move_to(area.parent(), name_, area.incoming(), incoming))
            (void)move_to(area.incoming(), away, area.parent(), name_);
        return within(std::move(moved).error(), "home {}", home_);
    }
    return {};
}

Result<> HomeExchange::retire(const Area &area, const std::string &incoming) const {
    const auto path = incoming_path_ + "/" + incoming;
    const auto copy = TRY(open_directory(area.incoming().get(), incoming));
    const auto now = TRY(Manifest::of(copy, path));
    for (const auto &id : TRY(names_in(area.snapshots()))) {
        if (!incoming.ends_with("-" + id))
            continue;
        const auto place = TRY(open_directory(area.snapshots().get(), id));
        const auto brought = Manifest::read(place, "brought");
        if (brought && differences(*brought, now, Match::files, 1).empty())
            return remove_tree(path);
    }
    TRY(area.displace(incoming));
    return {};
}

Result<> HomeExchange::clean(const Area &area) const {
    for (const auto &name : TRY(names_in(area.incoming()))) {
        if (name.starts_with("new-"))
            continue; // somebody's, or swept
        const auto separator = name.find('_');
        if (separator == std::string::npos || separator == 0)
            return fail(EEXIST, "{}/{} is not ours: move it away", incoming_path_, name);
        const auto found = TRY(open_directory(area.incoming().get(), name));
        if (number_of(TRY(stat_of(found))) == name.substr(0, separator))
            TRY_IN(retire(area, name), "{}: left by a roll-back that was killed", incoming_path_);
        else
            TRY_IN(area.displace(name), "{}", incoming_path_);
    }
    return {};
}

Result<> give_back_home(const std::string &home) {
    const auto parent = fs::path(home).parent_path().string();
    const auto name = fs::path(home).filename().string();
    std::error_code error;
    const auto missing = [&] { return fs::symlink_status(home, error).type() == fs::file_type::not_found; };
    if (!home.starts_with('/') || !missing() || !fs::exists(states_path(parent), error))
        return {};
    const auto area = TRY(Area::open(parent, tree_area)); // waits for an exchange under way
    if (!missing())
        return {};
    // NAME-YYYYMMDD-hhmmss-ID
    constexpr std::string_view stamp = "00000000-000000-";
    const auto prefix = fmt::format("{}{}-", away_prefix, name);
    for (const auto &found : TRY(names_in(area.incoming()))) {
        if (!found.starts_with(prefix) || found.size() <= prefix.size() + stamp.size())
            continue;
        const auto rest = std::string_view(found).substr(prefix.size(), stamp.size());
        if (std::ranges::equal(rest, stamp,
                               [](char c, char wanted) { return wanted == '0' ? c >= '0' && c <= '9' : c == wanted; }))
            return move_to(area.incoming(), found, area.parent(), name);
    }
    return {};
}

} // namespace abey::snapshot
