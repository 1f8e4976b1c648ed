// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/whereabouts.h"

#include "files/fingerprint.h"
#include "files/identity.h"

namespace abey::files {

namespace {

bool lies_below(const std::string &path, const std::string &directory) {
    return path == directory ||
           (path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/');
}

} // namespace

std::string Where::below_home() const {
    const std::string whole = "/" + path;
    if (home == nullptr || base == home->place)
        return path;
    return whole.size() > home->home.size() ? whole.substr(home->home.size() + 1) : "";
}

std::string Where::full() const {
    if (path.empty())
        return base;
    return base == "/" ? "/" + path : base + "/" + path;
}

void Whereabouts::enter(model::ObjRef mount_namespace, int root) {
    roots_[mount_namespace] = fmt::format("/proc/self/fd/{}/.", root); // not the link itself
}

const HomeTranslation *Whereabouts::home_of(const std::string &path) const {
    const HomeTranslation *best = nullptr;
    for (const HomeTranslation &home : homes_) {
        if (lies_below(path, home.home) && (best == nullptr || home.home.size() > best->home.size()))
            best = &home;
    }
    return best;
}

Result<Where> Whereabouts::find(const model::Inode &inode, const std::string &path) const {
    if (!path.starts_with('/') || path.find('\0') != std::string::npos)
        return fail(EINVAL, "{} is not an absolute path", printable(path));
    if (inode.mount_namespace != 0) {
        const auto root = roots_.find(inode.mount_namespace);
        if (root == roots_.end())
            return fail(EBADMSG, "the mount namespace of {} is not there", printable(path));
        Where there{root->second, path.substr(1)};
        // the same home is seen there, if it has the same name
        if (const HomeTranslation *home = home_of(path); home != nullptr && !home->ahead) {
            there.translated = true;
            there.home = home;
        }
        return there;
    }
    if (const HomeTranslation *home = home_of(path)) {
        size_t skip = home->home.size();
        while (skip < path.size() && path[skip] == '/')
            skip++;
        return Where{home->place, path.substr(skip), true, home->ahead || home->place != home->home, home};
    }
    return Where{"/", path.substr(path.find_first_not_of('/') == std::string::npos ? path.size() : 1)};
}

Result<> verify_former(const model::Inode &inode, const Where &where) {
    const auto former = where.home->former(where.below_home());
    if (!former)
        return fail(ESTALE, "not in the copy of the home");
    model::Inode saved = inode;
    saved.identity = {.number = inode.identity.number};
    if (auto reason = difference(saved, *former, Place::translated))
        return fail(ESTALE, "the copy of the home has another one: {}", *reason);
    return {};
}

Result<> verify(const model::Inode &inode, const Fd &file, const Where &where) {
    model::Inode now;
    now.path = inode.path;
    TRY(describe(file, now));
    Place place = Place::same;
    if (where.translated) {
        // a mount inside the home is not part of what was brought back; a subvolume in it is
        Fd base = TRY(open_file(where.home->place, O_PATH | O_DIRECTORY));
        const bool same = inode.mount_namespace != 0 ? TRY(stat_of(base)).st_dev == now.identity.device
                                                     : TRY(mount_of(base)) == TRY(mount_of(file));
        if (same)
            place = Place::translated;
        if (place == Place::translated && where.home->former) {
            TRY(verify_former(inode, where));
            place = Place::copied;
        }
    }
    if (inode.remade) // by us, nobody else could have changed it
        return (inode.mode & S_IFMT) == (now.mode & S_IFMT) ? Result<>() : fail(ESTALE, "it is another file now");
    const auto reason = difference(inode, now, place);
    if (!reason)
        return {};
    const auto other = inode.content.known ? other_contents(inode, file) : std::nullopt;
    if (inode.content.known && !other)
        return {};
    return fail(0, "not the one of the checkpoint: {}{}", *reason,
                other ? fmt::format(" ({}); a [[pin]] rule of the policy would have kept a copy", *other) : "");
}

} // namespace abey::files
