// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/result.h"

#include <string>
#include <vector>

namespace abey::policy {

// What is wrong with a policy file. Texts as the file wrote them are safe to print in one line only within `message`.
struct Mistake {
    std::string file;
    size_t line = 0; // from 1; 0: the file as a whole
    size_t column = 0;
    std::string key;     // that it is about, or whose value; empty: none
    std::string nearest; // the known key or word that was probably meant; empty: none is near
    std::string message;

    // One line: "FILE:LINE:COLUMN: MESSAGE".
    [[nodiscard]] std::string text() const;
};

// The first of them, and how many more there are. There is one at least.
std::unexpected<Error> failure(const std::vector<Mistake> &mistakes);

} // namespace abey::policy
