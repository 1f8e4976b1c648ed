// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <string_view>

namespace abey {

// Length of the valid UTF-8 sequence that text, which is not empty, begins with; 0 when there is none (RFC 3629: no
// surrogates, no overlong forms, nothing above U+10FFFF).
size_t utf8_length(std::string_view text);

} // namespace abey
