// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/remake.h"

#include "files/contents.h"
#include "files/identity.h"
#include "files/stage.h"

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

// Calls make(linked, opened, name) where the name is free, EEXIST telling that it is not: in the file's own directory;
// on a stage; in its own directory under other names. `opened` is the directory to open through, `linked` the same one
// for linkat(2).
template <class F> Result<Fd> where_free(const Parent &parent, const std::string &path, F &&make) {
    constexpr int tries = 16;
    const Fd &own = parent.directory();
    Result<Fd> made = fail(EEXIST, "{} is taken", printable(path));
    if (!parent.is_blocked())
        made = make(own, own, parent.name());
    if (made || made.error().code() != EEXIST)
        return made;
    if (const auto stage = Stage::make(own, path))
        if (auto staged = make(stage->directory(), stage->seen(), parent.name()))
            return staged;
    std::random_device source;
    for (int i = 0; i < tries && !made && made.error().code() == EEXIST; i++) {
        const std::string end = fmt::format(".abeyance-{:08x}", source());
        made = make(own, own, fmt::format(".{}{}", parent.name().substr(0, name_limit - end.size() - 1), end));
    }
    return made;
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
    if (S_ISLNK(inode.mode))
        return result_of(::symlinkat(inode.target.c_str(), directory.get(), name.c_str()));
    return result_of(::mknodat(directory.get(), name.c_str(), (inode.mode & S_IFMT) | 0600, inode.rdev));
}

Result<Fd> open_made(const Fd &directory, const std::string &name, uint32_t mode) {
    Fd file = TRY(open_at(directory.get(), name, O_PATH | O_NOFOLLOW));
    struct stat stat = TRY(stat_of(file));
    if ((stat.st_mode & S_IFMT) != (mode & S_IFMT) || stat.st_uid != ::geteuid())
        return fail(EBUSY, "somebody replaced {} while it was made", printable(name));
    return file;
}

Result<Fd> make_node_file(const Fd &directory, const std::string &name, const model::Inode &inode) {
    if (int error = make_node(directory, name, inode); error != 0)
        return fail(error, "cannot make {}", printable(name));
    auto file = open_made(directory, name, inode.mode);
    if (!file)
        ::unlinkat(directory.get(), name.c_str(), S_ISDIR(inode.mode) ? AT_REMOVEDIR : 0);
    return file;
}

Result<Fd> make_deleted_node(const Fd &directory, const std::string &name, const model::Inode &inode) {
    Fd file = TRY(make_node_file(directory, name, inode));
    auto done = apply_attributes(file, inode);
    auto removed = remove_name(directory, name, file, inode.mode, 0);
    TRY(std::move(done));
    TRY(std::move(removed));
    return file;
}

Result<Fd> open_tmpfile(const Parent &parent) {
    Fd directory = TRY(open_at(parent.directory().get(), ".", O_PATH | O_DIRECTORY));
    return open_file(magic_link(directory), O_TMPFILE | O_RDWR, 0600);
}

// Something else than a directory, or a link that leads to one, has its name.
bool is_no_directory(const Error &error) { return error.code() == ENOTDIR || error.code() == ELOOP; }

} // namespace

Result<std::vector<std::string>> parts_of(const std::string &path) {
    std::vector<std::string> parts;
    for (size_t at = 0; at < path.size();) {
        size_t slash = std::min(path.find('/', at), path.size());
        std::string part = path.substr(at, slash - at);
        // ".." is not among what /proc shows
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

Result<Parent> Parent::open(const std::string &base, const std::string &path, Blocked blocked) {
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
        if (!next && blocked == Blocked::stop_above && is_no_directory(next.error())) {
            parent.blocked_ = true;
            break;
        }
        parent.directory_ = TRY_IN(std::move(next), "{}", printable(path));
    }
    return parent;
}

Result<Fd> Parent::nearest(const std::string &base, const std::string &path, Blocked blocked) {
    auto parts = TRY(parts_of(path));
    parts.pop_back();
    Fd directory = TRY(open_file(base, O_PATH | O_DIRECTORY));
    for (const std::string &part : parts) {
        auto next = open_part(directory, part);
        if (!next &&
            (next.error().code() == ENOENT || (blocked == Blocked::stop_above && is_no_directory(next.error()))))
            break;
        directory = TRY_IN(std::move(next), "{}", printable(path));
    }
    return directory;
}

Parent::~Parent() {
    for (const Made &made : std::views::reverse(made_))
        ::unlinkat(made.above.get(), made.name.c_str(), AT_REMOVEDIR);
}

Result<std::vector<Parent::Made>> Parent::keep(const std::vector<model::Above> &above, uint32_t uid, uint32_t gid) {
    for (size_t i = 0; i < made_.size(); ++i) {
        Made &made = made_[made_.size() - 1 - i];
        if (i < above.size())
            made.as = above[i];
        const model::Above wanted = made.as.value_or(model::Above{.mode = 0700, .uid = uid, .gid = gid});
        const Fd directory = TRY(open_part(made.above, made.name));
        model::Inode inode;
        inode.mode = S_IFDIR | wanted.mode;
        inode.uid = wanted.uid;
        inode.gid = wanted.gid;
        inode.xattrs = wanted.xattrs;
        TRY_IN(apply_attributes(directory, inode), "the directory {}", printable(made.name));
    }
    return std::exchange(made_, {});
}

Result<Fd> make_deleted(const Parent &parent, const model::Inode &inode, const Fill &fill,
                        const std::function<void(const Fd &file)> &while_named) {
    if (!S_ISREG(inode.mode))
        return where_free(parent, inode.path, [&](const Fd &, const Fd &directory, const std::string &name) {
            return make_deleted_node(directory, name, inode);
        });
    const auto make = [&](const Fd &linked, const Fd &directory, const std::string &name) -> Result<Fd> {
        Fd made = TRY(open_at(directory.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        if (while_named) {
            const auto file = open_at(linked.get(), name, O_PATH | O_NOFOLLOW);
            if (file && is_same_inode(TRY(stat_of(*file)), TRY(stat_of(made))))
                while_named(*file);
        }
        TRY(remove_name(directory, name, made, inode.mode, 0));
        return made;
    };
    Fd file = TRY(where_free(parent, inode.path, make));
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
    const std::string &name = parent.name();
    if (!S_ISREG(inode.mode)) {
        Fd file = TRY(make_node_file(directory, name, inode));
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

Result<Fd> show_as_deleted(const Parent &parent, const std::string &path, const Fd &file) {
    const struct stat before = TRY(stat_of(file));
    return where_free(parent, path, [&](const Fd &linked, const Fd &directory, const std::string &name) -> Result<Fd> {
        if (::linkat(file.get(), "", linked.get(), name.c_str(), AT_EMPTY_PATH) != 0)
            return fail(errno, "cannot make {}", printable(name));
        auto shown = open_at(directory.get(), name, O_PATH | O_NOFOLLOW);
        auto removed = remove_name(directory, name, file, before.st_mode, before.st_nlink);
        TRY(std::move(removed));
        Fd opened = TRY(std::move(shown));
        if (!is_same_inode(before, TRY(stat_of(opened))))
            return fail(EBUSY, "somebody replaced {} while it was opened", printable(name));
        return opened;
    });
}

} // namespace abey::files
