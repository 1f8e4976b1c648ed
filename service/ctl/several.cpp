// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/several.h"

#include "ctl/output.h"
#include "dbus/names.h"

#include <algorithm>
#include <cstdio>

namespace abey::ctl {

Result<int> each_of(const std::vector<std::string> &all, bool json,
                    const std::function<Result<One>(const std::string &session)> &one,
                    const std::function<void(const std::string &session)> &begin) {
    if (all.size() == 1) {
        const auto done = TRY(one(all.front()));
        if (json)
            print_json(done.document);
        return done.status;
    }
    int worst = 0;
    auto documents = nlohmann::json::array();
    for (const auto &session : all) {
        if (!json && begin)
            begin(session);
        auto done = one(session);
        if (!done) {
            const auto text = bus::printable(done.error().message());
            (void)std::fflush(stdout);
            if (!json)
                fmt::print(stderr, "abeyctl: {}\n", text);
            done = One{.status = 1, .document = {{"ok", false}, {"error", text}}};
        }
        worst = std::max(worst, done->status);
        done->document["session"] = session;
        documents.push_back(std::move(done->document));
    }
    if (json)
        print_json(documents);
    return worst;
}

void name_session(const std::string &session) { fmt::print("Session {}:\n", bus::printable(session)); }

} // namespace abey::ctl
