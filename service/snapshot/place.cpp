// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/place.h"

#include "engine/os/date.h"
#include "snapshot/area.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <filesystem>

#include <sys/xattr.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr const char *snapper_directory = ".snapshots";
constexpr const char *snapper_name = "snapshot";
constexpr const char *snapper_info = "info.xml";
constexpr int tries = 100'000; // numbers that are tried
constexpr size_t name_limit = 255;
constexpr size_t info_limit = 64U << 10U;

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
}

void fill_in(std::string &text, const std::string &word, const std::string &meaning) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + meaning.size()))
        text.replace(at, word.size(), meaning);
}

std::string name_for(const SnapshotPlace &place, const std::string &id) {
    auto name = place.name;
    fill_in(name, "{id}", id);
    fill_in(name, "{time}", timestamp());
    return name;
}

// It is made when it is missing, what is above it is not.
Result<std::string> real_directory(const SnapshotPlace &place) {
    const fs::path wanted = place.directory;
    std::error_code error;
    const auto real = fs::exists(wanted, error) ? fs::canonical(wanted, error)
                                                : fs::canonical(wanted.parent_path(), error) / wanted.filename();
    if (error)
        return fail(error.value(), "snapshot-directory {} of the policy", wanted.string());
    return real.string();
}

// Root alone decides what lies at this path.
Result<> safe_path(const fs::path &path) {
    for (auto at = path;; at = at.parent_path()) {
        struct stat status {};
        if (::lstat(at.c_str(), &status) != 0)
            return fail(errno, "cannot look at {}", at.string());
        if (!S_ISDIR(status.st_mode))
            return fail(ENOTDIR, "{}, on the way to the snapshots that the policy names", at.string());
        if (status.st_uid != 0 ||
            ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (at == path || (status.st_mode & S_ISVTX) == 0)))
            return fail(EPERM,
                        "{}: others than root may write there, so snapshots are not safe: chown root and chmod "
                        "go-w it, or change snapshot-directory in the policy",
                        at.string());
        if (at == at.root_path())
            return {};
    }
}

Result<> closed_to_others(const std::string &path) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0)
        return fail(errno, "cannot look at {}", path);
    if ((status.st_mode & S_IRWXO) != 0)
        return fail(EPERM, "{}: everybody may enter it, and snapshots hold old set-user-id programs: chmod o-rwx it",
                    path);
    return {};
}

// acl(5) as the kernel stores it: a version, then entries.
struct AclEntry {
    uint16_t tag = 0, permissions = 0;
    uint32_t id = 0;
};
constexpr uint16_t acl_user = 0x02;
constexpr uint16_t acl_group_owner = 0x04;
constexpr uint16_t acl_group = 0x08;
constexpr uint16_t acl_mask = 0x10;

// Those of a directory without one are its mode.
std::vector<AclEntry> acl_of(const std::string &path, const struct stat &status) {
    std::vector<AclEntry> entries;
    std::array<char, 4 + 128 * sizeof(AclEntry)> buffer{};
    const auto size = ::lgetxattr(path.c_str(), "system.posix_acl_access", buffer.data(), buffer.size());
    for (size_t at = 4; size > 0 && at + sizeof(AclEntry) <= static_cast<size_t>(size); at += sizeof(AclEntry)) {
        AclEntry entry;
        std::memcpy(&entry, buffer.data() + at, sizeof entry);
        entries.push_back(entry);
    }
    if (entries.empty())
        entries.push_back({.tag = acl_group_owner, .permissions = static_cast<uint16_t>((status.st_mode >> 3U) & 7U)});
    return entries;
}

Result<Fd> existing_or_new(const std::string &path, bool subvolume) {
    if (::access(path.c_str(), F_OK) != 0) {
        const auto parent = TRY(open_directory(AT_FDCWD, fs::path(path).parent_path()));
        const auto name = fs::path(path).filename().string();
        if (subvolume) {
            TRY_IN(make_subvolume(parent, name), "{}", path);
            if (::fchmodat(parent.get(), name.c_str(), 0750, 0) != 0)
                return fail(errno, "cannot set the mode of {}", path);
        } else if (::mkdirat(parent.get(), name.c_str(), 0700) < 0) {
            return fail(errno, "cannot make {}", path);
        }
    }
    auto directory = TRY(open_directory(AT_FDCWD, path));
    if (subvolume && !is_subvolume(directory))
        return fail(ENOTSUP, "{} is a directory, and snapper wants a subvolume: remove it, it is made anew", path);
    return directory;
}

std::string info_of(const SnapshotPlace &place, const std::string &id, int number) {
    const auto date = os::utc_date(std::time(nullptr), "%Y-%m-%d %H:%M:%S");
    return fmt::format("<?xml version=\"1.0\"?>\n<snapshot>\n  <type>single</type>\n  <num>{}</num>\n"
                       "  <date>{}</date>\n  <description>{}</description>\n  <userdata>\n    <key>abeyance</key>\n"
                       "    <value>{}</value>\n  </userdata>\n</snapshot>\n",
                       number, date, name_for(place, id), id);
}

Result<> write_durably(const Fd &directory, const std::string &name, const std::string &text) {
    const auto fresh = name + ".new";
    const auto file = TRY(open_at(directory.get(), fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    TRY(write_all(file, text));
    if (::fsync(file.get()) < 0)
        return fail(errno, "cannot write {}", name);
    if (::renameat(directory.get(), fresh.c_str(), directory.get(), name.c_str()) < 0)
        return fail(errno, "cannot name {}", name);
    return {};
}

// snapper takes the number after the highest one, too; mkdir(2) decides between the two of us.
Result<Spot> numbered_spot(const SnapshotPlace &place, const std::string &id, const std::string &directory) {
    const auto top = TRY(existing_or_new(directory, true));
    const auto all_path = directory + "/" + snapper_directory;
    const auto all = TRY(existing_or_new(all_path, true));
    TRY(closed_to_others(all_path));
    int number = 1;
    for (const auto &name : TRY(names_in(all)))
        if (name.size() < 9 && name.find_first_not_of("0123456789") == std::string::npos)
            number = std::max(number, std::stoi(name) + 1);
    for (const int last = number + tries; number < last; ++number) {
        const auto name = std::to_string(number);
        if (::mkdirat(all.get(), name.c_str(), 0755) < 0) {
            if (errno == EEXIST)
                continue;
            return fail(errno, "cannot make {}/{}", all_path, name);
        }
        auto own = TRY(open_directory(all.get(), name));
        if (auto written = write_durably(own, snapper_info, info_of(place, id, number)); !written) {
            (void)::unlinkat(own.get(), (std::string(snapper_info) + ".new").c_str(), 0);
            (void)::unlinkat(all.get(), name.c_str(), AT_REMOVEDIR);
            return within(std::move(written).error(), "{}/{}", all_path, name);
        }
        return Spot{.parent = std::move(own),
                    .name = snapper_name,
                    .path = fmt::format("{}/{}/{}", all_path, name, snapper_name)};
    }
    return fail(EEXIST, "{}: no number is free", all_path);
}

// The directory of a snapshot that lies as snapper's do.
std::optional<fs::path> numbered(const std::string &path) {
    const fs::path snapshot = path;
    auto number = snapshot.parent_path();
    const auto digits = number.filename().string();
    if (snapshot.filename() == snapper_name && number.parent_path().filename() == snapper_directory &&
        !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos)
        return number;
    return std::nullopt;
}

} // namespace

SnapshotPlace place_for(SnapshotPlace place, const std::string &home) {
    auto label = fs::path(home).filename().string(); // the user's name, as a rule
    std::ranges::replace_if(
        label, [](char c) { return !is_plain(c); }, '_');
    fill_in(place.directory, "{home}", label);
    fill_in(place.name, "{home}", label);
    return place;
}

Result<> check_place(const SnapshotPlace &place, const Fd &directory, const std::string &home) {
    if (place.directory.empty())
        return {};
    const fs::path wanted = TRY(real_directory(place));
    std::error_code error;
    const bool exists = fs::exists(wanted, error);
    const auto there = exists ? wanted : wanted.parent_path();
    if ((wanted.string() + "/").starts_with(home + "/"))
        return fail(EINVAL,
                    "snapshot-directory {} of the policy is in home {}: each snapshot would hold the ones before it; "
                    "choose a directory outside",
                    wanted.string(), home);
    TRY(safe_path(there));
    const auto opened = TRY(open_directory(AT_FDCWD, there));
    if (TRY(stat_of(opened)).st_dev == TRY(stat_of(directory)).st_dev)
        return fail(EINVAL,
                    "snapshot-directory {} of the policy is in the subvolume of home {}: choose a directory outside",
                    wanted.string(), home);
    if (!is_btrfs(opened) || TRY(filesystem_of(opened, there)) != TRY(filesystem_of(directory, home)))
        return fail(EXDEV, "snapshot-directory {} of the policy is not on the file system of home {}", wanted.string(),
                    home);
    if (exists && !place.snapper)
        TRY(closed_to_others(wanted));
    if (const auto all = wanted / snapper_directory; exists && place.snapper && fs::exists(all, error))
        TRY(closed_to_others(all));
    if (exists && place.snapper && !is_subvolume(opened))
        return fail(ENOTSUP,
                    "snapshot-directory {} of the policy is no subvolume, as snapper wants one: remove it, it is made "
                    "anew",
                    wanted.string());
    return {};
}

Result<std::string> let_in(const SnapshotPlace &place, const Fd &directory) {
    if (place.directory.empty())
        return std::string();
    const auto wanted = TRY(real_directory(place));
    const auto closed = place.snapper ? wanted + "/" + snapper_directory : wanted;
    struct stat status {};
    if (::lstat(closed.c_str(), &status) != 0)
        return std::string(); // it is made, for root alone
    const auto owner = TRY(stat_of(directory)).st_uid;
    const auto entries = acl_of(closed, status);
    uint16_t mask = 7;
    for (const auto &entry : entries)
        if (entry.tag == acl_mask)
            mask = entry.permissions;
    std::string all;
    for (const auto &entry : entries) {
        const bool user = entry.tag == acl_user && entry.id != 0 && entry.id != owner;
        const bool group =
            (entry.tag == acl_group && entry.id != 0) || (entry.tag == acl_group_owner && status.st_gid != 0);
        if ((entry.permissions & mask & 5U) != 0 && (user || group))
            all += fmt::format("{}{} {}", all.empty() ? "" : ", ", user ? "user" : "group",
                               entry.tag == acl_group_owner ? status.st_gid : entry.id);
    }
    return all.empty()
               ? all
               : fmt::format("{} lets others than root and the home's owner in: {}. They can read what the home "
                             "held, and run old set-user-id programs in it",
                             closed, all);
}

Result<Spot> make_spot(const SnapshotPlace &place, const std::string &id) {
    const auto directory = TRY(real_directory(place));
    if (place.snapper)
        return numbered_spot(place, id, directory);
    auto parent = TRY(existing_or_new(directory, false));
    TRY(closed_to_others(directory));
    const auto wanted = name_for(place, id);
    for (int number = 1; number < tries; ++number) {
        const auto name = number == 1 ? wanted : fmt::format("{}-{}", wanted, number);
        if (name.size() > name_limit)
            return fail(ENAMETOOLONG, "snapshot {} in {}", name, directory);
        struct stat status {};
        if (::fstatat(parent.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
            return Spot{.parent = std::move(parent), .name = name, .path = fmt::format("{}/{}", directory, name)};
    }
    return fail(EEXIST, "snapshot {} in {}", wanted, directory);
}

std::optional<bool> is_spot_of(const std::string &path, const std::string &id) {
    const auto number = numbered(path);
    if (!number)
        return std::nullopt;
    const auto info = read_file(*number / snapper_info, info_limit);
    return info && info->find(fmt::format("<value>{}</value>", id)) != std::string::npos;
}

Result<> drop_spot(const std::string &path, const std::string &id) {
    const auto found = numbered(path);
    if (!found || !is_spot_of(path, id).value_or(false))
        return {};
    const auto &number = *found;
    for (const auto *name : {snapper_info, "info.xml.new"})
        if (::unlink((number / name).c_str()) < 0 && errno != ENOENT)
            return fail(errno, "cannot remove {}/{}", number.string(), name);
    // snapper may have put something there; that is its own.
    if (::rmdir(number.c_str()) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
        return fail(errno, "cannot remove {}", number.string());
    return {};
}

} // namespace abey::snapshot
