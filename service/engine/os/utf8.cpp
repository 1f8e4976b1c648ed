// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/utf8.h"

#include <cstdint>

namespace abey {

size_t utf8_length(std::string_view text) {
    const auto lead = static_cast<uint8_t>(text.front());
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0 || text.size() < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((static_cast<uint8_t>(text[i]) & 0xC0U) != 0x80)
            return 0;
    const auto second = length > 1 ? static_cast<uint8_t>(text[1]) : 0;
    const bool wrong = (lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
                       (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F);
    return wrong ? 0 : length;
}

} // namespace abey
