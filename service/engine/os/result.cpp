// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/result.h"

#include <system_error>

namespace abey {

std::string Error::message() const {
    if (code_ == 0)
        return what_;
    return fmt::format("{}: {}", what_, std::generic_category().message(code_));
}

} // namespace abey
