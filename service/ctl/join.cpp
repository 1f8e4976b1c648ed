// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/join.h"

#include "ctl/client.h"
#include "ctl/job_watch.h"
#include "dbus/names.h"
#include "session/attach.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <vector>

#include <unistd.h>

#include <systemd/sd-login.h>

namespace abey::ctl {
namespace {

// A login does not wait for ever: whoever wants in gets a new session then.
constexpr std::chrono::seconds job_patience{120};
constexpr std::chrono::seconds keeper_patience{1};

bool is_left(const std::string &session) {
    const auto terminals = session::terminals_of(session, session::sockets_directory, keeper_patience);
    // An error: it ends just now, or does not answer
    return terminals && std::ranges::any_of(*terminals, [](const auto &one) { return !one.attached; });
}

Result<std::string> left_behind() {
    for (const auto &id : TRY(session::attachable_sessions(::getuid())))
        if (is_left(id))
            return id;
    return std::string();
}

void say(const std::string &text) { fmt::print(stderr, "abeyctl: {}\n", bus::printable(text)); }

// Of a job that somebody else has begun. The session that it has made; empty: none, or it has ended before.
std::string wait_for(Client &client, const char *verb, const std::string &job, const std::string &text) {
    say(text);
    constexpr int over = ENOENT;
    const auto still_runs = [&]() -> Result<std::string> {
        return TRY(client.is_running(job)) ? Result<std::string>(job) : fail(over, "it has ended");
    };
    const auto end = run_job(client, verb, true, still_runs, job_patience);
    if (!end && end.error().code() != over)
        say(fmt::format("{}: {}", verb, end.error().message()));
    else if (end && end->result != "done")
        say(fmt::format("{}: {}", verb, end->message));
    return end && end->result == "done" ? end->session : "";
}

// What is at work on sessions of ours: one that is being suspended since its last login has ended would end below us.
Result<> wait_for_jobs(Client &client) {
    const auto ours = TRY(session::attachable_sessions(::getuid()));
    for (const auto &job : TRY(client.list_jobs())) {
        if (job.uid != ::getuid()) // root is told of everybody's
            continue;
        if (job.kind == "resume")
            wait_for(client, "resume", job.path,
                     fmt::format("checkpoint {} is being resumed; Ctrl-C cancels that", job.checkpoint));
        else if (job.kind == "suspend" && std::ranges::find(ours, job.session) != ours.end())
            wait_for(client, "suspend", job.path,
                     fmt::format("session {} is being suspended; Ctrl-C cancels that", job.session));
    }
    return {};
}

Result<std::string> brought_back(Client &client) {
    const auto login = own_session();
    uid_t owner = 0;
    // By su, or the like, we are in somebody else's
    if (!login || ::sd_session_get_uid(login->c_str(), &owner) < 0 || owner != ::getuid())
        return std::string();
    const auto resume = TRY(client.resume_on_login(*login));
    if (resume.checkpoint.empty())
        return std::string();
    const auto session = wait_for(
        client, "resume", resume.job,
        fmt::format("your session that waits as checkpoint {} is resumed; Ctrl-C cancels that", resume.checkpoint));
    // A session without terminals, such as a service of the user's manager, cannot be joined
    return !session.empty() && is_left(session) ? session : TRY(left_behind());
}

} // namespace

Result<std::string> session_to_join() {
    auto client = Client::connect();
    if (!client)
        return left_behind(); // for which no service is needed
    if (const auto waited = wait_for_jobs(*client); !waited)
        return left_behind();
    if (auto left = TRY(left_behind()); !left.empty())
        return left;
    auto session = brought_back(*client);
    if (!session) {
        say(session.error().message());
        return std::string();
    }
    return session;
}

} // namespace abey::ctl
