// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What `abeyctl doctor` looks at. Probes try things on this process alone, need no daemon, and change nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace abey::ctl {

enum class Verdict : uint8_t {
    good,
    lacking, // works without, at the cost told
    broken,  // Abeyance does not work here
};

struct Probe {
    std::string name;
    Verdict verdict = Verdict::good;
    std::string found; // what there is
    std::string cost;  // what the lack costs, and what to do; empty when good
};

std::vector<Probe> kernel_probes();
std::vector<Probe> system_probes();
// One's own home; for root, those of all users who can log in.
std::vector<Probe> home_probes();

// systemd's own form of its version, "252.39-1~deb12u2": the leading number; 0 when there is none.
unsigned leading_number(std::string_view version);

} // namespace abey::ctl
