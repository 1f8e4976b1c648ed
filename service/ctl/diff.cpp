// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "dbus/names.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> diff(const DiffCommand &command) {
    auto client = TRY(Client::connect());
    const auto checkpoint = TRY(client.find_checkpoint(command.checkpoint));
    const auto document = nlohmann::json::parse(TRY(client.diff_checkpoint(checkpoint.id)), nullptr, false);
    if (!document.is_object() || !document.contains("changes") || !document["changes"].is_array())
        return fail(0, "checkpoint {}: the answer is not understood", checkpoint.id);
    if (command.json) {
        print_json(document);
        return 0;
    }
    Table table({"CHANGE", "TYPE", "BEFORE", "NOW", "CHANGED", "PATH"});
    table.align_right(2);
    table.align_right(3);
    for (const auto &one : document["changes"]) {
        if (!one.is_object())
            return fail(0, "checkpoint {}: the answer is not understood", checkpoint.id);
        const auto change = one.value("change", "");
        const auto size = [&](const char *name, const char *absent) {
            return change == absent || one.value("type", "") == "directory" ? std::string("-")
                                                                            : human_size(one.value(name, uint64_t(0)));
        };
        const auto mtime = one.value("mtime", int64_t(0));
        table.add({change, one.value("type", ""), size("size_before", "added"), size("size_now", "removed"),
                   mtime < 0 ? "-" : human_time(static_cast<uint64_t>(mtime) * 1'000'000), one.value("path", "")});
    }
    if (document["changes"].empty())
        fmt::print("{} is as it was at the checkpoint.\n", document.value("home", "The home"));
    else
        fmt::print("{}", table.text());
    if (document.value("truncated", false))
        fmt::print("... and {}{} more.\n", document.value("more_uncounted", false) ? "at least " : "",
                   document.value("more", uint64_t(1)));
    return 0;
}

} // namespace abey::ctl
