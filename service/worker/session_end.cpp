// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker/session_end.h"

#include "engine/os/fd.h"
#include "job/job.h"

#include <cstdio>
#include <ctime>

namespace abey::worker {
namespace {

constexpr uint64_t logout_limit = 5'000'000; // microseconds
constexpr uint64_t terminate_limit = 10'000'000;

std::string mark_of(uint32_t job) { return fmt::format("{}/{}.ending", job::jobs_directory, job); }
std::string prepared_mark_of(uint32_t job) { return mark_of(job) + ".new"; }

uint64_t monotonic_now() {
    timespec time{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_nsec) / 1000;
}

} // namespace

Result<> SessionEnd::prepare() {
    bus_ = TRY(bus::open_system());
    TRY(bus::checked(::sd_bus_match_signal(bus_.get(), nullptr, "org.freedesktop.login1", "/org/freedesktop/login1",
                                           "org.freedesktop.login1.Manager", "SessionRemoved", on_removed, this),
                     "cannot watch for the end of the session"));
    return {};
}

int SessionEnd::on_removed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    auto &self = *static_cast<SessionEnd *>(userdata);
    const char *id = nullptr;
    if (::sd_bus_message_read(message, "s", &id) >= 0 && self.session_.id == id)
        self.gone_ = true;
    return 0;
}

Result<bool> SessionEnd::wait_for(uint64_t microseconds) {
    const auto end = monotonic_now() + microseconds;
    while (!gone_) {
        if (TRY(bus::checked(::sd_bus_process(bus_.get(), nullptr), "cannot wait for the end of the session")) > 0)
            continue;
        const auto time = monotonic_now();
        if (time >= end)
            return false;
        TRY(bus::checked(::sd_bus_wait(bus_.get(), end - time), "cannot wait for the end of the session"));
    }
    return true;
}

Result<> SessionEnd::wait() {
    if (TRY(wait_for(logout_limit)))
        return {};
    const auto logind = TRY(session::Logind::connect());
    if (auto ended = logind.terminate(session_.id); !ended && ended.error().code() != ENXIO)
        return std::unexpected(std::move(ended).error());
    if (!TRY(wait_for(terminate_limit)))
        return fail(0, "session {} is suspended, but its login does not end", session_.id);
    return {};
}

Result<> prepare_mark(uint32_t job) {
    TRY(open_file(prepared_mark_of(job), O_WRONLY | O_CREAT, 0600));
    return {};
}

// rename(2) within a directory of a tmpfs needs nothing that could be lacking
void mark_ending(uint32_t job) noexcept { (void)::rename(prepared_mark_of(job).c_str(), mark_of(job).c_str()); }

bool is_marked_ending(uint32_t job) noexcept { return ::access(mark_of(job).c_str(), F_OK) == 0; }

void clear_mark(uint32_t job) noexcept {
    ::unlink(prepared_mark_of(job).c_str());
    ::unlink(mark_of(job).c_str());
}

} // namespace abey::worker
