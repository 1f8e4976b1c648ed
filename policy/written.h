// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Of the reader only: a rule as it stands in its file.
#pragma once

#include "policy/policy.h"

#include <toml++/toml.h>

namespace abey::policy {

WrittenRule written_rule(const toml::table &table, std::string origin);

} // namespace abey::policy
