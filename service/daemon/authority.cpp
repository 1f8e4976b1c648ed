// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/authority.h"

#include "daemon/glue.h"
#include "daemon/log.h"
#include "dbus/names.h"

#include <algorithm>
#include <array>

namespace abey::daemon {
namespace {

constexpr const char *polkit_name = "org.freedesktop.PolicyKit1";
constexpr const char *polkit_path = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char *polkit_interface = "org.freedesktop.PolicyKit1.Authority";
constexpr uint32_t allow_user_interaction = 1; // CheckAuthorizationFlags

// Questions that wait for an answer: a password dialogue is open for each, so a user who opens more is not serious.
constexpr size_t pending_limit = 128;
constexpr size_t user_pending_limit = 8;
// Time to find a password; polkit itself gives up when the asker leaves the bus.
constexpr uint64_t people_patience = 10ULL * 60 * 1'000'000; // microseconds

// The bus knows nobody of that name and cannot start anybody: there is no polkit on this machine.
bool means_absent(const sd_bus_error *error) {
    constexpr std::array names{SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                               "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitMasked"};
    return std::ranges::any_of(names, [&](const char *name) { return ::sd_bus_error_has_name(error, name) > 0; });
}

std::unexpected<Refusal> denied(const Question &question) {
    return refuse(bus::error::access_denied, "{} is not yours, or you may not {} it (polkit action {})", question.thing,
                  question.verb, action_of(question));
}

int append_question(sd_bus_message *call, const Question &question, const char *sender, bool interactive) {
    int result = ::sd_bus_message_append(call, "(sa{sv})s", "system-bus-name", 1, "name", "s", sender,
                                         action_of(question).c_str());
    if (result >= 0)
        result = ::sd_bus_message_open_container(call, 'a', "{ss}");
    for (const auto &[name, value] : question.details)
        if (result >= 0)
            result = ::sd_bus_message_append(call, "{ss}", name.c_str(), bus::printable(value).c_str());
    if (result >= 0)
        result = ::sd_bus_message_close_container(call);
    return result < 0 ? result : ::sd_bus_message_append(call, "us", interactive ? allow_user_interaction : 0U, "");
}

// What polkit's answer means for this question.
Answer<> verdict(sd_bus_message *answer, const Question &question, bool interactive) {
    if (const auto *error = ::sd_bus_message_get_error(answer); error != nullptr) {
        if (!means_absent(error))
            return refuse(bus::error::access_denied, "polkit does not say whether you may {} {}: {}", question.verb,
                          question.thing, error->message != nullptr ? error->message : error->name);
        if (question.permit.caller == question.permit.owner)
            return {};
        return denied(question);
    }
    int authorized = 0;
    int challenge = 0;
    int result = ::sd_bus_message_enter_container(answer, 'r', "bba{ss}");
    if (result > 0)
        result = ::sd_bus_message_read(answer, "bb", &authorized, &challenge);
    if (result <= 0)
        return refuse(bus::error::access_denied, "polkit's answer cannot be read");
    if (authorized != 0)
        return {};
    if (challenge != 0 && !interactive)
        return refuse(bus::error::interaction_required, "a password is needed to {} {} (polkit action {})",
                      question.verb, question.thing, action_of(question));
    return denied(question);
}

// What comes too late for a handler to return.
void answer_with(sd_bus_message *request, const Refusal &refusal) {
    (void)::sd_bus_reply_method_errorf(request, refusal.name, "%s", bus::printable(refusal.text).c_str());
}

} // namespace

std::string action_of(const Question &question) {
    if (*question.machines != '\0')
        return fmt::format("org.abeyance1.{}-{}", question.verb, question.machines);
    return fmt::format("org.abeyance1.{}-{}", question.verb,
                       question.permit.caller == question.permit.owner ? "own" : "other");
}

void Authority::ask(sd_bus_message *request, Question question, Work work) {
    if (question.permit.caller == 0) {
        if (auto done = work(question.permit, request); !done)
            answer_with(request, done.error());
        return;
    }
    const auto own = static_cast<size_t>(std::ranges::count_if(
        pending_, [&](const Pending &one) { return one.question.permit.caller == question.permit.caller; }));
    if (pending_.size() >= pending_limit || own >= user_pending_limit)
        return answer_with(request,
                           {bus::error::too_many_jobs, "too many of your calls wait for an authorization already"});
    auto &pending = pending_.emplace_back(this, std::move(question), std::move(work),
                                          ::sd_bus_message_get_allow_interactive_authorization(request) > 0,
                                          bus::Message(::sd_bus_message_ref(request)), nullptr);
    if (auto sent = send(pending); !sent) {
        answer_with(request, sent.error());
        pending_.pop_back();
    }
}

Answer<> Authority::send(Pending &pending) {
    const char *sender = ::sd_bus_message_get_sender(pending.request.get());
    auto call = bus::method_call(bus_, polkit_name, polkit_path, polkit_interface, "CheckAuthorization");
    if (sender == nullptr || !call)
        return refuse(bus::error::access_denied, "polkit cannot be asked");
    int result = append_question(call->get(), pending.question, sender, pending.interactive);
    sd_bus_slot *slot = nullptr;
    if (result >= 0)
        result = ::sd_bus_call_async(bus_, &slot, call->get(), on_answer, &pending, people_patience);
    pending.slot.reset(slot);
    if (result < 0)
        return refuse(bus::error::access_denied, "{}", fail(-result, "polkit cannot be asked").error().message());
    return {};
}

int Authority::on_answer(sd_bus_message *answer, void *userdata, sd_bus_error * /*error*/) {
    auto &pending = *static_cast<Pending *>(userdata);
    auto &all = pending.authority->pending_;
    const auto here = std::ranges::find_if(all, [&](const Pending &one) { return &one == &pending; });
    // Out of the list first: the work may ask anew.
    std::list<Pending> taken;
    taken.splice(taken.begin(), all, here);
    const auto done = [&]() -> Answer<> {
        TRY(verdict(answer, pending.question, pending.interactive));
        return pending.work(pending.question.permit, pending.request.get());
    }();
    if (!done)
        answer_with(pending.request.get(), done.error());
    return 1;
}

} // namespace abey::daemon
