// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What has to be right before a session is begun or brought back in order to be joined.
#pragma once

#include "engine/os/result.h"

#include <string>

namespace abey::ctl {

// Bytes that leave the terminal: of the option, else of ABEYANCE_DETACH_KEY, else the usual ones.
Result<std::string> detach_key_of(const std::string &option);
// Standard input and output are one that a session can appear on.
Result<> check_terminal();

} // namespace abey::ctl
