// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Everything together: stopped processes become a model::Tree; running ones, a list of what stands in the way.
#pragma once

#include "engine/capture/freeze.h"
#include "engine/capture/kind.h"

#include <span>

namespace abey::capture {

// Fills context.tree with all but page contents and kept files.
Result<> capture_tree(Context &context, StandStill &still);

// Preflight: context must have been made for it. Changes nothing; what is found is in context.findings.
Result<> preflight(Context &context, const Target &target);

// The first fatal finding as an error, for those who cannot go on.
Result<> refuse_fatal(std::span<const Finding> findings);

} // namespace abey::capture
