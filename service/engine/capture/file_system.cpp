// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is in a file system of memory that only processes of the tree have mounted.
#include "engine/capture/mounts.h"
#include "engine/capture/open_files.h"
#include "engine/times.h"

#include <array>
#include <climits>
#include <memory>

#include <dirent.h>
#include <sys/xattr.h>

namespace abey::capture {

namespace {

constexpr size_t most_entries = 1U << 20U;
constexpr size_t most_xattrs = 64U << 10U;

// Of anything but symbolic links, whose attributes are the kernel's own.
Result<std::vector<std::pair<model::Bytes, model::Bytes>>> xattrs_of(const Fd &file) {
    const std::string path = fmt::format("/proc/self/fd/{}", file.get());
    std::string names(most_xattrs, '\0');
    const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
    if (size < 0)
        return fail(errno, "cannot list its extended attributes");
    std::vector<std::pair<model::Bytes, model::Bytes>> all;
    for (size_t at = 0; at < static_cast<size_t>(size);) {
        const std::string name = names.c_str() + at;
        at += name.size() + 1;
        if (name == "security.selinux")
            continue;
        std::string value(most_xattrs, '\0');
        const ssize_t length = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
        if (length < 0)
            return fail(errno, "cannot read its extended attribute {}", name);
        value.resize(static_cast<size_t>(length));
        all.emplace_back(name, std::move(value));
    }
    return all;
}

struct Walk {
    Context &context;
    const os::ProcStat &stat;
    model::FileSystem &into;
    const Fd &top;
    const std::string base;         // what of the file system `top` is
    std::map<ino_t, size_t> linked; // entries with several names

    Result<> contents(const Fd &file, model::FileSystemEntry &entry) {
        const auto below = os::below("/" + entry.path, base.empty() ? "/" : "/" + base);
        if (!below)
            return fail(0, "/{} is not below /{} of the same file system", entry.path, base);
        const std::string shown = "/" + *below;
        model::Inode inode = TRY(context.files.identify(file, shown, top, true));
        inode.path = "/" + entry.path;
        inode.naming = model::Naming::named;
        inode.mount_namespace = into.id;
        const engine::FileUse use = {.pid = stat.pid, .comm = stat.comm, .writable = true};
        TRY(context.files.plan(inode, file, use));
        inode.id = entry.inode = context.tree.next_id();
        if (!context.preflight)
            context.state<Inodes>().keep.push_back({inode.id, TRY(duplicate(file)), use});
        context.tree.inodes.emplace(inode.id, std::move(inode));
        return {};
    }

    Result<> one(const Fd &file, const std::string &path) {
        if (into.entries.size() >= most_entries)
            return fail(EFBIG, "it has more than {} files", most_entries);
        const auto st = TRY(stat_of(file));
        model::FileSystemEntry entry;
        entry.path = path;
        entry.mode = st.st_mode;
        entry.uid = st.st_uid;
        entry.gid = st.st_gid;
        entry.rdev = st.st_rdev;
        entry.atime = engine::to_time(st.st_atim);
        entry.mtime = engine::to_time(st.st_mtim);
        if (st.st_nlink > 1 && !S_ISDIR(st.st_mode)) {
            const auto [other, first] = linked.try_emplace(st.st_ino, into.entries.size());
            if (!first) {
                entry.link = into.entries[other->second].path;
                into.entries.push_back(std::move(entry));
                return {};
            }
        }
        if (S_ISLNK(st.st_mode)) {
            std::array<char, PATH_MAX> target = {};
            const ssize_t size = ::readlinkat(file.get(), "", target.data(), target.size());
            if (size < 0)
                return fail(errno, "cannot read the symbolic link {}", path);
            entry.target.assign(target.data(), static_cast<size_t>(size));
        } else {
            entry.xattrs = TRY_IN(xattrs_of(file), "{}", path);
        }
        if (S_ISREG(st.st_mode))
            TRY_IN(contents(file, entry), "{}", path);
        into.entries.push_back(std::move(entry));
        return S_ISDIR(st.st_mode) ? below(file, path) : Result<>();
    }

    Result<> below(const Fd &directory, const std::string &path) {
        Fd listing = TRY(abey::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME));
        // closedir(3) closes the descriptor that it was given
        const std::unique_ptr<DIR, int (*)(DIR *)> stream(::fdopendir(listing.release()), ::closedir);
        if (!stream)
            return fail(errno, "cannot list the directory {}", path);
        while (const dirent *entry = ::readdir(stream.get())) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..")
                continue;
            const auto file = abey::open_at(directory.get(), name, O_PATH | O_NOFOLLOW);
            if (!file && context.preflight && file.error().code() == ENOENT) // processes run then
                continue;
            if (!file)
                return std::unexpected(file.error());
            TRY(one(*file, path.empty() ? name : fmt::format("{}/{}", path, name)));
        }
        return {};
    }
};

} // namespace

Result<> capture_contents(Context &context, const os::ProcStat &stat, const Fd &top, const std::string &base,
                          model::FileSystem &file_system) {
    // directories above what is mounted cannot be seen
    for (size_t end = base.empty() ? std::string::npos : 0; end != std::string::npos; end = base.find('/', end + 1)) {
        model::FileSystemEntry entry;
        entry.path = base.substr(0, end);
        entry.mode = S_IFDIR | 0755U;
        file_system.entries.push_back(std::move(entry));
    }
    return Walk{context, stat, file_system, top, base}.one(top, base);
}

} // namespace abey::capture
