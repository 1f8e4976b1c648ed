// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/keyrings.h"

#include <algorithm>

#include <linux/keyctl.h>
#include <sys/syscall.h>

namespace abey::capture {

namespace {

constexpr std::array<std::pair<std::string_view, int>, 3> kinds_of_keyrings = {
    std::pair("thread keyring", KEY_SPEC_THREAD_KEYRING), std::pair("session keyring", KEY_SPEC_SESSION_KEYRING),
    std::pair("process keyring", KEY_SPEC_PROCESS_KEYRING)};
constexpr size_t longest_description = 512;
constexpr size_t most_listed = 64; // of a keyring's keys
constexpr size_t most_named = 3;

// "type;uid;gid;permissions;description" (keyctl_describe(3)); the last may contain semicolons
struct Description {
    std::string type, name;
};
Description parse(std::string_view text) {
    Description described;
    described.type = text.substr(0, text.find(';'));
    for (int field = 0; field < 4 && !text.empty(); ++field)
        text.remove_prefix(std::min(text.find(';'), text.size() - 1) + 1);
    described.name = text;
    return described;
}

std::string text_at(const os::Batch &batch, uint64_t at, long size) {
    if (size <= 1)
        return {};
    const auto bytes = batch.output(at, std::min(static_cast<size_t>(size) - 1, longest_description));
    return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

// Keyrings of the user (user-keyring(7)) are there also without the session.
bool is_users(const Description &key) { return key.type == "keyring" && key.name.starts_with("_uid"); }

} // namespace

// Asking for a session keyring gives a thread that has none the user's default one, as every look-up by the program
// itself does (keyctl(2)); it searched that one before, too.
void KeyringCalls::ask(os::Batch &batch, bool process) {
    count_ = process ? 3 : 2;
    for (size_t i = 0; i < count_; ++i)
        calls_.at(i) = batch.may(SYS_keyctl, KEYCTL_GET_KEYRING_ID, kinds_of_keyrings.at(i).second, 0);
}

std::vector<std::pair<std::string_view, int32_t>> KeyringCalls::answer(const os::Batch &batch) const {
    std::vector<std::pair<std::string_view, int32_t>> found;
    for (size_t i = 0; i < count_; ++i)
        if (const long id = batch.result(calls_.at(i)); id > 0)
            found.emplace_back(kinds_of_keyrings.at(i).first, static_cast<int32_t>(id));
    return found;
}

Result<> tell_keys(Context &context, const os::ProcStat &stat, os::Injection &injection, os::Tracee &thread,
                   int own_tid, const std::vector<std::pair<std::string_view, int32_t>> &keyrings) {
    auto &seen = context.state<Keyrings>().seen;
    for (const auto &[kind, id] : keyrings) {
        if (!seen.insert(id).second)
            continue;
        auto batch = injection.batch();
        const uint64_t description = batch.reserve(longest_description);
        const uint64_t ids = batch.reserve(most_listed * sizeof(int32_t));
        const size_t described = batch.may(SYS_keyctl, KEYCTL_DESCRIBE, id, description, longest_description);
        const size_t listed = batch.may(SYS_keyctl, KEYCTL_READ, id, ids, most_listed * sizeof(int32_t));
        TRY(injection.run(thread, own_tid, batch));
        const auto own = parse(text_at(batch, description, batch.result(described)));
        const size_t all = static_cast<size_t>(std::max(0L, batch.result(listed))) / sizeof(int32_t);
        std::vector<int32_t> keys;
        keys.reserve(std::min(all, most_listed));
        for (size_t i = 0; i < std::min(all, most_listed); ++i)
            keys.push_back(batch.output<int32_t>(ids + i * sizeof(int32_t)));
        batch.clear();
        std::vector<std::pair<uint64_t, size_t>> answers;
        for (const int32_t key : keys) {
            const uint64_t at = batch.reserve(longest_description);
            answers.emplace_back(at, batch.may(SYS_keyctl, KEYCTL_DESCRIBE, key, at, longest_description));
        }
        if (!keys.empty())
            TRY(injection.run(thread, own_tid, batch));
        std::string names;
        size_t lost = all - keys.size();
        for (const auto &[at, call] : answers) {
            const auto key = parse(text_at(batch, at, batch.result(call)));
            if (is_users(key))
                continue;
            if (++lost <= most_named)
                names += fmt::format("{}{} \"{}\"", names.empty() ? "" : ", ",
                                     key.type.empty() ? "one that it may not see" : key.type, key.name);
        }
        if (lost == 0)
            continue;
        context.findings.push_back(
            {stat.pid, stat.comm, fmt::format("{} \"{}\"", kind, own.name),
             fmt::format("its {} key{} ({}{}) {} not saved: after a resume the program does not find {}", lost,
                         lost == 1 ? "" : "s", names, lost > most_named ? ", ..." : "", lost == 1 ? "is" : "are",
                         lost == 1 ? "it" : "them"),
             "keep them in the user's keyring (keyctl(1): @u), or add them again after a resume", false});
    }
    return {};
}

} // namespace abey::capture
