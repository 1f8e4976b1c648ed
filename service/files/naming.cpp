// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/naming.h"

#include "engine/os/long_path.h"
#include "files/area.h"
#include "files/identity.h"
#include "policy/file_system.h"

#include <climits>
#include <cstring>
#include <memory>
#include <optional>

#include <dirent.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace abey::files {

namespace {

constexpr std::string_view deleted_mark = " (deleted)";
constexpr int sibling_limit = 10'000;
constexpr int names_limit = 50'000;

std::string parent_of(const std::string &path) {
    size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

// Does the path lead to the file? Nothing: it leads nowhere.
std::optional<bool> leads_to(const Fd &root, const std::string &path, const struct stat &wanted) {
    auto found = look_up(root, path);
    if (!found)
        return std::nullopt;
    auto stat = stat_of(*found);
    return stat && is_same_inode(*stat, wanted);
}

std::string join(const std::string &directory, std::string_view name) {
    return directory == "/" ? fmt::format("/{}", name) : fmt::format("{}/{}", directory, name);
}

// Another name in the same directory: editors leave their backups there.
std::string find_sibling(const Fd &directory, const std::string &path, const struct stat &wanted) {
    auto listed = open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME);
    if (!listed)
        return {};
    std::unique_ptr<DIR, int (*)(DIR *)> entries(::fdopendir(listed->get()), ::closedir);
    if (!entries)
        return {};
    int raw = listed->release(); // closed with entries
    for (int count = 0; count < sibling_limit; count++) {
        const struct dirent *entry = ::readdir(entries.get());
        if (entry == nullptr)
            break;
        struct stat stat = {};
        if (entry->d_ino == wanted.st_ino && ::fstatat(raw, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
            is_same_inode(stat, wanted))
            return join(path, entry->d_name);
    }
    return {};
}

// BTRFS_IOC_INO_PATHS: the inode's names from the top of its subvolume.
std::string find_on_btrfs(const Fd &file, const Fd &directory, const Fd &root, const struct stat &wanted) {
    auto own = reopen(file, O_RDONLY | O_NONBLOCK | O_NOATIME);
    auto top = top_of(directory);
    if (!own || !top)
        return {};
    auto top_path = path_of(*top);
    if (!top_path)
        return {};
    constexpr size_t size = 64U << 10U;
    std::vector<uint64_t> buffer(size / sizeof(uint64_t));
    struct btrfs_ioctl_ino_path_args args = {};
    args.inum = wanted.st_ino;
    args.size = size;
    args.fspath = reinterpret_cast<uintptr_t>(buffer.data());
    if (::ioctl(own->get(), BTRFS_IOC_INO_PATHS, &args) != 0)
        return {};
    auto *container = reinterpret_cast<struct btrfs_data_container *>(buffer.data());
    const auto *values = reinterpret_cast<const char *>(container->val);
    const char *end = reinterpret_cast<const char *>(buffer.data()) + size;
    for (uint32_t i = 0; i < container->elem_cnt; i++) {
        uint64_t offset = container->val[i];
        if (offset >= static_cast<uint64_t>(end - values))
            break;
        const char *name = values + offset;
        std::string path = join(*top_path, std::string_view(name, ::strnlen(name, static_cast<size_t>(end - name))));
        if (leads_to(root, path, wanted).value_or(false))
            return path;
    }
    return {};
}

// Anywhere in a file system in memory, which is a small one as a rule; nobody but a look at all of it tells.
std::string find_in_memory(const Fd &directory, const Fd &root, const struct stat &wanted) {
    const auto top = top_of(directory);
    if (!top)
        return {};
    const auto top_path = path_of(*top);
    if (!top_path)
        return {};
    std::vector<std::string> waiting = {"."};
    for (int count = 0; !waiting.empty() && count < names_limit;) {
        const auto below = std::move(waiting.back());
        waiting.pop_back();
        auto listed = open_at(top->get(), below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME);
        if (!listed)
            continue;
        const auto own = stat_of(*listed);
        if (!own || own->st_dev != wanted.st_dev)
            continue;
        const std::unique_ptr<DIR, int (*)(DIR *)> entries(::fdopendir(listed->get()), ::closedir);
        if (!entries)
            continue;
        const int raw = listed->release(); // closed with entries
        for (const auto *entry = ::readdir(entries.get()); entry != nullptr && count < names_limit;
             entry = ::readdir(entries.get()), ++count) {
            const std::string_view name = entry->d_name;
            struct stat stat = {};
            if (entry->d_type == DT_DIR && name != "." && name != "..")
                waiting.push_back(fmt::format("{}/{}", below, name));
            if (entry->d_ino != wanted.st_ino || ::fstatat(raw, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ||
                !is_same_inode(stat, wanted))
                continue;
            auto path = join(*top_path, fmt::format("{}/{}", below, name).substr(2));
            if (leads_to(root, path, wanted).value_or(false))
                return path;
        }
    }
    return {};
}

std::string find_other_name(const Fd &file, const std::string &path, const Fd &root, const model::Inode &inode,
                            const struct stat &wanted) {
    auto directory = look_up(root, parent_of(path));
    for (std::string up = path; !directory && up != "/"; directory = look_up(root, up))
        up = parent_of(up);
    if (!directory)
        return {};
    if (inode.identity.fs_type == BTRFS_SUPER_MAGIC)
        return find_on_btrfs(file, *directory, root, wanted);
    if (policy::is_volatile(inode.identity.fs_type))
        return find_in_memory(*directory, root, wanted);
    return find_sibling(*directory, parent_of(path), wanted);
}

} // namespace

Result<Fd> look_up(const Fd &root, const std::string &path) {
    if (path.size() >= PATH_MAX) { // in pieces, the first of which leads where links in it say
        const size_t cut = path.rfind('/', PATH_MAX - 1);
        if (cut == 0 || cut == std::string::npos)
            return fail(ENAMETOOLONG, "cannot look up {}", printable(path));
        return os::open_long(TRY(look_up(root, path.substr(0, cut))).get(), "." + path.substr(cut),
                             O_PATH | O_NOFOLLOW);
    }
    struct open_how how = {};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    auto fd = ::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how);
    if (fd < 0)
        return fail(errno, "cannot look up {}", printable(path));
    return Fd(static_cast<int>(fd));
}

Result<> find_name(const Fd &file, const std::string &shown, const Fd &root, bool elsewhere, model::Inode &inode) {
    if (!shown.starts_with('/'))
        return fail(0, "{} is not a file with a path", printable(shown));
    struct stat wanted = TRY(stat_of(file));

    // The kernel shows paths as seen from the reader's root, so for tasks with a root of their own that is the one to
    // try next.
    Fd own_root = elsewhere ? TRY(duplicate(root)) : TRY(open_file("/", O_PATH | O_DIRECTORY));
    const Fd *roots[] = {&own_root, root && !elsewhere ? &root : nullptr};

    std::string bare = shown;
    bool marked = shown.ends_with(deleted_mark) && shown.size() > deleted_mark.size() + 1;
    if (marked)
        bare.resize(bare.size() - deleted_mark.size());

    inode.naming = model::Naming::named;
    inode.path = shown;
    for (const Fd *start : roots) {
        if (start != nullptr && leads_to(*start, shown, wanted).value_or(false))
            return {};
    }
    inode.path = bare;
    bool taken = false;
    for (const Fd *start : roots) {
        if (start == nullptr || !marked)
            continue;
        auto leads = leads_to(*start, bare, wanted);
        if (leads.value_or(false))
            return {};
        taken = taken || leads.has_value();
    }
    if (!marked)
        taken = leads_to(own_root, shown, wanted).has_value();

    if (wanted.st_nlink > 0 && S_ISREG(wanted.st_mode)) {
        inode.other_path = find_other_name(file, bare, own_root, inode, wanted);
        if (!inode.other_path.empty()) {
            inode.naming = model::Naming::moved;
            return {};
        }
    }
    // open(2), O_TMPFILE: the kernel shows such an inode as "#NUMBER" in its directory.
    if (wanted.st_nlink == 0 && bare.ends_with(fmt::format("/#{}", wanted.st_ino)))
        inode.naming = model::Naming::tmpfile;
    else
        inode.naming = taken ? model::Naming::replaced : model::Naming::deleted;
    return {};
}

} // namespace abey::files
