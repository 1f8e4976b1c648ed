// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the client asks about jobs.
#include "ctl/client.h"
#include "dbus/names.h"

#include <algorithm>
#include <string_view>

namespace abey::ctl {
namespace {

int read_state(sd_bus_message *reply, Client::JobEntry &job) {
    const char *name = nullptr;
    if (const int result = ::sd_bus_message_read(reply, "s", &name); result < 0)
        return result;
    const std::string_view property(name);
    if (property == "Percent")
        return ::sd_bus_message_read(reply, "v", "u", &job.percent);
    if (property == "TimeLeft")
        return ::sd_bus_message_read(reply, "v", "t", &job.time_left);
    if (property != "Phase")
        return ::sd_bus_message_skip(reply, "v");
    const char *phase = nullptr;
    const int result = ::sd_bus_message_read(reply, "v", "s", &phase);
    if (result >= 0)
        job.phase = phase;
    return result;
}

} // namespace

Result<> Client::look_at(JobEntry &job) {
    constexpr const char *what = "properties of a job";
    const auto message =
        TRY(bus::method_call(bus_.get(), bus::service_name, job.path, "org.freedesktop.DBus.Properties", "GetAll"));
    TRY(bus::checked(::sd_bus_message_append(message.get(), "s", bus::job_interface), what));
    const auto reply = TRY(ask(message));
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "{sv}"), what));
    while (TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'e', "sv"), what)) != 0) {
        TRY(bus::checked(read_state(reply.get(), job), what));
        TRY(bus::checked(::sd_bus_message_exit_container(reply.get()), what));
    }
    return {};
}

Result<std::vector<Client::JobEntry>> Client::list_jobs() {
    const auto message = TRY(method("ListJobs"));
    const auto reply = TRY(ask(message));
    constexpr const char *what = "answer of ListJobs";
    TRY(bus::checked(::sd_bus_message_enter_container(reply.get(), 'a', "(osuss)"), what));
    std::vector<JobEntry> jobs;
    while (true) {
        JobEntry job;
        const char *path = nullptr;
        const char *kind = nullptr;
        const char *session = nullptr;
        const char *checkpoint = nullptr;
        if (TRY(bus::checked(
                ::sd_bus_message_read(reply.get(), "(osuss)", &path, &kind, &job.uid, &session, &checkpoint), what)) ==
            0)
            break;
        job.path = path;
        job.kind = kind;
        job.session = session;
        job.checkpoint = checkpoint;
        jobs.push_back(std::move(job));
    }
    // One that ends meanwhile has no object any more
    std::erase_if(jobs, [&](JobEntry &job) { return !look_at(job); });
    return jobs;
}

Result<bool> Client::is_running(const std::string &job) {
    const auto jobs = TRY(list_jobs());
    return std::ranges::find(jobs, job, &JobEntry::path) != jobs.end();
}

Result<> Client::cancel(const std::string &job) {
    const auto message = TRY(bus::method_call(bus_.get(), bus::service_name, job, bus::job_interface, "Cancel"));
    TRY(ask(message));
    return {};
}

} // namespace abey::ctl
