// SPDX-License-Identifier: LGPL-2.1-or-later
#include "transfer/header.h"

#include "store/records.h"

#include <nlohmann/json.hpp>

namespace abey::transfer {
namespace {

constexpr const char *format_name = "abeyance-export";
constexpr int format_version = 1;

nlohmann::json parsed(std::string_view text) { return nlohmann::json::parse(text, nullptr, false); }

} // namespace

std::string header_of(const store::Checkpoint &checkpoint) {
    const nlohmann::json json{{"format", format_name},
                              {"version", format_version},
                              {"about", parsed(store::to_json(checkpoint.about))},
                              {"home", checkpoint.home.has_value()},
                              {"figures", checkpoint.figures}};
    return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<Header> header_from(std::string_view text) {
    const auto json = parsed(text);
    if (!json.is_object() || json.value("format", nlohmann::json()) != format_name)
        return fail(EINVAL, "this is no stream of `abeyctl export`");
    if (const auto version = json.value("version", nlohmann::json()); version != format_version)
        return fail(EINVAL,
                    "the stream has version {}, this program reads version {}: export it anew with the same release",
                    version.dump(), format_version);
    Header header;
    header.about = TRY_IN(store::about_from_json(json.value("about", nlohmann::json()).dump()), "the stream");
    if (!store::is_id(header.about.id))
        return fail(EINVAL, "the stream is of a checkpoint whose id cannot be");
    const auto home = json.value("home", nlohmann::json());
    if (!home.is_boolean())
        return fail(EINVAL, "the stream does not say whether it holds a home");
    header.has_home = home.get<bool>();
    if (header.has_home && !header.about.home.starts_with('/'))
        return fail(EINVAL, "the stream holds a home without a path");
    header.figures = TRY_IN(store::figures_from_json(json.value("figures", nlohmann::json()).dump()), "the stream");
    return header;
}

} // namespace abey::transfer
