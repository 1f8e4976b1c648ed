// SPDX-License-Identifier: LGPL-2.1-or-later
//
// [[user]] and [[session]]: what a policy says of some users and some sessions only. Each holds the same tables as the
// file itself, which are laid over those when one is asked about that it is for.
#pragma once

#include "policy/subject.h"
#include "policy/values.h"

#include <memory>
#include <span>

namespace abey::policy {

// The tables of the file itself that sections may have, too; by reader.cpp.
std::span<const Key<Policy::Rules>> general_keys();

struct SectionText {
    std::shared_ptr<const toml::table> document; // holds the table
    const toml::table *table = nullptr;
    std::string file;
};

// Checks it and all that is in it, and adds it to rules.sections.
Result<> read_sections(const Reader &reader, const toml::node &value, SectionKind kind, Policy::Rules &rules);

// The rules with those sections laid over them that are for the subject.
Result<Policy::Rules> lay_over(const Policy::Rules &rules, const Subject &subject);

} // namespace abey::policy
