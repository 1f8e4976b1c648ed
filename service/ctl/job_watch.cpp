// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/job_watch.h"

#include "ctl/text.h"
#include "dbus/names.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>

#include <unistd.h>

#include <systemd/sd-event.h>

namespace abey::ctl {
namespace {

struct Unref {
    void operator()(sd_event *event) const { ::sd_event_unref(event); }
};

class Watch {
  public:
    Watch(Client &client, sd_event *event, std::string verb, bool progress)
        : client_(client), event_(event), verb_(std::move(verb)), progress_(progress) {}
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;
    ~Watch() { clear_line(); }

    // Before the job is started, so that nothing is missed.
    Result<> prepare() {
        auto *bus = client_.bus();
        TRY(match(::sd_bus_match_signal(bus, &slot_, bus::service_name, bus::manager_path, bus::manager_interface,
                                        "JobRemoved", on_removed, this)));
        TRY(match(::sd_bus_match_signal(bus, &slot_, bus::service_name, nullptr, "org.freedesktop.DBus.Properties",
                                        "PropertiesChanged", on_changed, this)));
        TRY(match(::sd_bus_match_signal(bus, &slot_, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                        "org.freedesktop.DBus", "NameOwnerChanged", on_owner_changed, this)));
        // The end of one job is not the end of what the client is there for (sd_bus_set_close_on_exit(3)).
        TRY(bus::checked(::sd_bus_set_close_on_exit(bus, 0), "cannot wait for the bus"));
        TRY(bus::checked(::sd_bus_attach_event(bus, event_, SD_EVENT_PRIORITY_NORMAL), "cannot wait for the bus"));
        TRY(bus::checked(::sd_event_add_signal(event_, nullptr, SIGINT, on_interrupt, this), "cannot wait for Ctrl-C"));
        return {};
    }

    Result<JobEnd> wait(const std::string &job, std::chrono::seconds limit) {
        job_ = job;
        if (limit.count() != 0)
            TRY(bus::checked(::sd_event_add_time_relative(event_, nullptr, CLOCK_MONOTONIC,
                                                          std::chrono::microseconds(limit).count(), 0, on_late, this),
                             "cannot wait for the job"));
        TRY(bus::checked(::sd_event_loop(event_), "cannot wait for the job"));
        if (failure_)
            return std::unexpected(std::move(*failure_));
        return end_;
    }

  private:
    Result<> match(int result) {
        TRY(bus::checked(result, "cannot watch the job"));
        slots_.emplace_back(slot_);
        return {};
    }

    static Watch &self(void *userdata) { return *static_cast<Watch *>(userdata); }

    static int on_removed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
        const char *job = nullptr;
        const char *result = nullptr;
        const char *text = nullptr;
        if (::sd_bus_message_read(message, "oss", &job, &result, &text) >= 0 && self(userdata).job_ == job) {
            self(userdata).end_.result = result;
            self(userdata).end_.message = text;
            ::sd_event_exit(self(userdata).event_, 0);
        }
        return 0;
    }

    static int on_changed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
        if (self(userdata).job_ == ::sd_bus_message_get_path(message))
            self(userdata).read_changes(message);
        return 0;
    }

    // The daemon was started again: it does not know us any more, and the job may have ended in between.
    static int on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
        const char *name = nullptr;
        const char *before = nullptr;
        const char *after = nullptr;
        if (::sd_bus_message_read(message, "sss", &name, &before, &after) < 0 ||
            std::string_view(name) != bus::service_name || *before == '\0')
            return 0;
        self(userdata).begin_anew();
        return 0;
    }

    static int on_interrupt(sd_event_source * /*source*/, const signalfd_siginfo * /*signal*/, void *userdata) {
        auto &watch = self(userdata);
        watch.clear_line();
        if (auto canceled = watch.client_.cancel(watch.job_); !canceled)
            fmt::print(stderr, "abeyctl: {}\n", canceled.error().message());
        return 0;
    }

    static int on_late(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
        self(userdata).failure_ = Error(ETIMEDOUT, "it takes too long; it goes on");
        ::sd_event_exit(self(userdata).event_, 0);
        return 0;
    }

    void begin_anew() {
        const auto running = [&]() -> Result<bool> {
            TRY(client_.subscribe());
            return client_.is_running(job_);
        }();
        if (running && *running)
            return;
        failure_ = running ? Error(0, "the service was started again, and the job has ended meanwhile; `abeyctl list` "
                                      "and the journal of abeyd show how")
                           : running.error();
        ::sd_event_exit(event_, 0);
    }

    void read_changes(sd_bus_message *message) {
        if (::sd_bus_message_skip(message, "s") < 0 || ::sd_bus_message_enter_container(message, 'a', "{sv}") < 0)
            return;
        while (::sd_bus_message_enter_container(message, 'e', "sv") > 0) {
            const char *name = nullptr;
            if (::sd_bus_message_read(message, "s", &name) < 0 || read_property(message, name) < 0 ||
                ::sd_bus_message_exit_container(message) < 0)
                return;
        }
        show();
    }

    int read_property(sd_bus_message *message, std::string_view name) {
        const char *text = nullptr;
        if (name == "Percent")
            return ::sd_bus_message_read(message, "v", "u", &percent_);
        if (name == "Phase" || name == "Session") {
            const int result = ::sd_bus_message_read(message, "v", "s", &text);
            if (result >= 0)
                (name == "Phase" ? phase_ : end_.session) = text;
            return result;
        }
        return name == "Figures" ? read_figures(message) : ::sd_bus_message_skip(message, "v");
    }

    int read_figures(sd_bus_message *message) {
        const char *figure = nullptr;
        uint64_t value = 0;
        int result = ::sd_bus_message_enter_container(message, 'v', "a{st}");
        if (result >= 0)
            result = ::sd_bus_message_enter_container(message, 'a', "{st}");
        while (result >= 0 && (result = ::sd_bus_message_read(message, "{st}", &figure, &value)) > 0)
            end_.figures[figure] = value;
        if (result >= 0)
            result = ::sd_bus_message_exit_container(message);
        return result < 0 ? result : ::sd_bus_message_exit_container(message);
    }

    void show() {
        if (!progress_)
            return;
        fmt::print(stderr, "\r\x1b[K{}", progress_line(verb_, phase_, percent_));
        (void)std::fflush(stderr);
        shown_ = true;
    }

    void clear_line() {
        if (shown_)
            fmt::print(stderr, "\r\x1b[K");
        shown_ = false;
    }

    Client &client_;
    sd_event *event_;
    std::string verb_;
    bool progress_;
    bool shown_ = false;
    std::string job_;
    std::string phase_ = "waiting";
    uint32_t percent_ = 0;
    JobEnd end_;
    std::optional<Error> failure_;
    sd_bus_slot *slot_ = nullptr;
    std::vector<bus::Slot> slots_;
};

} // namespace

Result<JobEnd> run_job(Client &client, const std::string &verb, bool progress,
                       const std::function<Result<std::string>()> &start, std::chrono::seconds limit) {
    sigset_t interrupt;
    ::sigemptyset(&interrupt);
    ::sigaddset(&interrupt, SIGINT);
    ::sigprocmask(SIG_BLOCK, &interrupt, nullptr);
    sd_event *raw = nullptr;
    TRY(bus::checked(::sd_event_new(&raw), "cannot make an event loop"));
    const std::unique_ptr<sd_event, Unref> event(raw);
    const auto result = [&]() -> Result<JobEnd> {
        Watch watch(client, event.get(), verb, progress && ::isatty(STDERR_FILENO) != 0);
        TRY(watch.prepare());
        const auto job = TRY(start());
        // Known from the beginning; the object goes away with the job.
        const auto checkpoint =
            bus::string_property(client.bus(), bus::service_name, job, bus::job_interface, "Checkpoint");
        auto end = TRY(watch.wait(job, limit));
        end.checkpoint = checkpoint.value_or("");
        return end;
    }();
    ::sd_bus_detach_event(client.bus());
    ::sigprocmask(SIG_UNBLOCK, &interrupt, nullptr);
    return result;
}

} // namespace abey::ctl
