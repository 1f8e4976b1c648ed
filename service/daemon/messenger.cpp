// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/messenger.h"

#include "daemon/log.h"
#include "daemon/terminal_message.h"
#include "dbus/bus.h"

#include <sys/inotify.h>

#include <systemd/sd-event.h>

namespace abey::daemon {
namespace {

constexpr uint64_t writer_patience = 20'000'000; // microseconds
constexpr size_t waiting_limit = 64;

void log_not_told(uid_t owner, const Error &error) { log_info("not told to user {}: {}", owner, error.message()); }

} // namespace

void Messenger::Unref::operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }

void Messenger::tell(const std::string &tty, uid_t owner, const std::string &text) {
    auto told = write_to_terminal(tty, owner, text);
    if (told)
        return;
    if (told.error().code() != EPERM || waiting_.size() == waiting_limit)
        return log_not_told(owner, told.error());
    auto &waiting = waiting_.emplace_back(this, tty, owner, text, nullptr, nullptr);
    auto watched = wait(waiting);
    if (!watched)
        log_not_told(owner, watched.error());
    // It may have become the user's between the first try and the watch
    if (!watched || write_to_terminal(tty, owner, text))
        drop(&waiting);
}

Result<> Messenger::wait(Waiting &waiting) {
    sd_event_source *source = nullptr;
    const auto path = "/dev/" + waiting.tty; // write_to_terminal() has checked the name
    TRY(bus::checked(::sd_event_add_inotify(event_, &source, path.c_str(), IN_ATTRIB, on_change, &waiting), path));
    waiting.change.reset(source);
    TRY(bus::checked(
        ::sd_event_add_time_relative(event_, &source, CLOCK_MONOTONIC, writer_patience, 0, on_limit, &waiting), path));
    waiting.limit.reset(source);
    return {};
}

void Messenger::drop(const Waiting *waiting) {
    waiting_.remove_if([&](const Waiting &one) { return &one == waiting; });
}

int Messenger::on_change(sd_event_source * /*source*/, const inotify_event * /*event*/, void *userdata) {
    auto &waiting = *static_cast<Waiting *>(userdata);
    auto told = write_to_terminal(waiting.tty, waiting.owner, waiting.text);
    if (!told && told.error().code() == EPERM)
        return 0; // another change
    if (!told)
        log_not_told(waiting.owner, told.error());
    waiting.messenger->drop(&waiting);
    return 0;
}

int Messenger::on_limit(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &waiting = *static_cast<Waiting *>(userdata);
    log_info("not told to user {}: /dev/{} did not become theirs", waiting.owner, waiting.tty);
    waiting.messenger->drop(&waiting);
    return 0;
}

} // namespace abey::daemon
