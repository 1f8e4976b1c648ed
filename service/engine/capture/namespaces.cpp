// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/namespaces.h"

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

// What a resume gives a session itself: pids, clocks, and with pids a /proc in a mount namespace. The first process
// tells which these are; all others are the service's own.
void look_at_session(Namespaces &all, int pid) {
    for (const char *name : {"user", "net", "ipc", "uts", "cgroup", "mnt"})
        all.own[name] = link_of(::getpid(), name);
    for (const char *name : {"pid", "time"})
        all.own[name] = link_of(pid, name);
    if (all.own["pid"] != link_of(::getpid(), "pid"))
        all.own["mnt"] = link_of(pid, "mnt");
    all.own["pid_for_children"] = all.own["pid"];
    all.own["time_for_children"] = all.own["time"];
}

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

Result<> look_into(Namespaces::Held &held, model::Namespace &ns) {
    if (ns.type == "net")
        return look_into_network(held, ns);
    if (ns.type == "user")
        return look_into_users(held, ns);
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
    TRY(look_into(held, ns));
    ns.id = context.tree.next_id();
    const model::ObjRef id = ns.id;
    all.by_link.emplace(link, id);
    all.held.emplace(id, std::move(held));
    context.tree.namespaces.emplace(id, std::move(ns));
    return id;
}

Result<model::ObjRef> capture_of(Context &context, const os::ProcStat &stat, const std::string &name,
                                 const std::string &link) {
    return capture_one(context, stat, name, link, TRY(abey::open_file(link_path(stat.pid, name), O_RDONLY)));
}

} // namespace

model::ObjRef Namespaces::of_queue_device(uint64_t device) const {
    for (const auto &[id, one] : held)
        if (one.queue_device == device && one.type == "ipc")
            return id;
    return 0;
}

Result<> capture_namespaces(Context &context, const os::ProcStat &stat) {
    auto &all = context.state<Namespaces>();
    if (stat.zombie())
        return {};
    if (all.own.empty())
        look_at_session(all, stat.pid);
    std::string before;
    for (const auto &[name, own] : all.own) {
        const std::string link = link_of(stat.pid, name);
        if (link.empty() || link == own || link == before) // that of the children has been told with its own
            continue;
        before = link;
        const auto refuse = [&](std::string reason) {
            context.findings.push_back({stat.pid, stat.comm, fmt::format("{} namespace", name), std::move(reason),
                                        "end this process before the suspend", true});
        };
        const auto known = all.by_link.find(link);
        if (name == "user" && os::threads_of(stat.pid).value_or(std::vector<int>()).size() > 1)
            refuse("a program with several threads in a user namespace of its own cannot be restored yet");
        if (known != all.by_link.end()) {
            all.by_pid[stat.pid].push_back(known->second);
        } else if (name == "uts" || name == "ipc" || name == "user" || name == "net") {
            const auto id = capture_of(context, stat, name, link);
            if (id)
                all.by_pid[stat.pid].push_back(*id);
            else if (!context.preflight || id.error().code() != ENOENT) // processes may go while we look
                refuse(id.error().message());
        } else {
            refuse("namespaces of its own cannot be restored yet");
        }
    }
    return {};
}

void check_user_namespaces(Context &context) {
    const auto &tree = context.tree;
    const auto is_user = [&](model::ObjRef id) { return tree.namespaces.at(id).type == "user"; };
    std::map<model::ObjRef, size_t> users;
    for (const model::Task &task : tree.tasks)
        for (const model::ObjRef used : {task.fs, task.descriptors})
            ++users[used];
    for (const model::Task &task : tree.tasks)
        if (std::ranges::any_of(task.namespaces, is_user) && (users[task.fs] > 1 || users[task.descriptors] > 1))
            context.findings.push_back({task.pid, task.comm, "user namespace",
                                        "a process in a user namespace of its own that shares its directory or "
                                        "descriptors with another one (CLONE_FS, CLONE_FILES) cannot be restored yet",
                                        "end this process before the suspend", true});
}

} // namespace abey::capture
