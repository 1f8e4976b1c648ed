// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree_copy.h"

#include "engine/os/program.h"
#include "snapshot/subvolume.h"
#include "snapshot/tree_states.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <set>

#include <linux/fs.h>
#include <sys/ioctl.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr int longest_chain = 20;  // archives that a further state may build on
constexpr int chain_limit = 100;   // that there may be
constexpr int rsync_vanished = 24; // rsync(1): files vanished before they could be copied; who calls sees which
constexpr const char *keep_all = "--preserve=mode,ownership,timestamps,links,xattr";

std::string archive(const std::string &place, int number) { return fmt::format("{}/{}.tar", place, number); }

int archives_in(const std::string &place) {
    int number = 0;
    std::error_code error;
    while (number < chain_limit && fs::exists(archive(place, number), error))
        ++number;
    return number;
}

Result<> run(std::vector<std::string> arguments, const Output &output = {}, const std::vector<int> &accepted = {0}) {
    TRY(run_program({.arguments = std::move(arguments)}, output, accepted));
    return {};
}

// "  1,234,567  42%  ..." of rsync's --info=progress2, which it writes over and over.
Output percents(const CopyProgress &progress) {
    return [&progress](std::string_view text) {
        const auto sign = text.rfind('%');
        if (!progress || sign == std::string_view::npos)
            return;
        auto start = sign;
        while (start > 0 && text[start - 1] >= '0' && text[start - 1] <= '9')
            --start;
        int percent = 0;
        if (std::from_chars(text.data() + start, text.data() + sign, percent).ec == std::errc())
            progress(std::min(percent, 100));
    };
}

// tar(1) tells each `--checkpoint` records by a dot: about one for each percent of that many bytes.
constexpr uint64_t tar_record = uint64_t{20} * 512;
std::string each_dot(uint64_t bytes) {
    return fmt::format("--checkpoint={}", std::max<uint64_t>(bytes / tar_record / 100, 1));
}

Output dots(const CopyProgress &progress, uint64_t bytes) {
    const uint64_t all = std::max<uint64_t>(bytes / tar_record, 1);
    const uint64_t each = std::max<uint64_t>(all / 100, 1);
    return [&progress, all, each, count = uint64_t{0}](std::string_view text) mutable {
        count += static_cast<uint64_t>(std::ranges::count(text, '.'));
        if (progress)
            progress(static_cast<int>(std::min<uint64_t>(count * each * 100 / all, 100)));
    };
}

// rsync takes size and time of modification for the contents. Another file that has taken the name, or one whose time
// was set back, has another inode number or another time of change: those are compared byte by byte.
std::string doubtful(const Manifest &now, const Manifest &before) {
    std::string paths;
    for (const Entry &entry : now.entries) {
        if (!S_ISREG(entry.mode))
            continue;
        const auto *old = before.find(entry.path);
        if (old != nullptr && old->size == entry.size && old->mtime == entry.mtime &&
            (old->number != entry.number || old->ctime != entry.ctime)) {
            paths += entry.path;
            paths += '\0';
        }
    }
    return paths;
}

// "-@-1" compares times with all their digits.
const std::vector<std::string> rsync_exactly = {"rsync", "-aHAXSx", "--numeric-ids", "-@-1"};

Result<> rsync_listed(const std::string &home, const std::string &place, std::string paths, const char *how) {
    // What is written into the top changes its times; those of other directories on the way rsync sets by itself.
    paths += std::string_view(".\0", 2);
    auto arguments = rsync_exactly;
    arguments.insert(arguments.end(), {how, "--from0", "--files-from=-", "--", home + "/", tree_in(place) + "/"});
    TRY(run_program({.arguments = std::move(arguments), .environment = {}, .input = std::move(paths)}, {},
                    {0, rsync_vanished}));
    return {};
}

Result<> save_by_rsync(const std::string &home, const Manifest &now, const std::string &place, const TreeState *last,
                       const CopyProgress &progress) {
    auto arguments = rsync_exactly;
    arguments.emplace_back("--info=progress2");
    if (last != nullptr)
        arguments.push_back("--link-dest=" + tree_in(last->place));
    arguments.insert(arguments.end(), {"--", home + "/", tree_in(place) + "/"});
    TRY(run(std::move(arguments), percents(progress), {0, rsync_vanished}));
    const auto paths = last == nullptr ? "" : doubtful(now, *last->manifest);
    return paths.empty() ? Result<>() : rsync_listed(home, place, paths, "--checksum");
}

// All that is not as it was, and all below a directory that is not: rsync finds files by their paths, and a directory
// that was another one for a moment (a symbolic link of the user's to a place of root's) would have given it a file of
// somebody else's. No directory can be renamed without its ctime telling.
std::set<std::string_view> to_be_copied(const Manifest &then, const Manifest &now) {
    std::set<std::string_view> paths;
    for (const Change &change : differences(then, now, Match::same_tree, SIZE_MAX)) {
        const auto *after = now.find(change.path);
        if (after == nullptr)
            continue;
        paths.insert(after->path);
        if (!S_ISDIR(after->mode) || after->path.empty())
            continue;
        const auto below = after->path + "/";
        for (auto entry = std::ranges::lower_bound(now.entries, below, {}, &Entry::path);
             entry != now.entries.end() && entry->path.starts_with(below); ++entry)
            paths.insert(entry->path);
    }
    return paths;
}

// From a copy, in which a symbolic link may stand where the home has a directory: rsync had found it there for a
// moment. What lies behind it is not of the copy, and may be anybody's.
Result<> remove_from(const std::string &tree, const fs::path &path) {
    const auto top = TRY(open_directory(AT_FDCWD, tree));
    const auto parent = open_below(top, path.parent_path().string());
    if (!parent && (parent.error().code() == ELOOP || parent.error().code() == ENOTDIR ||
                    parent.error().code() == ENOENT)) // rsync puts the directory in its place
        return {};
    if (!parent)
        return std::unexpected(parent.error());
    TRY_IN(remove_tree(fmt::format("/proc/self/fd/{}/{}", parent->get(), path.filename().string())), "{}", tree);
    return {};
}

// What is not as it was goes from the copy, and is copied anew: never changed in place, because earlier copies may have
// links to it.
Result<> update_by_rsync(const std::string &home, const Manifest &then, const Manifest &now, const std::string &place) {
    for (const Change &change : differences(then, now, Match::same_tree, SIZE_MAX)) {
        const auto *after = now.find(change.path);
        if (after == nullptr && !change.path.empty())
            TRY(remove_from(tree_in(place), change.path));
    }
    std::string paths;
    for (const auto path : to_be_copied(then, now)) {
        const auto *before = then.find(path);
        const auto *after = now.find(path);
        if (before != nullptr && (!S_ISDIR(before->mode) || !S_ISDIR(after->mode)))
            TRY(remove_from(tree_in(place), path));
        paths += path.empty() ? std::string_view(".") : path;
        paths += '\0';
    }
    return rsync_listed(home, place, std::move(paths), "--whole-file");
}

Result<> save_by_cp(const std::string &home, const std::string &place) {
    TRY(remove_tree(tree_in(place)));
    return run({"cp", "-dRxT", keep_all, "--reflink=always", "--", home, tree_in(place)});
}

// tar(1) remembers when it began, and takes files with an earlier ctime for archived next time; but what is written to
// in the same tick of the clock has one. So it shall have begun with the tick. (The form of its list is in its manual:
// "Format of the Incremental Snapshot Files".)
Result<> begun_at(const std::string &list, const model::Time &time) {
    const auto text = TRY(read_file(list));
    const auto line = text.find('\n');
    const auto seconds = text.find('\0', line);
    const auto nanoseconds = seconds == std::string::npos ? seconds : text.find('\0', seconds + 1);
    if (!text.starts_with("GNU tar-") || line == std::string::npos || !text.substr(0, line).ends_with("-2") ||
        nanoseconds == std::string::npos)
        return fail(ENOTSUP,
                    "{}: the list that tar has made has a form that is not known; choose another provider in "
                    "the policy",
                    list);
    const auto begun = fmt::format("{}{}{}", time.seconds, '\0', time.nanoseconds);
    return write_file(list, text.substr(0, line + 1) + begun + text.substr(nanoseconds));
}

// What tar will take: each regular file that is not as it was.
uint64_t changed_bytes(const Manifest &now, const Manifest *before) {
    uint64_t sum = 0;
    for (const Entry &entry : now.entries) {
        const auto *old = before == nullptr ? nullptr : before->find(entry.path);
        if (S_ISREG(entry.mode) && (old == nullptr || old->mtime != entry.mtime || old->ctime != entry.ctime))
            sum += entry.blocks * 512;
    }
    return sum;
}

// The next archive in `place`, of what has changed since the one before, when the home looked like `before`; null:
// there was none. The home looks like `now`.
Result<> archive_changes(const std::string &home, const Manifest &now, const std::string &place, const Manifest *before,
                         const CopyProgress &progress) {
    const int number = archives_in(place);
    if (number >= chain_limit)
        return fail(EAGAIN, "{} is changed by others again and again while it is saved", home);
    const auto begun = now.present();
    const auto bytes = changed_bytes(now, before);
    // 1: a file changed while it was read, which is seen by who compares the lists
    TRY(run({"tar", "--create", "--file=" + archive(place, number), "--listed-incremental=" + place + "/state",
             "--no-check-device", "--format=posix", "--numeric-owner", "--one-file-system", "--sparse", "--acls",
             "--xattrs", "--xattrs-include=*", "--warning=no-file-ignored", "--directory=" + home, each_dot(bytes),
             "--checkpoint-action=dot", "."},
            dots(progress, bytes), {0, 1}));
    return begun_at(place + "/state", begun);
}

Result<> save_by_tar(const std::string &home, const Manifest &now, const std::string &place, const TreeState *last,
                     const CopyProgress &progress) {
    const bool goes_on = last != nullptr && archives_in(last->place) < longest_chain;
    std::error_code error;
    if (goes_on) {
        // Each state has links to all archives that it needs, so that earlier ones can go.
        const int count = archives_in(last->place);
        for (int number = 0; number < count && !error; ++number)
            fs::create_hard_link(archive(last->place, number), archive(place, number), error);
        if (!error)
            fs::copy_file(last->place + "/state", place + "/state", error);
    }
    if (error)
        return fail(error.value(), "cannot go on from the archives in {}", last->place);
    return archive_changes(home, now, place, goes_on ? last->manifest : nullptr, progress);
}

Result<> extract(const std::string &place, const std::string &destination, const CopyProgress &progress) {
    if (::mkdir(destination.c_str(), 0700) < 0)
        return fail(errno, "cannot make {}", destination);
    const int count = archives_in(place);
    if (count == 0)
        return fail(ENOENT, "{}: the archives are gone", place);
    const auto size_of = [&place](int number) -> uint64_t {
        std::error_code error;
        const auto size = fs::file_size(archive(place, number), error);
        return error ? 0 : size;
    };
    uint64_t all = 0;
    for (int number = 0; number < count; ++number)
        all += size_of(number);
    uint64_t before = 0;
    for (int number = 0; number < count; ++number) {
        const uint64_t size = size_of(number);
        const CopyProgress of_all = [&](int percent) {
            if (progress && all > 0)
                progress(static_cast<int>((before * 100 + size * static_cast<uint64_t>(percent)) / all));
        };
        TRY(run({"tar", "--extract", "--file=" + archive(place, number), "--listed-incremental=/dev/null",
                 "--numeric-owner", "--same-owner", "--preserve-permissions", "--acls", "--xattrs",
                 "--xattrs-include=*", "--directory=" + destination, each_dot(size), "--checkpoint-action=dot"},
                dots(of_all, size)));
        before += size;
    }
    return {};
}

} // namespace

std::string_view name_of(TreeKind kind) {
    switch (kind) {
    case TreeKind::rsync:
        return "rsync";
    case TreeKind::tar:
        return "tar";
    case TreeKind::reflink:
        return "reflink";
    case TreeKind::nilfs2:
        return "nilfs2";
    case TreeKind::manifest:
        break;
    }
    return "none";
}

std::string tree_in(const std::string &place) { return place + "/tree"; }

Result<> check_program(TreeKind kind) {
    const auto *name = kind == TreeKind::rsync || kind == TreeKind::nilfs2 ? "rsync"
                       : kind == TreeKind::tar                             ? "tar"
                                                                           : "cp";
    if (kind != TreeKind::manifest && !has_program(name))
        return fail(ENOENT, "provider {} needs the program {}: install it, or choose another provider in the policy",
                    name_of(kind), name);
    return {};
}

Result<> save_tree(TreeKind kind, const std::string &home, const Manifest &now, const std::string &place,
                   const TreeState *last, const CopyProgress &progress) {
    switch (kind) {
    case TreeKind::rsync:
        return save_by_rsync(home, now, place, last, progress);
    case TreeKind::tar:
        return save_by_tar(home, now, place, last, progress);
    case TreeKind::reflink:
        return save_by_cp(home, place);
    case TreeKind::nilfs2:
    case TreeKind::manifest:
        break;
    }
    return {};
}

Result<> update_tree(TreeKind kind, const std::string &home, const Manifest &then, const Manifest &now,
                     const std::string &place) {
    switch (kind) {
    case TreeKind::rsync:
        return update_by_rsync(home, then, now, place);
    case TreeKind::tar:
        return archive_changes(home, now, place, &then, {});
    case TreeKind::reflink:
        // The few files that have changed need not share their data.
        return has_program("rsync") ? update_by_rsync(home, then, now, place) : save_by_cp(home, place);
    case TreeKind::nilfs2:
    case TreeKind::manifest:
        break;
    }
    return {};
}

Result<> copy_tree(const std::string &source, const std::string &destination, const CopyProgress &progress) {
    auto arguments = rsync_exactly;
    arguments.insert(arguments.end(), {"--info=progress2", "--", source + "/", destination + "/"});
    return run(std::move(arguments), percents(progress));
}

Result<> make_tree(TreeKind kind, const std::string &place, const std::string &destination,
                   const CopyProgress &progress) {
    switch (kind) {
    case TreeKind::tar:
        return extract(place, destination, progress);
    case TreeKind::rsync:
    case TreeKind::reflink:
        return run({"cp", "-dRT", keep_all, "--reflink=auto", "--sparse=auto", "--", tree_in(place), destination});
    case TreeKind::nilfs2:
    case TreeKind::manifest:
        break;
    }
    return fail(ENOTSUP, "no state of the home was kept that it could be brought back to");
}

bool can_reflink(const std::string &home) {
    const auto parent = fs::path(home).parent_path().string();
    // Two files without names on the file system of the home.
    const auto one = open_file(home, O_TMPFILE | O_RDWR, 0600);
    const auto other = open_file(parent, O_TMPFILE | O_RDWR, 0600);
    constexpr std::string_view data = "abeyance";
    return one && other && write_all(*one, data) && ::ioctl(other->get(), FICLONE, one->get()) == 0;
}

} // namespace abey::snapshot
