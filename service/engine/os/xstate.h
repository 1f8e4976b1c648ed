// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The extended registers of a thread as ptrace(2) hands them over (NT_X86_XSTATE): an XSAVE area in the standard
// format, where each feature of XCR0 has the place that the CPU says (Intel SDM volume 1, chapter 13; AMD APM volume 2,
// section 11.5).
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <string>

namespace abey::os {

// XCR0: the features that the system has switched on; 0 without XSAVE.
uint64_t enabled_xfeatures();

// Bytes that an area with these features has on this CPU.
size_t xstate_size(uint64_t features);

// An area of another CPU as one of this CPU, which may have more features. ENOTSUP: its features have other places
// here.
Result<std::string> fit_xstate(std::string area);

} // namespace abey::os
