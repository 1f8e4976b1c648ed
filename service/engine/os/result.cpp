// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/result.h"

#include <cerrno>
#include <system_error>

namespace abey {

std::string Error::message() const {
    if (code_ == 0)
        return what_;
    const std::string_view advice = code_ == EMFILE ? " (raise the limit: ulimit -n, LimitNOFILE= of the unit)" : "";
    return fmt::format("{}: {}{}", what_, std::generic_category().message(code_), advice);
}

} // namespace abey
