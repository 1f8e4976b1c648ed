// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Room for checkpoints: what is free, what a user may have, and what those that are being made are going to take.
#include "engine/os/human_size.h"
#include "store/store.h"

#include <algorithm>
#include <charconv>

#include <sys/file.h>
#include <sys/statvfs.h>

namespace abey::store {
namespace {

// Of one that is being made: bytes that it will take at the least, in decimal. Not durable, like what is being made.
constexpr const char *claim_record = "claim";

// 0: nothing is claimed yet.
uint64_t claim_of(const std::string &directory) {
    constexpr size_t digits = 32;
    uint64_t bytes = 0;
    if (const auto text = read_file(directory + "/" + claim_record, digits))
        (void)std::from_chars(text->data(), text->data() + text->size(), bytes);
    return bytes;
}

} // namespace

Result<uint64_t> Store::free_space() const {
    struct statvfs status {};
    if (::statvfs(root_.c_str(), &status) < 0)
        return fail(errno, "cannot look at the file system of {}", root_);
    return status.f_bavail * status.f_frsize;
}

Result<Fd> Store::lock_room() const {
    auto lock = TRY(open_file(root_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    while (::flock(lock.get(), LOCK_EX) < 0)
        if (errno != EINTR)
            return fail(errno, "cannot lock {}", root_);
    return lock;
}

Result<Store::Taken> Store::taken(uint32_t uid, const std::string &but) const {
    Taken taken;
    const auto listed = TRY(list());
    for (const auto &one : listed.checkpoints) {
        const bool made = one.state == State::incomplete;
        if (one.about.id == but || (!made && (one.state != State::waiting || one.about.uid != uid)))
            continue;
        const auto size = size_of(one.about.id);
        if (!size)
            continue; // it was removed meanwhile
        const auto claimed = made ? claim_of(directory(one.about.id)) : 0;
        taken.to_come += claimed - std::min(claimed, *size);
        if (one.about.uid != uid)
            continue;
        taken.checkpoints++;
        taken.size += std::max(*size, claimed);
    }
    return taken;
}

Result<> Store::check_room(uint32_t uid, const Quota &quota) const {
    if (TRY(free_space()) < kept_free)
        return fail(ENOSPC, "less than {} are free for checkpoints in {}", os::human_size(kept_free), root_);
    const auto others = TRY(taken(uid, ""));
    if (others.checkpoints >= quota.checkpoints)
        return fail(EDQUOT, "{} checkpoints of this user wait already: resume or remove one (abeyctl list)",
                    others.checkpoints);
    if (others.size >= quota.size)
        return fail(EDQUOT, "the checkpoints of this user take {} already: resume or remove one (abeyctl list)",
                    os::human_size(others.size));
    return {};
}

Result<> Store::begin(const About &about, const Quota &quota) const {
    const auto lock = TRY(lock_room());
    TRY(check_room(about.uid, quota));
    return begin(about);
}

Result<> Store::claim(const std::string &id, uint64_t bytes, const Quota &quota) const {
    const auto lock = TRY(lock_room());
    const auto checkpoint = TRY(find(id));
    const auto own = TRY(size_of(id)) + bytes;
    const auto others = TRY(taken(checkpoint.about.uid, id));
    if (own > quota.size - std::min(quota.size, others.size))
        return fail(EDQUOT,
                    "this checkpoint would take {}, and the user's others take {} of {} (size-per-user in the policy): "
                    "resume or remove one (abeyctl list), or end what takes much memory",
                    os::human_size(own), os::human_size(others.size), os::human_size(quota.size));
    const auto free = TRY(free_space());
    const auto kept = kept_free + others.to_come;
    if (bytes > free - std::min(free, kept))
        return fail(
            ENOSPC,
            "{} are still to be written, and {} are free for checkpoints in {}, {} of which are kept for others "
            "and for the store itself: remove some (abeyctl list), or make room there",
            os::human_size(bytes), os::human_size(free), root_, os::human_size(std::min(free, kept)));
    return write_file(directory(id) + "/" + claim_record, std::to_string(own));
}

} // namespace abey::store
