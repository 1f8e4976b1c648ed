// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/mistake.h"

namespace abey::policy {

std::string Mistake::text() const {
    return line == 0 ? message : fmt::format("{}:{}:{}: {}", file, line, column, message);
}

std::unexpected<Error> failure(const std::vector<Mistake> &mistakes) {
    const auto first = mistakes.front().text();
    if (mistakes.size() == 1)
        return fail(0, "{}", first);
    return fail(0, "{} (and {} more: see `abeyctl policy check`)", first, mistakes.size() - 1);
}

} // namespace abey::policy
