// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which directories of dedicated areas a checkpoint uses: written down in its image before they are made, so that they
// are found again when the worker is killed before there is a checkpoint that could tell.
#pragma once

#include "engine/os/fd.h"

#include <string>
#include <vector>

namespace abey::files {

// `deleted`: the image's directory for kept files. Adds the absolute path of a checkpoint's directory in an area.
Result<> add_to_ledger(const Fd &deleted, const std::string &directory);

// Nothing when no ledger was written.
Result<std::vector<std::string>> read_ledger(const std::string &images);

void remove_ledger(const Fd &deleted) noexcept;

} // namespace abey::files
