// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/namespaces.h"

#include "engine/capture/mounts.h"

#include "engine/os/kernel.h"
#include "engine/os/namespace.h"
#include "engine/os/network.h"
#include "engine/os/outpost.h"
#include "engine/os/procfs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <sstream>

#include <dirent.h>
#include <linux/mount.h>
#include <linux/nsfs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

namespace abey::capture {

namespace {

std::string link_path(int pid, std::string_view name) { return fmt::format("/proc/{}/ns/{}", pid, name); }

// "uts:[4026531838]", "" when the kernel has none such.
std::string link_of(int pid, std::string_view name) { return read_link(link_path(pid, name)).value_or(""); }

// ioctl_ns(2); "": there is none that we can see.
std::string link_of_parent(int file) {
    const Fd above(::ioctl(file, NS_GET_PARENT));
    const auto stat = above ? stat_of(above) : fail(errno, "");
    return stat ? fmt::format("pid:[{}]", stat->st_ino) : "";
}

// Mounts show what is in the others.
constexpr std::array<std::string_view, 10> order = {
    "user", "cgroup", "ipc", "net", "pid", "pid_for_children", "time", "time_for_children", "uts", "mnt"};

constexpr std::array ipc_settings = {"kernel/msgmax",
                                     "kernel/msgmnb",
                                     "kernel/msgmni",
                                     "kernel/sem",
                                     "kernel/shmall",
                                     "kernel/shmmax",
                                     "kernel/shmmni",
                                     "kernel/shm_rmid_forced",
                                     "fs/mqueue/msg_default",
                                     "fs/mqueue/msg_max",
                                     "fs/mqueue/msgsize_default",
                                     "fs/mqueue/msgsize_max",
                                     "fs/mqueue/queues_max"};

// A mount of the file system that lists the POSIX message queues of our ipc namespace, seen by nobody else.
Result<Fd> mount_queues() {
    const Fd context(static_cast<int>(::syscall(SYS_fsopen, "mqueue", FSOPEN_CLOEXEC)));
    if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        return fail(errno, "cannot look at the POSIX message queues");
    Fd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
    if (!mount)
        return fail(errno, "cannot look at the POSIX message queues");
    return mount;
}

Result<> look_at_queues(Namespaces::Held &held) {
    const Fd mount = TRY(mount_queues());
    held.queue_device = TRY(stat_of(mount)).st_dev;
    Fd listing = TRY(abey::open_at(mount.get(), ".", O_RDONLY | O_DIRECTORY));
    // closedir(3) closes the descriptor that it was given
    const std::unique_ptr<DIR, int (*)(DIR *)> directory(::fdopendir(listing.release()), ::closedir);
    if (!directory)
        return fail(errno, "cannot list the POSIX message queues");
    while (const dirent *entry = ::readdir(directory.get()))
        if (entry->d_name[0] != '.')
            held.queue_names.insert(entry->d_name);
    return {};
}

std::vector<model::IdRange> parse_map(const std::string &text) {
    std::vector<model::IdRange> ranges;
    std::istringstream lines(text);
    for (model::IdRange range; lines >> range.inside >> range.outside >> range.count;)
        ranges.push_back(range);
    return ranges;
}

// The maps are told of processes, and there may be none in it that we could ask.
Result<> look_into_users(const Namespaces::Held &held, model::Namespace &ns) {
    uid_t creator = 0;
    if (::ioctl(held.file.get(), NS_GET_OWNER_UID, &creator) < 0)
        return fail(errno, "cannot ask whose it is");
    ns.creator = creator;
    const auto outpost = TRY(os::Outpost::send({.user_namespace = held.file.get()}));
    ns.uids = parse_map(TRY(os::read_proc(outpost.pid(), "uid_map")));
    ns.gids = parse_map(TRY(os::read_proc(outpost.pid(), "gid_map")));
    ns.setgroups_denied = TRY(os::read_proc(outpost.pid(), "setgroups")).starts_with("deny");
    return {};
}

// A new one with the same settings must be the same in everything else.
Result<> look_into_network(const Namespaces::Held &held, model::Namespace &ns) {
    os::Network theirs;
    {
        const auto inside = TRY(os::Inside::of(held.file, ns.type));
        theirs = TRY(os::Network::look());
    }
    const auto fresh = TRY(os::Inside::of_new(ns.type));
    const auto usual = TRY(os::Network::look());
    for (const auto &[name, value] : theirs.settings)
        if (const auto same = usual.settings.find(name); same == usual.settings.end() || same->second != value) {
            ns.settings.push_back({name, value});
            (void)write_file("/proc/sys/" + name, value); // looked at below
        }
    ns.loopback_up = theirs.loopback_up;
    if (ns.loopback_up)
        TRY(os::raise_loopback());
    const auto made = TRY(os::Network::look());
    for (const auto &[part, value] : theirs.parts)
        if (made.parts.at(part) != value)
            return fail(0, "it has more than a loopback device: its {} cannot be restored yet", part);
    for (const auto &[name, value] : theirs.settings)
        if (const auto same = made.settings.find(name); same == made.settings.end() || same->second != value)
            return fail(0, "its setting {} cannot be restored", name);
    return {};
}

// "monotonic 12 500000000": in nanoseconds.
int64_t offset_in(const std::string &text, std::string_view clock) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string name;
        int64_t seconds = 0, nanoseconds = 0;
        if (words >> name >> seconds >> nanoseconds && name == clock)
            return seconds * 1000000000 + nanoseconds;
    }
    return 0;
}

// The file tells of the namespace that the process's children will have: its own, as time is told here.
Result<> look_into_time(Context &context, const os::ProcStat &stat, model::Namespace &ns) {
    const std::string &usual = context.state<Namespaces>().first_offsets;
    const std::string offsets = TRY(os::read_proc(stat.door, "timens_offsets"));
    ns.monotonic = offset_in(offsets, "monotonic") - offset_in(usual, "monotonic");
    ns.boottime = offset_in(offsets, "boottime") - offset_in(usual, "boottime");
    return {};
}

// "/a/b" of the line of the unified hierarchy; all others in one text.
std::pair<std::string, std::string> cgroups_in(const std::string &text) {
    std::pair<std::string, std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("0::"))
            found.first = line.substr(3);
        else
            found.second += line + "\n";
    return found;
}

bool only_roots(const std::string &text) {
    std::istringstream lines(text);
    bool all = true;
    for (std::string line; std::getline(lines, line);)
        all = all && line.ends_with(":/");
    return all;
}

// What lies above the process's own cgroup as it is seen from inside is the namespace's root.
Result<> look_into_cgroup(Context &context, const os::ProcStat &stat, const Namespaces::Held &held,
                          model::Namespace &ns) {
    const auto outside = cgroups_in(TRY(os::read_proc(stat.door, "cgroup")));
    const auto ours = cgroups_in(TRY(read_file("/proc/self/cgroup")));
    const auto inside = TRY(os::Inside::of(held.file, ns.type));
    const auto seen = cgroups_in(TRY(os::read_proc(stat.door, "cgroup")));
    // there a process comes back where we are
    const bool same_as_ours = outside.second == ours.second && only_roots(seen.second);
    if (seen.second != outside.second && !same_as_ours)
        return fail(0, "its root is in a hierarchy of version 1, which cannot be restored yet");
    const std::string below = seen.first == "/" ? "" : seen.first;
    const auto &all = context.state<Namespaces>().cgroups;
    const auto own = all.find(stat.door);
    if (own == all.end()) // not told beforehand
        return {};
    const std::string path = own->second.empty() ? "" : "/" + own->second;
    if (below.starts_with("/..") || !path.ends_with(below))
        return fail(0, "its root is not a cgroup of the session");
    ns.cgroup = path.substr(0, path.size() - below.size());
    if (!ns.cgroup.empty())
        ns.cgroup.erase(0, 1);
    return {};
}

Result<> look_into(Context &context, const os::ProcStat &stat, Namespaces::Held &held, model::Namespace &ns) {
    if (ns.type == "net")
        return look_into_network(held, ns);
    if (ns.type == "user")
        return look_into_users(held, ns);
    if (ns.type == "mnt")
        return look_into_mounts(context, stat, held, ns);
    if (ns.type == "time")
        return look_into_time(context, stat, ns);
    if (ns.type == "cgroup")
        return look_into_cgroup(context, stat, held, ns);
    if (ns.type == "pid") {
        const auto &all = context.state<Namespaces>();
        const std::string link = link_of_parent(held.file.get());
        if (link == all.own.at("pid"))
            return {};
        const auto known = all.by_link.find(link);
        if (known == all.by_link.end())
            return fail(0, "it does not lie in that of a process of the session");
        ns.parent = known->second;
        return {};
    }
    const auto inside = TRY(os::Inside::of(held.file, ns.type));
    if (ns.type == "uts") {
        utsname names = {};
        if (::uname(&names) < 0)
            return fail(errno, "cannot ask for the host's name");
        ns.host_name = static_cast<const char *>(names.nodename);
        ns.domain_name = static_cast<const char *>(names.domainname);
        return {};
    }
    for (const char *name : ipc_settings)
        if (auto value = read_file(fmt::format("/proc/sys/{}", name))) // not every kernel has all
            ns.settings.push_back({name, std::move(*value)});
    return look_at_queues(held);
}

Result<model::ObjRef> capture_one(Context &context, const os::ProcStat &stat, std::string_view name,
                                  const std::string &link, Fd file);

// The user namespace that owns it (ioctl_ns(2)), for a user namespace its parent; 0: the session's.
Result<model::ObjRef> owner_of(Context &context, const os::ProcStat &stat, const Namespaces::Held &held) {
    const auto &all = context.state<Namespaces>();
    Fd owner(::ioctl(held.file.get(), held.type == "user" ? NS_GET_PARENT : NS_GET_USERNS));
    if (!owner)
        return fail(errno, "cannot ask for the owner of a namespace");
    const std::string link = fmt::format("user:[{}]", TRY(stat_of(owner)).st_ino);
    if (link == all.own.at("user"))
        return 0;
    if (const auto known = all.by_link.find(link); known != all.by_link.end())
        return known->second;
    return capture_one(context, stat, "user", link, std::move(owner));
}

// Owners get smaller ids than what they own.
Result<model::ObjRef> capture_one(Context &context, const os::ProcStat &stat, std::string_view name,
                                  const std::string &link, Fd file) {
    auto &all = context.state<Namespaces>();
    Namespaces::Held held;
    held.type = name;
    held.pid = stat.pid;
    held.comm = stat.comm;
    held.file = std::move(file);
    model::Namespace ns;
    ns.type = held.type;
    ns.owner = TRY(owner_of(context, stat, held));
    TRY(look_into(context, stat, held, ns));
    if (ns.id == 0)
        ns.id = context.tree.next_id();
    const model::ObjRef id = ns.id;
    all.by_link.emplace(link, id);
    all.held.emplace(id, std::move(held));
    context.tree.namespaces.emplace(id, std::move(ns));
    return id;
}

// unshare(2) and setns(2) are for a thread; but users, pids and clocks are those of a process with several.
Result<> check_threads(Context &context, const os::ProcStat &stat) {
    constexpr std::array names = {"cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "uts"};
    const auto threads = os::threads_of(stat);
    if (!threads || threads->size() < 2)
        return {};
    std::array<ino_t, names.size()> of_process = {};
    for (const int thread : *threads) {
        if (thread == stat.pid && stat.leader_ended()) // it is in none any more
            continue;
        const auto all = abey::open_file(fmt::format("/proc/{}/task/{}/ns", stat.pid, thread), O_PATH | O_DIRECTORY);
        for (size_t i = 0; all && i < names.size(); ++i) {
            struct stat st = {};
            if (::fstatat(all->get(), names.at(i), &st, 0) < 0) // processes may go while we look
                continue;
            if (of_process.at(i) == 0)
                of_process.at(i) = st.st_ino;
            else if (of_process.at(i) != st.st_ino)
                context.findings.push_back(
                    {stat.pid, stat.comm, fmt::format("thread {}", thread),
                     fmt::format("a thread in a namespace of its own ({}) cannot be restored yet", names.at(i)),
                     "end this process before the suspend", true});
        }
    }
    return {};
}

} // namespace

model::ObjRef ipc_namespace_of(Context &context, int pid) {
    const auto &all = context.state<Namespaces>();
    if (const auto own = all.by_pid.find(pid); own != all.by_pid.end())
        for (const model::ObjRef ns : own->second)
            if (all.held.at(ns).type == "ipc")
                return ns;
    return 0;
}

Result<uint64_t> own_queue_device() {
    const Fd mount = TRY(mount_queues());
    return TRY(stat_of(mount)).st_dev;
}

model::ObjRef Namespaces::of_queue_device(uint64_t device) const {
    for (const auto &[id, one] : held)
        if (one.queue_device == device && one.type == "ipc")
            return id;
    return 0;
}

// What a resume gives a session itself: pids, clocks, and with pids a /proc in a mount namespace. The process that is
// the least deep in pid namespaces tells which these are; all others are the service's own. One that is the first of
// its pid namespace has been put there by a program: the session's is the one above, in which its parent is.
void look_at_session(Context &context, std::span<const os::ProcStat *const> processes) {
    auto &all = context.state<Namespaces>();
    const os::ProcStat *top = nullptr;
    size_t depth = 0;
    bool is_first = false;
    for (const os::ProcStat *process : processes) {
        const auto status = os::read_status(process->door);
        if (process->zombie() || !status || (top != nullptr && status->depth_of_owner() > depth) ||
            (top != nullptr && status->depth_of_owner() == depth && !is_first))
            continue;
        top = process;
        depth = status->depth_of_owner();
        is_first = status->is_first_of_namespace();
    }
    const int pid = top == nullptr ? ::getpid() : top->door;
    for (const char *name : {"user", "net", "ipc", "uts", "cgroup", "mnt"})
        all.own[name] = link_of(::getpid(), name);
    for (const char *name : {"pid", "time"})
        all.own[name] = link_of(pid, name);
    if (const auto file = open_file(link_path(pid, "pid"), O_RDONLY); is_first && file)
        all.own["pid"] = link_of_parent(file->get());
    const int beside = is_first ? top->parent : pid;
    if (all.own["pid"] != link_of(::getpid(), "pid") && all.own["pid"] == link_of(beside, "pid"))
        all.own["mnt"] = link_of(beside, "mnt");
    all.first_offsets = os::read_proc(pid, "timens_offsets").value_or("");
    all.own["pid_for_children"] = all.own["pid"];
    all.own["time_for_children"] = all.own["time"];
}

Result<> capture_namespaces(Context &context, const os::ProcStat &stat) {
    auto &all = context.state<Namespaces>();
    for (const std::string_view name : order) {
        if (stat.zombie() && name != "pid") // it has left all others
            continue;
        const bool of_children = name.ends_with("_for_children");
        const std::string kind(name.substr(0, name.find('_')));
        const std::string &own = all.own.find(name)->second;
        const std::string link = link_of(stat.door, name);
        const auto refuse = [&](std::string reason) {
            context.findings.push_back({stat.pid, stat.comm, fmt::format("{} namespace", kind), std::move(reason),
                                        "end this process before the suspend", true});
        };
        if (link.empty() && name == "pid_for_children" && !own.empty() && !link_of(stat.door, "pid").empty())
            refuse("the one that it has for its children has no process, or not any more, which cannot be restored");
        if (link.empty() || link == own || (of_children && link == link_of(stat.door, kind)))
            continue;
        if (name == "time_for_children") {
            refuse("one for its children alone cannot be restored");
            continue;
        }
        if (name == "user" && os::threads_of(stat).value_or(std::vector<int>()).size() > 1)
            refuse("a program with several threads in a user namespace of its own cannot be restored yet");
        const auto known = all.by_link.find(link);
        Result<model::ObjRef> id = 0U;
        if (known != all.by_link.end())
            id = known->second;
        else
            id = capture_one(context, stat, kind, link, TRY(abey::open_file(link_path(stat.door, name), O_RDONLY)));
        if (!id && (!context.preflight || id.error().code() != ENOENT)) // processes may go while we look
            refuse(id.error().message());
        else if (id && of_children)
            all.pids_of_children[stat.door] = *id;
        else if (id)
            all.by_pid[stat.door].push_back(*id);
    }
    if (stat.zombie())
        return {};
    if (const auto own = all.by_pid.find(stat.door); own != all.by_pid.end())
        for (const model::ObjRef id : own->second)
            if (context.tree.namespaces.at(id).type == "mnt")
                context.state<MountNamespaces>().by_pid[stat.door] = id;
    return check_threads(context, stat);
}

void check_user_namespaces(Context &context) {
    const auto &tree = context.tree;
    const auto wants_own = [&](model::ObjRef id) {
        const auto &type = tree.namespaces.at(id).type;
        return type == "user" || type == "mnt";
    };
    std::map<model::ObjRef, size_t> users;
    for (const model::Task &task : tree.tasks)
        for (const model::ObjRef used : {task.fs, task.descriptors})
            ++users[used];
    for (const model::Task &task : tree.tasks)
        if (std::ranges::any_of(task.namespaces, wants_own) && (users[task.fs] > 1 || users[task.descriptors] > 1))
            context.findings.push_back(
                {task.pid, task.comm, "namespaces",
                 "a process in a user or mount namespace of its own that shares its directory or "
                 "descriptors with another one (CLONE_FS, CLONE_FILES) cannot be restored yet",
                 "end this process before the suspend", true});
}

} // namespace abey::capture
