// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A session that is to be suspended because the machine goes down, or its last login has ended, may have a job already.
// What that one is good for is less than what is about to be lost.
#include "daemon/log.h"
#include "daemon/manager.h"

#include <algorithm>

namespace abey::daemon {

bool gives_way(const RunningJob &running, const job::Job &to) {
    const auto &job = running.job;
    if (running.canceled || !excludes(job, to))
        return false;
    if (job.kind == job::Kind::check)
        return true;
    if (job.kind != job::Kind::suspend)
        return false;
    // To a checkpoint nothing does: one that is being made already is as good, and a suspend is more.
    return !to.keep_running && (job.keep_running || !running.started);
}

bool makes_up_for(const job::Job &done, const std::string &session, policy::Act wanted) {
    return done.kind == job::Kind::suspend && done.session == session &&
           (wanted != policy::Act::suspend || !done.keep_running);
}

void Manager::make_way(const session::Session &session, policy::Act act, const char *trigger) {
    const job::Job wanted{.kind = job::Kind::suspend,
                          .uid = session.uid,
                          .session = session.id,
                          .keep_running = act != policy::Act::suspend};
    std::vector<uint32_t> in_the_way;
    for (const auto &[number, running] : jobs_)
        if (gives_way(*running, wanted))
            in_the_way.push_back(number);
    // One that has not been started ends here and now, and whoever hears of that may start others.
    for (const auto number : in_the_way) {
        const auto found = jobs_.find(number);
        if (found == jobs_.end())
            continue;
        auto &running = *found->second;
        log_info("job {} ({}) makes way: session {} of {} is acted on, {}", number, job::name_of(running.job.kind),
                 session.id, session.user, trigger);
        if (const auto canceled = cancel(running, fmt::format("it made way for another ({})", trigger)); !canceled)
            log_warning("job {}: {}", number, canceled.error().text);
    }
}

} // namespace abey::daemon
