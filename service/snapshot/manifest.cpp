// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/manifest.h"

#include "engine/times.h"
#include "snapshot/subvolume.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>

#include <dirent.h>
#include <xxhash.h>

namespace abey::snapshot {
namespace {

constexpr std::string_view magic = "abeyance manifest 1\n";
constexpr size_t depth_limit = 2000; // each level holds a descriptor
constexpr size_t block = 128U << 10U;

Result<uint64_t> hash_of(int directory, const std::string &name) {
    const auto file = TRY(open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME));
    const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
    XXH3_64bits_reset(state.get());
    std::vector<char> buffer(block);
    for (;;) {
        const auto size = ::read(file.get(), buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "cannot read {}", name);
        if (size == 0)
            break;
        XXH3_64bits_update(state.get(), buffer.data(), static_cast<size_t>(size));
    }
    const uint64_t hash = XXH3_64bits_digest(state.get());
    return hash == 0 ? 1 : hash;
}

Entry entry_of(std::string path, const struct stat &status) {
    return {.path = std::move(path),
            .mode = status.st_mode,
            .uid = status.st_uid,
            .gid = status.st_gid,
            .number = status.st_ino,
            .links = status.st_nlink,
            .size = static_cast<uint64_t>(status.st_size),
            .rdev = status.st_rdev,
            .blocks = static_cast<uint64_t>(status.st_blocks),
            .mtime = engine::to_time(status.st_mtim),
            .ctime = engine::to_time(status.st_ctim)};
}

class Walk {
  public:
    Walk(Manifest &manifest, dev_t device, std::string top, bool hash)
        : entries_(manifest.entries), mounts_(manifest.mounts), device_(device), top_(std::move(top)), hash_(hash) {}

    Result<> directory(const Fd &directory, const std::string &path, size_t depth) {
        if (depth > depth_limit)
            return fail(ELOOP, "{}/{}: more than {} directories deep", top_, path, depth_limit);
        auto again = TRY(open_directory(directory.get(), "."));
        const std::unique_ptr<DIR, int (*)(DIR *)> stream(::fdopendir(again.get()), ::closedir);
        if (!stream)
            return fail(errno, "cannot list {}/{}", top_, path);
        (void)again.release();
        for (;;) {
            errno = 0;
            const auto *found = ::readdir(stream.get());
            if (found == nullptr && errno != 0)
                return fail(errno, "cannot list {}/{}", top_, path);
            if (found == nullptr)
                return {};
            const std::string name = found->d_name;
            if (name != "." && name != "..")
                TRY(one(directory, path.empty() ? name : fmt::format("{}/{}", path, name), name, depth));
        }
    }

  private:
    Result<> one(const Fd &directory_of_it, const std::string &path, const std::string &name, size_t depth) {
        struct stat status {};
        if (::fstatat(directory_of_it.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
            if (errno == ENOENT)
                return {};
            return fail(errno, "cannot look at {}/{}", top_, path);
        }
        if (entries_.size() >= manifest_entry_limit)
            return fail(EFBIG, "{} holds more than {} files", top_, manifest_entry_limit);
        if (status.st_dev != device_) {
            mounts_.push_back(path);
            return {};
        }
        entries_.push_back(entry_of(path, status));
        if (hash_ && S_ISREG(status.st_mode))
            entries_.back().hash = TRY_IN(hash_of(directory_of_it.get(), name), "{}/{}", top_, path);
        if (!S_ISDIR(status.st_mode))
            return {};
        const auto inner = open_directory(directory_of_it.get(), name);
        if (!inner && inner.error().code() == ENOENT)
            return {};
        if (!inner)
            return within(inner.error(), "{}/{}", top_, path);
        return directory(*inner, path, depth + 1);
    }

    std::vector<Entry> &entries_;
    std::vector<std::string> &mounts_;
    dev_t device_;
    std::string top_;
    bool hash_;
};

// The next number of a line; the text moves behind it and its separator.
std::optional<int64_t> number(std::string_view &text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end == text.data() + text.size() || *end != ' ')
        return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()) + 1);
    return value;
}

bool same_copy(const Entry &one, const Entry &other) {
    const bool directory = S_ISDIR(one.mode);
    // A symbolic link's mode says nothing.
    return one.mode == other.mode && one.uid == other.uid && one.gid == other.gid && one.mtime == other.mtime &&
           (directory || one.size == other.size) &&
           ((!S_ISCHR(one.mode) && !S_ISBLK(one.mode)) || one.rdev == other.rdev) &&
           (one.hash == 0 || other.hash == 0 || one.hash == other.hash);
}

bool same_inode(const Entry &one, const Entry &other) {
    // Renaming the top changes its ctime, on XFS its mtime, too.
    if (one.path.empty())
        return one.mode == other.mode && one.uid == other.uid && one.gid == other.gid && one.number == other.number;
    return same_copy(one, other) && one.number == other.number && one.ctime == other.ctime && one.links == other.links;
}

} // namespace

Result<Manifest> Manifest::of(const Fd &top, const std::string &path, bool hash) {
    Manifest manifest;
    const auto status = TRY(stat_of(top));
    manifest.entries.push_back(entry_of("", status));
    TRY(Walk(manifest, status.st_dev, path, hash).directory(top, "", 0));
    std::ranges::sort(manifest.entries, {}, &Entry::path);
    return manifest;
}

std::string Manifest::text() const {
    std::string text(magic);
    for (const Entry &entry : entries) {
        text +=
            fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}", entry.mode, entry.uid, entry.gid, entry.number,
                        entry.links, entry.size, entry.rdev, entry.blocks, entry.mtime.seconds, entry.mtime.nanoseconds,
                        entry.ctime.seconds, entry.ctime.nanoseconds, static_cast<int64_t>(entry.hash), entry.path);
        text += '\0';
    }
    return text;
}

Result<> Manifest::write(const Fd &directory, const std::string &name) const {
    const auto text = this->text();
    if (text.size() > manifest_size_limit)
        return fail(EFBIG, "the list of files is longer than {} bytes", manifest_size_limit);
    const auto passing = name + ".new";
    const auto file = TRY(open_at(directory.get(), passing, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    TRY_IN(write_all(file, text), "{}", passing);
    if (::fsync(file.get()) < 0)
        return fail(errno, "cannot write {} to disk", passing);
    if (::renameat(directory.get(), passing.c_str(), directory.get(), name.c_str()) < 0)
        return fail(errno, "cannot rename {}", passing);
    if (::fsync(directory.get()) < 0)
        return fail(errno, "cannot write the directory of {} to disk", name);
    return {};
}

Result<Manifest> Manifest::read(const Fd &directory, const std::string &name) {
    const auto file = TRY(open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW));
    const auto text = TRY_IN(read_all(file, manifest_size_limit), "{}", name);
    std::string_view rest = text;
    if (!rest.starts_with(magic))
        return fail(EINVAL, "{} is not a list of files", name);
    rest.remove_prefix(magic.size());
    Manifest manifest;
    while (!rest.empty()) {
        const auto end = rest.find('\0');
        auto line = rest.substr(0, end);
        std::array<int64_t, 13> values{};
        for (auto &value : values) {
            const auto next = number(line);
            if (!next || end == std::string_view::npos)
                return fail(EINVAL, "{}: entry {} is damaged", name, manifest.entries.size());
            value = *next;
        }
        manifest.entries.push_back({.path = std::string(line),
                                    .mode = static_cast<uint32_t>(values[0]),
                                    .uid = static_cast<uint32_t>(values[1]),
                                    .gid = static_cast<uint32_t>(values[2]),
                                    .number = static_cast<uint64_t>(values[3]),
                                    .links = static_cast<uint64_t>(values[4]),
                                    .size = static_cast<uint64_t>(values[5]),
                                    .rdev = static_cast<uint64_t>(values[6]),
                                    .blocks = static_cast<uint64_t>(values[7]),
                                    .mtime = {.seconds = values[8], .nanoseconds = static_cast<uint32_t>(values[9])},
                                    .ctime = {.seconds = values[10], .nanoseconds = static_cast<uint32_t>(values[11])},
                                    .hash = static_cast<uint64_t>(values[12])});
        rest.remove_prefix(end + 1);
    }
    if (!std::ranges::is_sorted(manifest.entries, {}, &Entry::path))
        return fail(EINVAL, "{} is damaged: it is not in order", name);
    return manifest;
}

const Entry *Manifest::find(std::string_view path) const {
    const auto found =
        std::ranges::lower_bound(entries, path, {}, [](const Entry &entry) -> std::string_view { return entry.path; });
    return found != entries.end() && found->path == path ? &*found : nullptr;
}

uint64_t Manifest::bytes() const {
    uint64_t sum = 0;
    for (const Entry &entry : entries)
        sum += entry.blocks * 512;
    return sum;
}

model::Time Manifest::present() const {
    struct timespec now {};
    (void)::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    const bool whole_seconds =
        std::ranges::all_of(entries, [](const Entry &entry) { return entry.ctime.nanoseconds == 0; });
    if (whole_seconds)
        now.tv_nsec = 0;
    return engine::to_time(now);
}

std::vector<Change> differences(const Manifest &before, const Manifest &now, Match match, size_t limit) {
    const auto counts = [match](const Entry &entry) {
        return match == Match::same_tree || (match == Match::copy ? !S_ISSOCK(entry.mode) : !S_ISDIR(entry.mode));
    };
    std::vector<Change> changes;
    auto one = before.entries.begin();
    auto other = now.entries.begin();
    while (changes.size() < limit && (one != before.entries.end() || other != now.entries.end())) {
        const int order = one == before.entries.end()  ? 1
                          : other == now.entries.end() ? -1
                                                       : one->path.compare(other->path);
        if (order < 0) {
            if (counts(*one))
                changes.push_back({Change::Kind::removed, one->path, one->mode, one->size, 0, one->mtime});
            ++one;
        } else if (order > 0) {
            if (counts(*other))
                changes.push_back({Change::Kind::added, other->path, other->mode, 0, other->size, other->mtime});
            ++other;
        } else {
            const bool unsure = S_ISREG(one->mode) && before.unsure_from && one->ctime >= *before.unsure_from;
            const bool same = !unsure && (match == Match::copy ? same_copy(*one, *other) : same_inode(*one, *other));
            if ((counts(*one) || counts(*other)) && !same)
                changes.push_back(
                    {Change::Kind::changed, other->path, other->mode, one->size, other->size, other->mtime});
            ++one;
            ++other;
        }
    }
    return changes;
}

} // namespace abey::snapshot
