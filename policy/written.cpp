// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/written.h"

#include <sstream>

namespace abey::policy {

WrittenRule written_rule(const toml::table &table, std::string origin) {
    std::ostringstream text, json;
    text << toml::toml_formatter(table);
    json << toml::json_formatter(table);
    return {.text = text.str(), .json = json.str(), .origin = std::move(origin)};
}

} // namespace abey::policy
