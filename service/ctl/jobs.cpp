// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/text.h"
#include "dbus/names.h"
#include "engine/os/user.h"

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

std::string number_of(const Client::JobEntry &job) {
    const auto number = bus::job_number(job.path);
    return number ? std::to_string(*number) : job.path;
}

std::string name_of_user(uint32_t uid) {
    const auto user = os::user_of(uid);
    return user ? user->name : std::to_string(uid);
}

nlohmann::json json_of(const Client::JobEntry &job) {
    return {{"job", bus::job_number(job.path).value_or(0)},
            {"kind", job.kind},
            {"uid", job.uid},
            {"session", job.session},
            {"checkpoint", job.checkpoint},
            {"phase", job.phase},
            {"percent", job.percent},
            {"time_left", job.time_left}};
}

} // namespace

Result<int> jobs(const JobsCommand &command) {
    auto client = TRY(Client::connect());
    const auto all = TRY(client.list_jobs());
    if (command.json) {
        auto document = nlohmann::json::array();
        for (const auto &job : all)
            document.push_back(json_of(job));
        print_json(document);
        return 0;
    }
    if (all.empty()) {
        fmt::print("No jobs.\n");
        return 0;
    }
    Table table({"JOB", "KIND", "USER", "SESSION", "CHECKPOINT", "PHASE", "DONE", "LEFT"});
    table.align_right(0);
    table.align_right(6);
    table.align_right(7);
    const auto or_none = [](const std::string &text) { return text.empty() ? "-" : bus::printable(text); };
    for (const auto &job : all)
        table.add({number_of(job), job.kind, bus::printable(name_of_user(job.uid)), or_none(job.session),
                   or_none(job.checkpoint), job.phase, fmt::format("{}%", job.percent),
                   job.time_left == 0 ? "-" : human_duration(job.time_left)});
    fmt::print("{}\n{} job{} listed.\n", table.text(), all.size(), all.size() == 1 ? "" : "s");
    return 0;
}

} // namespace abey::ctl
