// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/nested.h"

#include "snapshot/changes.h"

#include <algorithm>
#include <map>
#include <ranges>

namespace abey::snapshot {
namespace {

struct Split {
    std::string directory, name;
};
Split split(const std::string &path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? Split{".", path} : Split{path.substr(0, slash), path.substr(slash + 1)};
}

// Snapshots of the nested ones of `from` in `to`, where they are empty directories.
Result<> fill_in(const Fd &from, const Fd &to, const std::vector<Nested> &nested) {
    for (const auto &one : nested) {
        const auto source = TRY(open_below(from, one.path));
        const auto place = split(one.path);
        const auto directory = TRY(open_below(to, place.directory));
        const auto before = TRY(stat_of(directory));
        if (::unlinkat(directory.get(), place.name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
            return fail(errno, "cannot replace the empty directory {}", one.path);
        TRY_IN(make_snapshot(source, directory, place.name, false), "{}", one.path);
        const timespec times[2] = {before.st_atim, before.st_mtim};
        (void)::futimens(directory.get(), times);
    }
    return {};
}

Result<> freeze(const Fd &top, const std::string &path) {
    const auto nested = TRY(open_below(top, path));
    return set_read_only(nested, true, path);
}

// Undoes what is half made; the error that counts is the first one.
Result<> or_delete(Result<> result, const Fd &parent, const std::string &name) {
    if (!result)
        (void)delete_all(parent, name);
    return result;
}

using ByPath = std::map<std::string, Nested>;
ByPath by_path(const std::vector<Nested> &nested) {
    ByPath all;
    for (const auto &one : nested)
        all.emplace(one.path, one);
    return all;
}

// A live one beside what was saved of it; nothing: it is another subvolume than the one that was saved, or than its
// copy.
struct Pair {
    Fd live, saved;
    uint64_t since = 0;
};
Result<Pair> pair_of(const Fd &live, const Fd &saved, const Nested &then) {
    Pair pair{.live = TRY(open_below(live, then.path)), .saved = TRY(open_below(saved, then.path))};
    const auto now = TRY(subvolume_of(pair.live, then.path));
    const auto kept = TRY(subvolume_of(pair.saved, then.path));
    if (now.read_only != then.read_only)
        return Pair();
    if (now.uuid == then.source)
        pair.since = kept.created;
    else if (now.parent_uuid == kept.uuid)
        pair.since = now.created;
    else
        return Pair();
    return pair;
}

Change whole(Change::Kind kind, const std::string &path) {
    return {.kind = kind, .path = path, .mode = S_IFDIR, .size_before = 0, .size_now = 0, .mtime = {}};
}

} // namespace

Result<std::vector<Nested>> nested_of(const Fd &home, const std::string &path) {
    auto paths = TRY(nested_in(home, path, nested_limit + 1));
    if (paths.size() > nested_limit)
        return fail(EFBIG,
                    "home {} holds more than {} other subvolumes, {} among them: move them out of the home, or choose "
                    "another provider in the policy",
                    path, nested_limit, path + "/" + paths.front());
    std::ranges::sort(paths); // "a" is before "a/b"
    std::vector<Nested> nested;
    for (const auto &one : paths) {
        const auto directory = TRY(open_below(home, one));
        const auto found = TRY(subvolume_of(directory, one));
        nested.push_back({.path = one, .source = found.uuid, .read_only = found.read_only});
    }
    return nested;
}

Result<> save_all(const Fd &source, const Fd &parent, const std::string &name, const std::vector<Nested> &nested) {
    if (nested.empty())
        return make_snapshot(source, parent, name, true);
    TRY(make_snapshot(source, parent, name, false));
    const auto fill = [&]() -> Result<> {
        const auto made = TRY(open_directory(parent.get(), name));
        TRY(fill_in(source, made, nested));
        for (const auto &one : std::views::reverse(nested))
            TRY(freeze(made, one.path));
        return set_read_only(made, true, name);
    };
    return or_delete(fill(), parent, name);
}

Result<> copy_all(const Fd &saved, const Fd &parent, const std::string &name, const std::vector<Nested> &nested) {
    TRY(make_snapshot(saved, parent, name, false));
    const auto fill = [&]() -> Result<> {
        const auto made = TRY(open_directory(parent.get(), name));
        TRY(fill_in(saved, made, nested));
        for (const auto &one : std::views::reverse(nested))
            if (one.read_only)
                TRY(freeze(made, one.path));
        return {};
    };
    return nested.empty() ? Result<>() : or_delete(fill(), parent, name);
}

Result<> delete_all(const Fd &parent, const std::string &name) {
    auto found = open_directory(parent.get(), name);
    if (!found && found.error().code() == ENOENT)
        return {};
    const auto opened = TRY(std::move(found));
    auto paths = TRY(nested_in(opened, name, ~size_t{0}));
    if (paths.empty())
        return delete_subvolume(parent, name);
    // In a read-only one nothing can be deleted.
    std::ranges::sort(paths);
    TRY(set_read_only(opened, false, name));
    for (const auto &path : paths) {
        const auto nested = TRY(open_below(opened, path));
        TRY(set_read_only(nested, false, path));
    }
    for (const auto &path : std::views::reverse(paths)) {
        const auto place = split(path);
        const auto directory = TRY(open_below(opened, place.directory));
        TRY(delete_subvolume(directory, place.name));
    }
    return delete_subvolume(parent, name);
}

Result<bool> nested_changed(const Fd &live, const Fd &saved, const std::vector<Nested> &nested) {
    std::vector<Change> changes;
    TRY(list_nested_changes(live, saved, nested, changes, 1));
    return !changes.empty();
}

Result<> list_nested_changes(const Fd &live, const Fd &saved, const std::vector<Nested> &nested,
                             std::vector<Change> &changes, size_t limit) {
    const auto listed = TRY(nested_of(live, ""));
    const auto now = by_path(listed);
    const auto then = by_path(nested);
    const auto add = [&](Change change) {
        if (changes.size() < limit)
            changes.push_back(std::move(change));
    };
    for (const auto &[path, one] : now)
        if (!then.contains(path))
            add(whole(Change::Kind::added, path));
    for (const auto &[path, one] : then) {
        if (!now.contains(path)) {
            add(whole(Change::Kind::removed, path));
            continue;
        }
        const auto pair = TRY(pair_of(live, saved, one));
        if (!pair.live) {
            add(whole(Change::Kind::changed, path));
            continue;
        }
        if (changes.size() >= limit)
            return {};
        for (auto &change : TRY(list_changes(pair.live, pair.saved, pair.since, limit - changes.size()))) {
            change.path = change.path.empty() ? path : path + "/" + change.path;
            add(std::move(change));
        }
    }
    return {};
}

Result<bool> nested_have_changed_files(const Fd &copy, const Fd &saved) {
    const auto now = by_path(TRY(nested_of(copy, "")));
    const auto then = by_path(TRY(nested_of(saved, "")));
    if (now.size() != then.size())
        return true;
    for (const auto &[path, one] : now) {
        if (!then.contains(path))
            return true;
        const auto ours = TRY(open_below(copy, path));
        const auto theirs = TRY(open_below(saved, path));
        const auto about = TRY(subvolume_of(ours, path));
        if (about.parent_uuid != TRY(subvolume_of(theirs, path)).uuid ||
            TRY(changed_since(ours, theirs, about.created, Compare::files)))
            return true;
    }
    return false;
}

} // namespace abey::snapshot
