// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/inhibitors.h"

#include "dbus/names.h"

#include <algorithm>
#include <array>

#include <sys/epoll.h>
#include <systemd/sd-event.h>

namespace abey::daemon {

void Inhibitors::Unref::operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }

Answer<Fd> Inhibitors::take(Inhibitor inhibitor, std::function<void()> released) {
    const auto own =
        std::ranges::count_if(held_, [&](const auto &one) { return one.second->inhibitor.uid == inhibitor.uid; });
    if (held_.size() >= limit || (inhibitor.uid != 0 && static_cast<size_t>(own) >= user_limit))
        return refuse(bus::error::too_many_jobs, "{} inhibitors are held already", held_.size());
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0)
        return refuse(bus::error::failed, "{}", fail(errno, "cannot make a pipe").error().message());
    auto held = std::make_unique<Held>();
    held->reading = Fd(ends[0]);
    Fd writing(ends[1]);
    held->all = this;
    held->number = next_++;
    held->inhibitor = std::move(inhibitor);
    held->released = std::move(released);
    sd_event_source *source = nullptr;
    // Asked for nothing, epoll tells of the other end's being closed alone (EPOLLHUP, epoll_ctl(2)): what a client
    // writes wakes nobody.
    const int result = ::sd_event_add_io(event_, &source, held->reading.get(), 0, on_closed, held.get());
    if (result < 0)
        return refuse(bus::error::failed, "{}", fail(-result, "cannot watch a pipe").error().message());
    held->source.reset(source);
    held_.emplace(held->number, std::move(held));
    return writing;
}

const Inhibitor *Inhibitors::holding(uid_t owner, const std::string &session) const {
    for (const auto &[number, held] : held_) {
        const auto &one = held->inhibitor;
        if ((one.uid == 0 || one.uid == owner) && (one.session.empty() || one.session == session))
            return &one;
    }
    return nullptr;
}

int Inhibitors::on_closed(sd_event_source * /*source*/, int /*fd*/, uint32_t /*events*/, void *userdata) {
    auto &held = *static_cast<Held *>(userdata);
    const auto released = std::move(held.released);
    held.all->held_.erase(held.number); // held is gone
    if (released)
        released();
    return 0;
}

} // namespace abey::daemon
