// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a policy says about programs to be run around a suspend and a resume. docs/POLICY.md tells what each means.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace abey::policy {

enum class HookEvent : uint8_t { pre_suspend, post_suspend, pre_resume, post_resume };

// "pre-suspend", ...
std::string_view name_of(HookEvent event);

// One [[hook]] table.
struct HookRule {
    std::vector<HookEvent> events;
    std::vector<std::string> command; // the first absolute, or "~/..." for one in the user's home; never a shell's
    bool as_user = false;             // with the rights of the session's user
    bool optional = false;            // one that does not exist is passed over
    uint64_t time_limit = 30;         // seconds
    std::vector<std::string> users;   // login names; empty: all
    std::string origin;               // "file:line"
    bool operator==(const HookRule &) const = default;
};

} // namespace abey::policy
