// SPDX-License-Identifier: LGPL-2.1-or-later
//
// As ctl_pch.h, for abey-engine.

#include "engine/os/result.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
