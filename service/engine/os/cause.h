// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Causes of failures that no system call has, for those who act upon them: codes of Error (result.h) beyond all errnos,
// which the words alone tell.
#pragma once

namespace abey::cause {

inline constexpr int first = 10'000;
inline constexpr int policy_invalid = 10'000;  // a mistake in the policy files
inline constexpr int not_suspendable = 10'001; // something could not be brought back, so nothing is taken away
inline constexpr int diverged = 10'002;        // the home has changed since, and the policy wants it to end there

} // namespace abey::cause
