// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/area.h"

#include "files/contents.h"
#include "files/identity.h"

#include <memory>
#include <vector>

#include <dirent.h>
#include <linux/magic.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

namespace abey::files {

namespace {

constexpr int depth_limit = 4096;
constexpr size_t id_limit = 200;

Result<struct statx> stat_with_mount(const Fd &fd) {
    struct statx stat = {};
    if (::statx(fd.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &stat) != 0)
        return fail(errno, "cannot stat a directory");
    return stat;
}

bool same_place(const struct statx &a, const struct statx &b) {
    return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor && a.stx_mnt_id == b.stx_mnt_id;
}

// Nobody else could have made it or put anything into it.
Result<Fd> open_private(const Fd &above, const std::string &name) {
    Fd directory = TRY(open_at(above.get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    struct stat stat = TRY(stat_of(directory));
    if (stat.st_uid != ::geteuid() || (stat.st_mode & 07777) != 0700)
        return fail(EPERM, "{} was not made by Abeyance: it must belong to root with mode 0700, remove it",
                    printable(name));
    return directory;
}

Result<Fd> make_private(const Fd &above, const std::string &name) {
    if (::mkdirat(above.get(), name.c_str(), 0700) == 0) {
        // mkdir(2): the umask may have taken rights away
        Fd made = TRY(open_at(above.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        struct stat stat = TRY(stat_of(made));
        if (stat.st_uid == ::geteuid() && (stat.st_mode & 07777) != 0700)
            ::fchmod(made.get(), 0700); // also a set-group-id bit that the directory above hands down
    } else if (errno != EEXIST) {
        return fail(errno, "cannot make the directory {}", printable(name));
    }
    return open_private(above, name);
}

bool is_plain_name(const std::string &name) {
    return !name.empty() && name != "." && name != ".." && name.size() <= 255 && name.find('/') == std::string::npos &&
           name.find('\0') == std::string::npos;
}

// On overlayfs files may have the device numbers of the layers below, directories never (overlayfs.rst, "Inode
// properties").
Result<bool> lies_with(const Fd &directory, const model::FileIdentity &file) {
    if (TRY(stat_of(directory)).st_dev == file.device)
        return true;
    if (file.fs_type != OVERLAYFS_SUPER_MAGIC)
        return false;
    model::Inode inode;
    TRY(describe(directory, inode));
    return inode.identity.fs_type == file.fs_type && inode.identity.fsid != 0 && inode.identity.fsid == file.fsid;
}

struct Split {
    std::string directory, name;
};

Split split(const std::string &path) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos)
        return {".", path};
    return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

} // namespace

Result<Fd> top_of(const Fd &directory) {
    Fd here = TRY(open_at(directory.get(), ".", O_PATH | O_DIRECTORY));
    struct statx stat = TRY(stat_with_mount(here));
    for (int depth = 0; depth < depth_limit; depth++) {
        Fd up = TRY(open_at(here.get(), "..", O_PATH | O_DIRECTORY));
        struct statx above = TRY(stat_with_mount(up));
        if (!same_place(stat, above) || above.stx_ino == stat.stx_ino)
            return here;
        here = std::move(up);
        stat = above;
    }
    return fail(ELOOP, "directories more than {} deep", depth_limit);
}

Result<std::string> path_of(const Fd &directory) {
    std::string path = TRY(read_link(magic_link(directory)));
    Fd again = TRY_IN(open_file(path, O_PATH | O_NOFOLLOW), "a directory that has no path here");
    if (!is_same_inode(TRY(stat_of(directory)), TRY(stat_of(again))))
        return fail(ENOENT, "{} leads to another directory here", printable(path));
    return path;
}

Result<AreaPlace> find_area(const std::string &configured, const std::string &path, const model::FileIdentity &file) {
    AreaPlace place;
    if (configured.starts_with('/')) {
        Split parts = split(configured);
        place.name = parts.name;
        place.above = TRY_IN(open_file(parts.directory, O_PATH | O_DIRECTORY), "the directory for kept files");
        auto existing = open_at(place.above.get(), place.name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
        if (!TRY(lies_with(existing ? *existing : place.above, file)))
            return fail(EXDEV, "{} is not on the same file system or subvolume", printable(configured));
        return place;
    }
    place.name = configured;
    std::string directory = split(path).directory;
    auto nearest = open_file(directory, O_PATH | O_DIRECTORY);
    while (!nearest && directory != "/" && directory != ".") {
        directory = split(directory).directory;
        nearest = open_file(directory, O_PATH | O_DIRECTORY);
    }
    if (!nearest || !TRY(lies_with(*nearest, file)))
        return fail(ENOENT, "no directory of its file system can be reached by its path");
    place.above = TRY(top_of(*nearest));
    return place;
}

Result<> check_area(const AreaPlace &place) {
    struct statvfs fs = {};
    if (::fstatvfs(place.above.get(), &fs) != 0)
        return fail(errno, "cannot ask for the file system's state");
    if ((fs.f_flag & ST_RDONLY) != 0)
        return fail(EROFS, "the file system is mounted read-only");
    TRY(check_space(place.above, 0));
    auto area = open_private(place.above, place.name);
    if (!area && area.error().code() != ENOENT)
        return std::unexpected(std::move(area).error());
    return {};
}

Result<std::string> area_path(const AreaPlace &place, const std::string &checkpoint) {
    std::string above = TRY(path_of(place.above));
    if (above.size() == 1) // "/"
        above.clear();
    return fmt::format("{}/{}/{}", above, place.name, checkpoint);
}

Result<AreaDirectory> open_area(AreaPlace place, const std::string &checkpoint) {
    if (!is_plain_name(checkpoint) || checkpoint.size() > id_limit)
        return fail(EINVAL, "\"{}\" cannot be the name of a directory", printable(checkpoint));
    // Another checkpoint that ends now removes the area when it finds it empty: make it again.
    constexpr int tries = 5;
    for (int i = 1;; i++) {
        Fd area = TRY(make_private(place.above, place.name));
        auto made = make_private(area, checkpoint);
        if (!made && made.error().code() == ENOENT && i < tries)
            continue;
        if (!made)
            return std::unexpected(std::move(made).error());
        Fd files = TRY(open_at(made->get(), ".", O_RDONLY | O_DIRECTORY));
        auto path = path_of(files);
        if (!path) {
            remove_if_empty(place.above, place.name, area, checkpoint);
            return std::unexpected(std::move(path).error());
        }
        return AreaDirectory{std::move(place.above), std::move(area), std::move(files), std::move(*path)};
    }
}

Result<KeptFile> find_kept(const std::string &path) {
    KeptFile kept;
    Split file = split(path);
    Split directory = split(file.directory);
    Split area = split(directory.directory);
    kept.name = file.name;
    kept.checkpoint = directory.name;
    kept.area_name = area.name;
    if (!path.starts_with('/') || !is_plain_name(kept.name) || !is_plain_name(kept.checkpoint) ||
        !is_plain_name(kept.area_name))
        return fail(EINVAL, "{} is not the path of a kept file", printable(path));
    auto find = [&]() -> Result<> {
        kept.above = TRY(open_file(area.directory, O_PATH | O_DIRECTORY));
        kept.area = TRY(open_private(kept.above, kept.area_name));
        kept.files = TRY(open_private(kept.area, kept.checkpoint));
        return {};
    };
    TRY_IN(find(), "kept file {}", printable(path));
    return kept;
}

Result<> remove_kept_file(const std::string &path) {
    auto kept = find_kept(path);
    if (!kept) {
        if (kept.error().code() == ENOENT)
            return {};
        return std::unexpected(std::move(kept).error());
    }
    if (::unlinkat(kept->files.get(), kept->name.c_str(), 0) != 0 && errno != ENOENT)
        return fail(errno, "cannot remove the kept file {}", printable(path));
    remove_if_empty(kept->above, kept->area_name, kept->area, kept->checkpoint);
    return {};
}

Result<> remove_kept_directory(const std::string &path) {
    auto kept = find_kept(path + "/any");
    if (!kept) {
        if (kept.error().code() == ENOENT)
            return {};
        return std::unexpected(std::move(kept).error());
    }
    Fd listed = TRY(open_at(kept->files.get(), ".", O_RDONLY | O_DIRECTORY));
    std::unique_ptr<DIR, int (*)(DIR *)> entries(::fdopendir(listed.get()), ::closedir);
    if (!entries)
        return fail(errno, "cannot list {}", printable(path));
    (void)listed.release(); // closed with entries
    while (const struct dirent *entry = ::readdir(entries.get())) {
        std::string_view name = entry->d_name;
        if (name != "." && name != ".." && ::unlinkat(kept->files.get(), entry->d_name, 0) != 0 && errno != ENOENT)
            return fail(errno, "cannot remove the kept file {}/{}", printable(path), printable(name));
    }
    remove_if_empty(kept->above, kept->area_name, kept->area, kept->checkpoint);
    return {};
}

void remove_if_empty(const Fd &above, const std::string &area_name, const Fd &area,
                     const std::string &checkpoint) noexcept {
    if (::unlinkat(area.get(), checkpoint.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        return;
    // An area that is a subvolume or mount of its own was made by the administrator: it stays.
    struct stat own = {};
    struct stat outer = {};
    if (::fstat(area.get(), &own) == 0 && ::fstat(above.get(), &outer) == 0 && own.st_dev == outer.st_dev)
        ::unlinkat(above.get(), area_name.c_str(), AT_REMOVEDIR);
}

} // namespace abey::files
