// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Removals that nobody has called for: what retention says, what has been resumed, what a crash left. They wait for
// each other, so that calls find room beside them.
#include "daemon/log.h"
#include "daemon/manager.h"
#include "dbus/names.h"

#include <algorithm>
#include <string_view>

namespace abey::daemon {
namespace {

constexpr size_t removals_at_a_time = 4;

bool is_unasked(const job::Job &job) { return job.kind == job::Kind::remove && job.automatic; }

} // namespace

void Manager::remove_leftovers() {
    const auto left = leftovers();
    if (!left)
        return log_error("not looking for leftovers: {}", left.error().message());
    for (const auto &[id, uid] : *left)
        remove_unasked(uid, id);
}

void Manager::remove_unasked(uid_t uid, const std::string &checkpoint, const std::string &displaced) {
    job::Job job{
        .kind = job::Kind::remove, .uid = uid, .checkpoint = checkpoint, .displaced = displaced, .automatic = true};
    const auto is_at_it = [&job](const job::Job &other) { return excludes(job, other); };
    if (std::ranges::any_of(removals_, is_at_it) ||
        std::ranges::any_of(jobs_, [&](const auto &one) { return is_at_it(one.second->job); }))
        return;
    removals_.push_back(std::move(job));
    go_on_removing();
}

void Manager::go_on_removing() {
    const auto at_work = [this] {
        return static_cast<size_t>(
            std::ranges::count_if(jobs_, [](const auto &one) { return is_unasked(one.second->job); }));
    };
    while (!removals_.empty() && at_work() < removals_at_a_time) {
        const auto admitted = admit(0, removals_.front());
        if (!admitted && std::string_view(admitted.error().name) == bus::error::too_many_jobs)
            return; // one of those will end
        const auto job = std::move(removals_.front());
        removals_.pop_front();
        if (!admitted) // a job of its own is at it
            continue;
        const auto started = [&]() -> Answer<> { return start_job(*TRY(make_job(job, nullptr))); }();
        if (!started)
            log_error("{} {} stays on the disk: {}", job.displaced.empty() ? "checkpoint" : "displaced home",
                      job.displaced.empty() ? job.checkpoint : job.displaced, started.error().text);
    }
}

} // namespace abey::daemon
