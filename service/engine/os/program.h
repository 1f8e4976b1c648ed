// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Runs another program to its end: rsync, tar, cp, and what an administrator wants to be run.
#pragma once

#include "engine/os/result.h"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace abey {

struct Program {
    std::vector<std::string> arguments;        // the first is looked up in `search`, unless it holds a slash
    std::vector<std::string> environment;      // NAME=value; nothing is inherited. Empty: PATH and LC_ALL=C
    std::string input;                         // for its standard input
    std::string directory = "/";               // working directory
    std::chrono::milliseconds limit{0};        // 0: none
    std::optional<std::pair<uid_t, gid_t>> as; // runs as this user, with its supplementary groups; `user` names it
    std::string user;
};

// Told of each piece of standard output, as it comes. May be null.
using Output = std::function<void(std::string_view)>;

// Waits for the end of the program. It is an error when the program cannot be started, ends with another status than
// those `accepted`, or takes longer than its limit (ETIMEDOUT); the message holds the last line that it wrote to
// standard error. It, and all in its process group, are killed at the limit and when the calling thread dies before
// (PR_SET_PDEATHSIG, prctl(2): the program itself only). Closes all descriptors above 2 in it.
Result<int> run_program(const Program &program, const Output &output = {}, const std::vector<int> &accepted = {0});

// Where it is in the usual places; empty: nowhere. A name with a slash is a path already.
std::string path_of_program(const std::string &name);
// Is there an executable of this name in the usual places?
bool has_program(const std::string &name);

} // namespace abey
