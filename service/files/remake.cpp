// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/remake.h"

#include "files/contents.h"
#include "files/identity.h"

#include <random>
#include <ranges>

#include <linux/openat2.h>
#include <sys/syscall.h>

namespace abey::files {

namespace {

constexpr size_t name_limit = 255;

Result<Fd> open_part(const Fd &directory, const std::string &name) {
    struct open_how how = {};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    auto fd = ::syscall(SYS_openat2, directory.get(), name.c_str(), &how, sizeof how);
    if (fd < 0)
        return fail(errno, "cannot open the directory {}{}", printable(name),
                    errno == ELOOP ? " (a symbolic link has taken its place)" : "");
    return Fd(static_cast<int>(fd));
}

// The parts of a path, without empty ones; ".." is not among what /proc shows.
Result<std::vector<std::string>> parts_of(const std::string &path) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < path.size();) {
        size_t slash = std::min(path.find('/', at), path.size());
        std::string part = path.substr(at, slash - at);
        if (part == ".." || part == "." || part.size() > name_limit || part.find('\0') != std::string::npos)
            return fail(EINVAL, "{} is not a path as /proc shows them", printable(path));
        if (!part.empty())
            parts.push_back(std::move(part));
        at = slash + 1;
    }
    if (parts.empty())
        return fail(EINVAL, "a path without a name");
    return parts;
}

// Calls make(name), which gives 0 or an errno, with the wanted name, and while that is taken with other ones.
template <class F> Result<std::string> under_free_name(const std::string &wanted, F &&make) {
    constexpr int tries = 16;
    std::random_device source;
    std::string name = wanted;
    int error = 0;
    for (int i = 0; i < tries; i++) {
        error = make(name);
        if (error == 0)
            return name;
        if (error != EEXIST)
            break;
        std::string end = fmt::format(".abeyance-{:08x}", source());
        name = fmt::format(".{}{}", wanted.substr(0, name_limit - end.size() - 1), end);
    }
    return fail(error, "cannot make {}", printable(name));
}

Result<> remove_name(const Fd &directory, const std::string &name, const Fd &file, uint32_t mode,
                     nlink_t expected_links) {
    if (::unlinkat(directory.get(), name.c_str(), S_ISDIR(mode) ? AT_REMOVEDIR : 0) != 0)
        return fail(errno, "cannot unlink {} again", printable(name));
    // whoever may write to the directory could have renamed it in between
    struct stat stat = TRY(stat_of(file));
    if (!S_ISDIR(mode) && stat.st_nlink != expected_links)
        return fail(EBUSY, "somebody renamed {} while it was made", printable(name));
    return {};
}

int result_of(int value) { return value < 0 ? errno : 0; }

// Makes something that is not a regular file; 0 or an errno.
int make_node(const Fd &directory, const std::string &name, const model::Inode &inode) {
    if (S_ISDIR(inode.mode))
        return result_of(::mkdirat(directory.get(), name.c_str(), 0700));
    return result_of(::mknodat(directory.get(), name.c_str(), (inode.mode & S_IFMT) | 0600, inode.rdev));
}

Result<Fd> open_made(const Fd &directory, const std::string &name, uint32_t mode) {
    Fd file = TRY(open_at(directory.get(), name, O_PATH | O_NOFOLLOW));
    struct stat stat = TRY(stat_of(file));
    if ((stat.st_mode & S_IFMT) != (mode & S_IFMT) || stat.st_uid != ::geteuid())
        return fail(EBUSY, "somebody replaced {} while it was made", printable(name));
    return file;
}

// A new node under a free name or, with `exact`, under its own only; `name` is what it became.
Result<Fd> make_node_file(const Fd &directory, const model::Inode &inode, bool exact, std::string &name) {
    if (S_ISLNK(inode.mode))
        return fail(0, "symbolic links are not made again");
    if (exact) {
        if (int error = make_node(directory, name, inode); error != 0)
            return fail(error, "cannot make {}", printable(name));
    } else {
        name = TRY(under_free_name(name, [&](const std::string &one) { return make_node(directory, one, inode); }));
    }
    auto file = open_made(directory, name, inode.mode);
    if (!file)
        ::unlinkat(directory.get(), name.c_str(), S_ISDIR(inode.mode) ? AT_REMOVEDIR : 0);
    return file;
}

Result<Fd> open_tmpfile(const Parent &parent) {
    Fd directory = TRY(open_at(parent.directory().get(), ".", O_PATH | O_DIRECTORY));
    return open_file(magic_link(directory), O_TMPFILE | O_RDWR, 0600);
}

} // namespace

Result<Parent> Parent::open(const std::string &base, const std::string &path) {
    auto parts = TRY(parts_of(path));
    Parent parent;
    parent.directory_ = TRY(open_file(base, O_PATH | O_DIRECTORY));
    parent.name_ = std::move(parts.back());
    parts.pop_back();
    for (const std::string &part : parts) {
        auto next = open_part(parent.directory_, part);
        if (!next && next.error().code() == ENOENT) {
            Fd above = TRY(duplicate(parent.directory_));
            if (::mkdirat(above.get(), part.c_str(), 0700) == 0)
                parent.made_.push_back({std::move(above), part});
            else if (errno != EEXIST)
                return fail(errno, "cannot make the directory {} of {}", printable(part), printable(path));
            next = open_part(parent.directory_, part);
        }
        parent.directory_ = TRY_IN(std::move(next), "{}", printable(path));
    }
    return parent;
}

Result<Fd> Parent::nearest(const std::string &base, const std::string &path) {
    auto parts = TRY(parts_of(path));
    parts.pop_back();
    Fd directory = TRY(open_file(base, O_PATH | O_DIRECTORY));
    for (const std::string &part : parts) {
        auto next = open_part(directory, part);
        if (!next && next.error().code() == ENOENT)
            break;
        directory = TRY_IN(std::move(next), "{}", printable(path));
    }
    return directory;
}

Parent::~Parent() {
    for (const Made &made : std::views::reverse(made_))
        ::unlinkat(made.above.get(), made.name.c_str(), AT_REMOVEDIR);
}

Result<std::vector<Parent::Made>> Parent::keep(uint32_t uid, uint32_t gid) {
    for (const Made &made : made_) {
        if (::fchownat(made.above.get(), made.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) != 0)
            return fail(errno, "cannot give the directory {} to {}:{}", printable(made.name), uid, gid);
    }
    return std::exchange(made_, {});
}

Result<Fd> make_deleted(const Parent &parent, const model::Inode &inode, const Fill &fill) {
    const Fd &directory = parent.directory();
    if (!S_ISREG(inode.mode)) {
        std::string name = parent.name();
        Fd file = TRY(make_node_file(directory, inode, false, name));
        auto done = apply_attributes(file, inode);
        auto removed = remove_name(directory, name, file, inode.mode, 0);
        TRY(std::move(done));
        TRY(std::move(removed));
        return file;
    }
    Fd file;
    std::string name = TRY(under_free_name(parent.name(), [&](const std::string &one) {
        file = Fd(::openat(directory.get(), one.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        return result_of(file.get());
    }));
    TRY(remove_name(directory, name, file, inode.mode, 0));
    TRY(fill(file));
    TRY(apply_attributes(file, inode));
    return file;
}

Result<Fd> make_unnamed(const Parent &parent, const model::Inode &inode, const Fill &fill) {
    Fd file = TRY(open_tmpfile(parent));
    TRY(fill(file));
    TRY(apply_attributes(file, inode));
    return file;
}

Result<Fd> make_named(const Parent &parent, const model::Inode &inode, const Fill &fill) {
    const Fd &directory = parent.directory();
    std::string name = parent.name();
    if (!S_ISREG(inode.mode)) {
        Fd file = TRY(make_node_file(directory, inode, true, name));
        if (auto done = apply_attributes(file, inode); !done) {
            ::unlinkat(directory.get(), name.c_str(), S_ISDIR(inode.mode) ? AT_REMOVEDIR : 0);
            return std::unexpected(std::move(done).error());
        }
        return file;
    }
    Fd file = TRY(open_tmpfile(parent));
    TRY(fill(file));
    TRY(apply_attributes(file, inode));
    if (::linkat(file.get(), "", directory.get(), name.c_str(), AT_EMPTY_PATH) != 0)
        return fail(errno, "cannot make {}", printable(name));
    // by its name, because /proc would show the one that it was made by
    Fd named = TRY(open_at(directory.get(), name, O_PATH | O_NOFOLLOW));
    if (!is_same_inode(TRY(stat_of(named)), TRY(stat_of(file))))
        return fail(EBUSY, "somebody replaced {} while it was made", printable(name));
    return named;
}

Result<Fd> show_as_deleted(const Parent &parent, const Fd &file) {
    const Fd &directory = parent.directory();
    struct stat before = TRY(stat_of(file));
    std::string name = TRY(under_free_name(parent.name(), [&](const std::string &one) {
        return result_of(::linkat(file.get(), "", directory.get(), one.c_str(), AT_EMPTY_PATH));
    }));
    auto shown = open_at(directory.get(), name, O_PATH | O_NOFOLLOW);
    auto removed = remove_name(directory, name, file, before.st_mode, before.st_nlink);
    TRY(std::move(removed));
    Fd opened = TRY(std::move(shown));
    if (!is_same_inode(before, TRY(stat_of(opened))))
        return fail(EBUSY, "somebody replaced {} while it was opened", printable(name));
    return opened;
}

} // namespace abey::files
