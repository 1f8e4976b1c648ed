// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/triggers.h"

#include "daemon/log.h"
#include "daemon/manager.h"
#include "daemon/turns.h"
#include "dbus/names.h"
#include "engine/os/date.h"
#include "session/parts.h"
#include "session/session_policy.h"
#include "session/user_unit.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <string_view>
#include <utility>

#include <fcntl.h>

#include <systemd/sd-event.h>

namespace abey::daemon {
namespace {

constexpr const char *logind_name = "org.freedesktop.login1";
constexpr const char *logind_path = "/org/freedesktop/login1";
constexpr const char *logind_manager = "org.freedesktop.login1.Manager";
constexpr const char *logind_session = "org.freedesktop.login1.Session";
constexpr const char *session_prefix = "/org/freedesktop/login1/session";

// Sessions that are worked on at a time: they share one disk.
constexpr size_t at_a_time = 2;
// Of the time that logind gives, what is left for undoing what did not become ready.
constexpr uint64_t reserve_percent = 20;
constexpr uint64_t lock_again = 10'000'000; // microseconds
constexpr uint64_t look_seconds = 60;

Result<uint64_t> number_property(sd_bus *bus, const char *path, const char *interface, const char *name) {
    uint64_t value = 0;
    TRY(bus::checked(::sd_bus_get_property_trivial(bus, logind_name, path, interface, name, nullptr, 't', &value),
                     name));
    return value;
}

bool is_over(const Answer<session::Session> &session) {
    return session ? !session::is_suitable(*session)
                   : std::string_view(session.error().name) == bus::error::no_such_session;
}

} // namespace

void Triggers::Unref::operator()(sd_event_source *source) const { ::sd_event_source_disable_unref(source); }

Triggers::Triggers(sd_bus *bus, Manager &manager)
    : bus_(bus), manager_(manager), battery_(bus, [this] { on_battery_low(); }) {
    sleep_.triggers = this;
    sleep_.what = "sleep";
    sleep_.act = &policy::Triggers::on_sleep;
    shutdown_.triggers = this;
    shutdown_.what = "shutdown";
    shutdown_.act = &policy::Triggers::on_shutdown;
}

Result<> Triggers::start() {
    TRY(watch(sleep_, "PrepareForSleep"));
    TRY(watch(shutdown_, "PrepareForShutdown"));
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(
        ::sd_bus_match_signal(bus_, &slot, logind_name, nullptr, logind_session, "Lock", on_lock_signal, this),
        "cannot watch for locks"));
    locks_.reset(slot);
    TRY(battery_.start());
    plan_next_look(1);
    return {};
}

Result<> Triggers::watch(Hold &hold, const char *signal) {
    sd_bus_slot *slot = nullptr;
    TRY(bus::checked(
        ::sd_bus_match_signal(bus_, &slot, logind_name, logind_path, logind_manager, signal, on_prepare, &hold),
        signal));
    hold.signal.reset(slot);
    take(hold);
    return {};
}

// Asked without waiting; until the answer is there, a sleep does not wait for us.
void Triggers::take(Hold &hold) {
    if (hold.lock)
        return;
    sd_bus_slot *slot = nullptr;
    const int result = ::sd_bus_call_method_async(hold.triggers->bus_, &slot, logind_name, logind_path, logind_manager,
                                                  "Inhibit", on_taken, &hold, "ssss", hold.what, "Abeyance",
                                                  "Sessions are checkpointed", "delay");
    hold.asking.reset(slot);
    if (result < 0)
        log_error("{} will not wait for checkpoints: {}", hold.what, fail(-result, "Inhibit").error().message());
}

int Triggers::on_taken(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    auto &hold = *static_cast<Hold *>(userdata);
    if (const auto *error = ::sd_bus_message_get_error(message); error != nullptr) {
        log_error("{} will not wait for checkpoints: {}", hold.what,
                  error->message != nullptr ? error->message : error->name);
        return 0;
    }
    int lent = -1;
    if (::sd_bus_message_read(message, "h", &lent) < 0)
        return 0;
    hold.lock = Fd(::fcntl(lent, F_DUPFD_CLOEXEC, 3));
    return 0;
}

int Triggers::on_prepare(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    auto &hold = *static_cast<Hold *>(userdata);
    int begins = 0;
    if (::sd_bus_message_read(message, "b", &begins) < 0)
        return 0;
    const auto now = os::microseconds_of(CLOCK_BOOTTIME);
    switch (hold.state.on_signal(begins != 0, now)) {
    case Preparation::Step::begin:
        hold.begun = now;
        hold.triggers->begin(hold);
        break;
    case Preparation::Step::over:
        hold.triggers->on_over(hold);
        break;
    case Preparation::Step::ignore:
        log_info("{} is announced once more", hold.what);
        break;
    }
    return 0;
}

void Triggers::begin(Hold &hold) {
    if (const auto prepared = prepare(hold); !prepared)
        log_error("{}: sessions are left as they are: {}", hold.what, prepared.error().message());
    go_on(hold);
}

Result<> Triggers::prepare(Hold &hold) {
    hold.rest.clear();
    hold.busy.clear();
    const auto policy = TRY(policy::Policy::load_system());
    auto planned = plan(policy, hold.act);
    if (planned.empty())
        return {};
    const auto budget = TRY(number_property(bus_, logind_path, logind_manager, "InhibitDelayMaxUSec"));
    const auto ours = budget / 100 * (100 - reserve_percent);
    // logind's clock runs since its signal, and the questions above took their time
    hold.end = hold.begun + ours;
    const auto now = os::microseconds_of(CLOCK_BOOTTIME);
    const auto left = hold.end > now ? hold.end - now : 0;
    sd_event_source *source = nullptr;
    TRY(bus::checked(
        ::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC, left, 10'000, on_limit, &hold),
        "cannot watch the time"));
    hold.limit.reset(source);
    hold.budget = ours;
    hold.rest = std::move(planned);
    log_info("{}: {} sessions, {} ms", hold.what, hold.rest.size(), left / 1000);
    return {};
}

std::deque<Triggers::Planned> Triggers::plan(const policy::Policy &policy, policy::Act policy::Triggers::*act) const {
    auto all = manager_.logind().sessions();
    if (!all) {
        log_error("cannot list the sessions: {}", all.error().message());
        return {};
    }
    const auto &rules = policy.service().triggers;
    if (auto units =
            session::user_units([&](const std::string &name) { return session::is_unit_like(rules.units, name); });
        units)
        std::ranges::move(*units, std::back_inserter(*all));
    else
        log_error("cannot list the scopes of users: {}", units.error().message());
    std::ranges::sort(*all, {}, &session::Session::id);
    std::deque<Planned> planned;
    for (auto &one : *all) {
        if (!session::is_suitable(one))
            continue;
        const auto own = session::policy_for(one, policy);
        if (!own)
            log_error("session {} of {} is left as it is: {}", one.id, one.user, own.error().message());
        if (!own || own->service().triggers.*act == policy::Act::nothing)
            continue;
        for (auto &part : parts_of(one, *own))
            // Sessions stand for themselves here: their own policy says what is done
            if ((part.id == one.id || session::is_unit_id(part.id)) &&
                std::ranges::none_of(planned, [&](const Planned &other) { return other.session.id == part.id; }))
                planned.push_back({.session = std::move(part), .act = own->service().triggers.*act});
    }
    return in_turns(
        std::move(planned),
        [&](const Planned &one) { return std::ranges::find(rules.first, one.session.user) - rules.first.begin(); },
        [](const Planned &one) { return one.session.uid; });
}

std::vector<session::Session> Triggers::parts_of(const session::Session &session, const policy::Policy &policy) const {
    auto parts = session::parts_of(manager_.logind(), session, policy.service().graphical);
    if (!parts) {
        log_error("session {} of {} is left as it is: {}", session.id, session.user, parts.error().message());
        return {};
    }
    if (parts->empty() || session::is_graphical(parts->front())) {
        log_info("session {} of {} is left as it is: it is graphical", session.id, session.user);
        return {};
    }
    return std::move(*parts);
}

// One that waits for its applications does not work yet: who has it wait holds up nobody but themselves.
std::deque<Triggers::Planned>::iterator Triggers::next_of(Hold &hold) const {
    size_t at_work = 0;
    std::map<uid_t, size_t> of_users;
    for (const auto &[number, act] : hold.jobs)
        if (const auto *running = manager_.find_job(number)) {
            at_work += running->started ? 1 : 0;
            of_users[running->job.uid]++;
        }
    if (at_work >= at_a_time || os::microseconds_of(CLOCK_BOOTTIME) >= hold.end)
        return hold.rest.end();
    return std::ranges::find_if(hold.rest, [&](const Planned &one) { return of_users[one.session.uid] < at_a_time; });
}

uint64_t Triggers::most_delay(const std::string &trigger) const {
    constexpr uint64_t part = 4;
    for (const auto *hold : {&sleep_, &shutdown_})
        if (trigger == hold->what && hold->state.is_working())
            return hold->budget / part;
    return UINT64_MAX;
}

void Triggers::go_on(Hold &hold) {
    for (auto next = next_of(hold); next != hold.rest.end(); next = next_of(hold)) {
        auto planned = std::move(*next);
        hold.rest.erase(next);
        act_on(hold, std::move(planned));
    }
    if (hold.jobs.empty() && (hold.busy.empty() || os::microseconds_of(CLOCK_BOOTTIME) >= hold.end))
        finish(hold);
}

void Triggers::act_on(Hold &hold, Planned planned) {
    const auto &session = planned.session;
    // While it waited it may have ended, or been suspended
    if (planned.was_busy && is_over(manager_.find_session(session.id)))
        return;
    const auto started = manager_.act_on(session, planned.act, hold.what);
    if (started) {
        hold.jobs.emplace(*started, planned.act);
    } else if (is_for_now(started.error())) {
        log_info("{}: session {} of {} has to wait: {}", hold.what, session.id, session.user, started.error().text);
        planned.was_busy = true;
        hold.busy.push_back(planned);
        // What ends by that may have us try again at once
        manager_.make_way(session, planned.act, hold.what);
    } else {
        log_warning("{}: session {} of {} is left as it is: {}", hold.what, session.id, session.user,
                    started.error().text);
        manager_.tell(session.tty, session.uid,
                      fmt::format("Session {} was not checkpointed before the {}: {}", session.id, hold.what,
                                  bus::printable(started.error().text)));
    }
}

void Triggers::leave_alone(Hold &hold) {
    for (const auto *those : {&hold.rest, &hold.busy})
        for (const auto &[one, act, was_busy] : *those) {
            const auto *why = was_busy ? ": another job was at work there" : "";
            log_warning("{}: no time is left for session {} of {}{}", hold.what, one.id, one.user, why);
            manager_.tell(
                one.tty, one.uid,
                fmt::format("There was no time to checkpoint session {} before the {}{}.", one.id, hold.what, why));
        }
    hold.rest.clear();
    hold.busy.clear();
}

void Triggers::finish(Hold &hold) {
    if (!hold.state.is_working())
        return;
    leave_alone(hold);
    hold.limit.reset();
    hold.state.on_done(os::microseconds_of(CLOCK_BOOTTIME));
    hold.asking.reset();
    hold.lock.reset(); // logind goes on
}

int Triggers::on_limit(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    auto &hold = *static_cast<Hold *>(userdata);
    auto &self = *hold.triggers;
    self.leave_alone(hold);
    // Those that are past the point of no return go on and may just make it
    const auto jobs = hold.jobs;
    for (const auto &[number, act] : jobs)
        if (const auto canceled = self.manager_.cancel({}, number, "the time was too short"); !canceled)
            log_warning("{}: {}", hold.what, canceled.error().text);
    if (hold.jobs.empty()) // some only waited for others
        self.finish(hold);
    return 0;
}

// Awake again, or the shutdown was called off.
void Triggers::on_over(Hold &hold) {
    hold.rest.clear();
    hold.busy.clear();
    hold.limit.reset();
    const auto jobs = std::exchange(hold.jobs, {});
    // An insurance may as well be finished; but nobody wants to lose a session to a shutdown that does not happen.
    for (const auto &[number, act] : jobs)
        if (act == policy::Act::suspend)
            (void)manager_.cancel({}, number, fmt::format("the {} is over, or was called off", hold.what));
    take(hold);
}

void Triggers::on_job_ended(const job::Job &job, bool ok) {
    for (auto *hold : {&sleep_, &shutdown_})
        if ((hold->jobs.erase(job.number) != 0 || !hold->busy.empty()) && hold->state.is_working()) {
            wait_no_longer(hold->busy, hold->rest, job, ok);
            go_on(*hold);
        }
    if (battery_jobs_.erase(job.number) != 0 || !battery_busy_.empty()) {
        wait_no_longer(battery_busy_, battery_rest_, job, ok);
        go_on_for_battery();
    }
}

// It is their turn again, unless the job that has ended did what was wanted.
void Triggers::wait_no_longer(std::deque<Planned> &busy, std::deque<Planned> &rest, const job::Job &ended, bool ok) {
    auto again = std::exchange(busy, {});
    if (ok)
        std::erase_if(again, [&](const Planned &one) { return makes_up_for(ended, one.session.id, one.act); });
    rest.insert(rest.begin(), std::make_move_iterator(again.begin()), std::make_move_iterator(again.end()));
}

bool Triggers::act_on(const session::Session &session, policy::Act act, const char *trigger) {
    const auto started = manager_.act_on(session, act, trigger);
    if (started)
        return true;
    log_warning("{}: session {} of {} is left as it is: {}", trigger, session.id, session.user, started.error().text);
    return !is_for_now(started.error());
}

int Triggers::on_lock_signal(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    char *id = nullptr;
    const char *path = ::sd_bus_message_get_path(message);
    if (path == nullptr || ::sd_bus_path_decode(path, session_prefix, &id) <= 0)
        return 0;
    const std::string session(id);
    std::free(id);
    if (bus::is_session_id(session))
        static_cast<Triggers *>(userdata)->on_lock(session);
    return 0;
}

void Triggers::on_lock(const std::string &session) {
    const auto found = manager_.logind().session(session);
    if (!found)
        return log_info("lock: {}", found.error().message());
    const auto policy = session::policy_for(*found);
    if (!policy)
        return log_error("lock of session {}: {}", session, policy.error().message());
    const auto act = policy->service().triggers.on_lock;
    if (act == policy::Act::nothing)
        return;
    const auto now = os::microseconds_of(CLOCK_BOOTTIME);
    std::erase_if(locked_, [&](const auto &one) { return now - one.second >= lock_again; });
    if (!locked_.emplace(session, now).second)
        return log_info("session {} is locked once more", session);
    if (!session::is_suitable(*found))
        return;
    for (const auto &part : parts_of(*found, *policy))
        act_on(part, act, "lock");
}

// Nobody waits for us: the machine runs on for minutes, or is put to sleep or down, which has its own trigger.
void Triggers::on_battery_low() {
    const auto policy = policy::Policy::load_system();
    if (!policy)
        return log_error("the battery is low: {}", policy.error().message());
    battery_rest_ = plan(*policy, &policy::Triggers::on_battery_low);
    battery_busy_.clear();
    log_info("the battery is low: {} sessions", battery_rest_.size());
    go_on_for_battery();
}

void Triggers::go_on_for_battery() {
    while (!battery_rest_.empty() && battery_jobs_.size() < at_a_time) {
        auto planned = std::move(battery_rest_.front());
        battery_rest_.pop_front();
        const auto &session = planned.session;
        if (planned.was_busy && is_over(manager_.find_session(session.id)))
            continue;
        if (const auto started = manager_.act_on(session, planned.act, "battery"); started) {
            battery_jobs_.insert(*started);
        } else if (is_for_now(started.error())) {
            planned.was_busy = true;
            battery_busy_.push_back(std::move(planned));
        } else
            log_warning("battery: session {} of {} is left as it is: {}", session.id, session.user,
                        started.error().text);
    }
}

void Triggers::plan_next_look(uint64_t seconds) {
    // Whoever has it planned anew again and again must not keep it from coming
    uint64_t planned = 0;
    if (look_ && ::sd_event_source_get_enabled(look_.get(), nullptr) > 0 &&
        ::sd_event_source_get_time(look_.get(), &planned) >= 0 &&
        planned <= os::microseconds_of(CLOCK_MONOTONIC) + seconds * 1'000'000)
        return;
    sd_event_source *source = nullptr;
    const int result = ::sd_event_add_time_relative(::sd_bus_get_event(bus_), &source, CLOCK_MONOTONIC,
                                                    seconds * 1'000'000, 500'000, on_look, this);
    look_.reset(source);
    if (result < 0)
        log_error("not looking for idle sessions any more: {}", fail(-result, "timer").error().message());
}

int Triggers::on_look(sd_event_source * /*source*/, uint64_t /*time*/, void *userdata) {
    static_cast<Triggers *>(userdata)->look_for_idleness();
    return 0;
}

// A desktop tells logind itself, and IdleSinceHint is when that was last said, the end of an idleness included. Of a
// terminal it is when something was last typed, whereas IdleHint goes by a time of logind's own (IdleActionSec=).
std::optional<uint64_t> Triggers::idle_since(const session::Session &session, uint64_t seconds) const {
    char *encoded = nullptr;
    if (::sd_bus_path_encode(session_prefix, session.id.c_str(), &encoded) < 0)
        return {};
    const std::string path(encoded);
    std::free(encoded);
    int hint = 1;
    if (session::is_graphical(session) &&
        (::sd_bus_get_property_trivial(bus_, logind_name, path.c_str(), logind_session, "IdleHint", nullptr, 'b',
                                       &hint) < 0 ||
         hint == 0))
        return {};
    const auto since = number_property(bus_, path.c_str(), logind_session, "IdleSinceHint");
    const auto now = os::microseconds_of(CLOCK_REALTIME);
    if (!since || *since == 0 || *since > now || (now - *since) / 1'000'000 < seconds)
        return {};
    return *since;
}

// logind sends no signal when nothing is typed on a terminal: it looks when it is asked (IdleSinceHint of
// org.freedesktop.login1(5)), so we ask.
void Triggers::look_for_idleness() {
    const auto policy = policy::Policy::load_system();
    // A mistake in the policy is told where it is needed, not each minute
    plan_next_look(look_seconds);
    if (!policy || (policy->service().triggers.on_idle == policy::Act::nothing && policy->sections().empty()))
        return;
    const auto sessions = manager_.logind().sessions();
    if (!sessions)
        return log_error("cannot list the sessions: {}", sessions.error().message());
    std::map<std::string, uint64_t> seen;
    uint64_t next = look_seconds;
    if (const auto &rules = policy->service().triggers; rules.on_idle != policy::Act::nothing)
        next = std::clamp<uint64_t>(rules.idle_after / 2, 1, next); // of sessions that have yet to come, too
    for (const auto &session : *sessions) {
        if (!session::is_suitable(session))
            continue;
        const auto own = session::policy_for(session, *policy);
        if (!own || own->service().triggers.on_idle == policy::Act::nothing)
            continue;
        const auto &rules = own->service().triggers;
        next = std::clamp<uint64_t>(rules.idle_after / 2, 1, next);
        const auto since = idle_since(session, rules.idle_after);
        if (!since)
            continue;
        const auto acted = acted_on_.find(session.id);
        bool done = acted != acted_on_.end() && acted->second == *since;
        if (!done) {
            done = true;
            for (const auto &part : parts_of(session, *own))
                // Other sessions may be in use: they stand for themselves. Units have no idleness of their own.
                if (part.id == session.id || session::is_unit_id(part.id))
                    done = act_on(part, rules.on_idle, "idle") && done;
        }
        if (done)
            seen[session.id] = *since;
    }
    acted_on_ = std::move(seen);
    plan_next_look(next);
}

} // namespace abey::daemon
