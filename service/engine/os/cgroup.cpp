// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/cgroup.h"

#include "engine/os/mounts.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <memory>
#include <optional>
#include <set>

#include <dirent.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/vfs.h>

namespace abey::os {

namespace {
constexpr int deepest = 64;
constexpr auto patience = std::chrono::seconds(10);
constexpr int look_again_ms = 20;
constexpr size_t list_limit = 64U << 20U;
} // namespace

std::string cgroup_directory(std::string_view mountinfo, std::string_view group) {
    for (const MountEntry &mount : mounts_in(mountinfo)) {
        if (mount.type != "cgroup2")
            continue;
        std::string_view below = group;
        if (mount.root != "/") {
            if (!below.starts_with(mount.root) || (below.size() > mount.root.size() && below[mount.root.size()] != '/'))
                continue;
            below.remove_prefix(mount.root.size());
        }
        return below == "/" ? mount.point : mount.point + std::string(below);
    }
    return {};
}

std::string cgroup_of(int pid) { return cgroup_of(pid, 0); }

std::string cgroup_of(int pid, int tid) {
    const std::string text =
        read_file(tid == 0 ? fmt::format("/proc/{}/cgroup", pid) : fmt::format("/proc/{}/task/{}/cgroup", pid, tid))
            .value_or("");
    size_t at = text.starts_with("0::") ? 0 : text.find("\n0::");
    if (at == std::string::npos)
        return {};
    at = text.find("0::", at) + 3;
    return text.substr(at, text.find('\n', at) - at);
}

namespace {

Result<std::vector<std::string>> names_in(const std::string &directory, unsigned char type) {
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::opendir(directory.c_str()), ::closedir);
    if (!stream)
        return fail(errno, "cannot list {}", directory);
    std::vector<std::string> names;
    while (const dirent *entry = ::readdir(stream.get()))
        if (entry->d_type == type && entry->d_name[0] != '.')
            names.emplace_back(entry->d_name);
    std::ranges::sort(names);
    return names;
}

Result<> add_below(const std::string &top, const std::string &below, int depth, std::vector<CgroupBelow> &all) {
    if (depth > deepest)
        return fail(ELOOP, "cgroup {} is nested more than {} deep", top, deepest);
    const auto names = names_in(below.empty() ? top : top + "/" + below, DT_DIR);
    if (!names)
        return {}; // it has just been removed
    for (const std::string &name : *names) {
        CgroupBelow one = {below.empty() ? name : fmt::format("{}/{}", below, name), false};
        one.threaded = read_file(top + "/" + one.path + "/cgroup.type").value_or("").starts_with("threaded");
        all.push_back(one);
        TRY(add_below(top, one.path, depth + 1, all));
    }
    return {};
}

} // namespace

Result<std::vector<CgroupBelow>> cgroups_below(const std::string &directory) {
    std::vector<CgroupBelow> all;
    TRY(add_below(directory, "", 0, all));
    return all;
}

Result<std::vector<std::string>> files_in(const std::string &directory) { return names_in(directory, DT_REG); }

std::vector<std::string> named_cgroups(int pid, int tid) {
    constexpr std::string_view named = ":name=", systemd = "name=systemd:", deleted = " (deleted)";
    const std::string text = read_file(fmt::format("/proc/{}/task/{}/cgroup", pid, tid)).value_or("");
    std::vector<std::string> all;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = std::string_view(text).substr(at, end - at);
        at = end + 1;
        const size_t start = line.find(named);
        if (start == std::string_view::npos || line.find(':') != start)
            continue;
        line.remove_prefix(start + 1);
        if (line.ends_with(deleted))
            line.remove_suffix(deleted.size());
        if (!line.starts_with(systemd) && !line.ends_with(":/"))
            all.emplace_back(line);
    }
    return all;
}

Result<Cgroup> Cgroup::open(const std::string &path) {
    Fd directory = TRY_IN(open_file(path, O_RDONLY | O_DIRECTORY), "cgroup {}", path);
    struct statfs fs = {};
    if (::fstatfs(directory.get(), &fs) < 0)
        return fail(errno, "cgroup {}: cannot look at its file system", path);
    if (fs.f_type != CGROUP2_SUPER_MAGIC)
        return fail(ENOTSUP, "{} is not a cgroup v2 directory; give one below the mount of type cgroup2", path);
    return Cgroup(std::move(directory), path);
}

namespace {

// Processes or threads; none in a cgroup whose kind has none to tell (threaded ones: the processes are those above).
Result<std::vector<int>> ids_in(const Fd &directory, const char *name) {
    const Fd file = TRY(open_at(directory.get(), name, O_RDONLY));
    auto listed = read_all(file, list_limit);
    if (!listed && listed.error().code() == EOPNOTSUPP)
        listed = std::string();
    const std::string text = TRY(std::move(listed));
    std::vector<int> ids;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        int id = 0;
        std::from_chars(text.data() + at, text.data() + end, id);
        if (id > 0)
            ids.push_back(id);
        at = end + 1;
    }
    return ids;
}

} // namespace

Result<> Cgroup::list_below(const Fd &directory, const std::string &below, const std::string &domain, int depth,
                            Listed &into) const {
    if (depth > deepest)
        return fail(ELOOP, "cgroup {} is nested more than {} deep", path_, deepest);
    for (const int pid : TRY(ids_in(directory, "cgroup.procs")))
        into.processes.emplace_back(pid, below);
    for (const int tid : TRY(ids_in(directory, "cgroup.threads")))
        into.threads.emplace(tid, domain);
    Fd again = TRY(open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY));
    const std::unique_ptr<DIR, int (*)(DIR *)> stream(::fdopendir(again.release()), ::closedir);
    if (!stream)
        return fail(errno, "cannot list cgroup {}", path_);
    while (const dirent *entry = ::readdir(stream.get())) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        auto child = open_at(directory.get(), entry->d_name, O_RDONLY | O_DIRECTORY);
        if (!child)
            continue; // it has just been removed: nothing was in it
        const std::string path = below.empty() ? entry->d_name : below + "/" + entry->d_name;
        auto type = open_at(child->get(), "cgroup.type", O_RDONLY);
        const bool threaded = type && read_all(*type, list_limit).value_or("").starts_with("threaded");
        auto listed = list_below(*child, path, threaded ? domain : path, depth + 1, into);
        if (!listed && listed.error().code() != ENOENT && listed.error().code() != ENODEV) // removed meanwhile
            return listed;
    }
    return {};
}

// A first thread that has ended stays behind when its process is moved (cgroup_migrate_add_task() in
// kernel/cgroup/cgroup.c), and cgroup.procs lists first threads only: then it lists the process where it was, and not
// where it is. Its other threads tell.
Result<std::vector<std::pair<int, std::string>>> Cgroup::processes() const {
    Listed listed;
    TRY_IN(list_below(directory_, "", "", 0, listed), "cgroup {}", path_);
    std::vector<std::pair<int, std::string>> all;
    std::set<int> known;
    const auto take = [&](int pid, std::string below) {
        known.insert(pid);
        all.emplace_back(pid, std::move(below));
    };
    // Forgets the threads of a process, and tells the cgroup of one of them.
    const auto cgroup_by_threads = [&](int pid) {
        std::optional<std::string> domain;
        if (const auto threads = threads_of(pid))
            for (const int tid : *threads)
                if (auto listed_thread = listed.threads.extract(tid); !listed_thread.empty())
                    domain = std::move(listed_thread.mapped());
        return domain;
    };
    for (auto &[pid, below] : listed.processes)
        if (listed.threads.erase(pid) > 0)
            take(pid, std::move(below));
        else if (auto domain = cgroup_by_threads(pid))
            take(pid, std::move(*domain));
    while (!listed.threads.empty()) {
        const int tid = listed.threads.begin()->first;
        if (const auto status = read_status(tid); status && !status->all_pids.empty()) {
            const int pid = status->all_pids.front();
            if (auto domain = cgroup_by_threads(pid); domain && !known.contains(pid))
                take(pid, std::move(*domain));
        }
        listed.threads.erase(tid); // itself, when it has just ended
    }
    return all;
}

Result<> Cgroup::set(const char *name, std::string_view value) const {
    const Fd file = TRY_IN(open_at(directory_.get(), name, O_WRONLY), "cgroup {}", path_);
    TRY_IN(write_all(file, value), "cgroup {}: cannot write {} to {}", path_, value, name);
    return {};
}

Result<> Cgroup::wait_for(std::string_view event, std::string_view failure) const {
    const Fd events = TRY(open_at(directory_.get(), "cgroup.events", O_RDONLY));
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        std::string text(4096, '\0');
        const ssize_t n = ::pread(events.get(), text.data(), text.size(), 0);
        if (n < 0)
            return fail(errno, "cgroup {}: cannot read cgroup.events", path_);
        text.resize(static_cast<size_t>(n));
        if (text.find(event) != std::string::npos)
            return {};
        if (std::chrono::steady_clock::now() > deadline)
            return fail(ETIMEDOUT, "cgroup {}: {} after {} s; a process in it is stuck in the kernel", path_, failure,
                        patience.count());
        // Nobody is woken when the directory is removed, and then the last event may be missed, too: the kernel holds
        // back one that follows another within 10 ms (cgroup_file_notify() in kernel/cgroup/cgroup.c).
        pollfd changed{events.get(), POLLPRI, 0};
        ::poll(&changed, 1, look_again_ms);
    }
}

Result<> Cgroup::freeze() const {
    TRY(set("cgroup.freeze", "1"));
    return wait_for("frozen 1", "not frozen");
}

Result<> Cgroup::kill() const {
    auto killed = set("cgroup.kill", "1");
    if (killed)
        killed = wait_for("populated 0", "not empty");
    // Removed, by systemd for instance: the kernel allows that only when nothing is left in it (rmdir is EBUSY).
    if (!killed && (killed.error().code() == ENODEV || killed.error().code() == ENOENT))
        return {};
    return killed;
}

Result<> Cgroup::thaw() const { return set("cgroup.freeze", "0"); }

Result<Fd> Cgroup::freezer() const { return open_at(directory_.get(), "cgroup.freeze", O_WRONLY); }

Result<Frozen> Frozen::freeze(const Cgroup &cgroup) {
    for (const auto &[pid, below] : TRY(cgroup.processes()))
        if (pid == ::getpid())
            return fail(EDEADLK, "cgroup {}: this process is in it and would freeze itself", cgroup.path());
    const Fd freezer = TRY_IN(cgroup.freezer(), "cgroup {}", cgroup.path());
    auto guard = TRY_IN(Guard::post({freezer.get()}, [fd = freezer.get()] { (void)!::write(fd, "0", 1); }), "cgroup {}",
                        cgroup.path());
    Frozen frozen(&cgroup, std::move(guard));
    TRY(cgroup.freeze());
    return frozen;
}

Frozen::~Frozen() {
    // a guard that is not dismissed thaws
    if (cgroup_ != nullptr && cgroup_->thaw())
        guard_.dismiss();
}

} // namespace abey::os
