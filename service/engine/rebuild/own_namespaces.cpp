// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/own_namespaces.h"

#include "engine/os/cgroup.h"
#include "engine/os/errand.h"
#include "engine/os/network.h"
#include "engine/os/outpost.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/mounts.h"

#include <algorithm>
#include <cerrno>
#include <sstream>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

// Context::state
struct OwnNamespaces {
    std::map<model::ObjRef, Fd> files;
};

// In the namespace.
Result<> fill_namespace(const model::Namespace &ns) {
    if (ns.type == "uts" && (::sethostname(ns.host_name.data(), ns.host_name.size()) < 0 ||
                             ::setdomainname(ns.domain_name.data(), ns.domain_name.size()) < 0))
        return fail(errno, "cannot set the host's name to \"{}\"", ns.host_name);
    for (const model::NamespaceSetting &setting : ns.settings) {
        const std::string path = "/proc/sys/" + setting.name;
        if (const auto now = read_file(path); now && *now == setting.value)
            continue;
        TRY_IN(write_file(path, setting.value), "cannot set {} again", setting.name);
    }
    if (ns.loopback_up)
        return os::raise_loopback();
    return {};
}

Result<Fd> namespace_file(int pid, std::string_view type) {
    return abey::open_file(fmt::format("/proc/{}/ns/{}", pid, type), O_RDONLY);
}

// As the namespace above has the ids, `above` being its own ranges; none: it is the session's.
Result<std::string> map_text(const std::vector<model::IdRange> &ranges, const std::vector<model::IdRange> *above) {
    std::string text;
    for (const model::IdRange &range : ranges) {
        uint32_t outside = range.outside;
        if (above != nullptr) {
            const auto within = std::ranges::find_if(*above, [&](const model::IdRange &candidate) {
                return range.outside >= candidate.outside && range.outside - candidate.outside < candidate.count;
            });
            if (within == above->end())
                return fail(EBADMSG, "id {} is not known in the user namespace above", range.outside);
            outside = within->inside + (range.outside - within->outside);
        }
        text += fmt::format("{} {} {}\n", range.inside, outside, range.count);
    }
    return text;
}

// Who makes a user namespace must have ids that the one above knows; nobody can ask which group it was.
uint32_t known_group(const model::Namespace &above) {
    for (const model::IdRange &range : above.gids)
        if (range.outside == 0)
            return 0;
    return above.gids.empty() ? 0 : above.gids.front().outside;
}

// The kernel takes maps only from a process of the namespace above (user_namespaces(7)).
Result<Fd> make_users(const model::Namespace &ns, const model::Namespace *above, int above_file) {
    const auto outpost = TRY(os::Outpost::send({.user = ns.creator,
                                                .group = above == nullptr ? 0 : known_group(*above),
                                                .user_namespace = above_file,
                                                .make = CLONE_NEWUSER}));
    const auto proc = [&](const char *name) { return fmt::format("/proc/{}/{}", outpost.pid(), name); };
    if (ns.setgroups_denied)
        TRY(write_file(proc("setgroups"), "deny"));
    const std::string uids = TRY(map_text(ns.uids, above ? &above->uids : nullptr));
    const std::string gids = TRY(map_text(ns.gids, above ? &above->gids : nullptr));
    if (!uids.empty())
        TRY(os::write_as_of(above_file, proc("uid_map"), uids));
    if (!gids.empty())
        TRY(os::write_as_of(above_file, proc("gid_map"), gids));
    return namespace_file(outpost.pid(), ns.type);
}

// Nanoseconds, of one line of /proc/PID/timens_offsets (time_namespaces(7)).
int64_t offset_of(const std::string &text, std::string_view clock) {
    std::istringstream words(text);
    std::string name;
    for (int64_t seconds = 0, nanoseconds = 0; words >> name >> seconds >> nanoseconds;)
        if (name == clock)
            return seconds * 1000000000 + nanoseconds;
    return 0;
}

// Ahead of the clocks that the session has now.
Result<Fd> make_time(Context &context, const model::Namespace &ns, int owner) {
    const int first = TRY(context.pid_here(context.tree.tasks.front().pid));
    const std::string session = TRY(read_file(fmt::format("/proc/{}/timens_offsets", first)));
    const auto line = [&](const char *clock, int64_t ahead) {
        constexpr int64_t second = 1000000000;
        const int64_t offset = offset_of(session, clock) + ahead;
        const int64_t rest = (offset % second + second) % second; // the kernel wants none that is negative
        return fmt::format("{} {} {}\n", clock, (offset - rest) / second, rest);
    };
    const auto work = [&]() -> Result<os::Errand::Found> {
        if (owner >= 0 && ::setns(owner, CLONE_NEWUSER) < 0)
            return fail(errno, "cannot enter its user namespace");
        if (::unshare(CLONE_NEWTIME) < 0)
            return fail(errno, "cannot make it");
        TRY(write_file("/proc/self/timens_offsets", line("monotonic", ns.monotonic) + line("boottime", ns.boottime)));
        return os::Errand::Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    return abey::open_file(fmt::format("/proc/{}/ns/time_for_children", errand.pid()), O_RDONLY);
}

// Its root is the cgroup of who makes it (cgroup_namespaces(7)).
Result<Fd> make_cgroup(Context & /*context*/, const model::Namespace &ns, int owner) {
    const std::string own = os::cgroup_directory(TRY(read_file("/proc/self/mountinfo")), os::cgroup_of(::getpid()));
    if (own.empty())
        return fail(ENOTSUP, "its root is a cgroup of its own ({}), but there is no cgroup v2 here", ns.cgroup);
    const auto work = [&]() -> Result<os::Errand::Found> {
        TRY_IN(write_file(own + "/" + ns.cgroup + "/cgroup.procs", std::to_string(::getpid())), "cgroup {}", ns.cgroup);
        if (owner >= 0 && ::setns(owner, CLONE_NEWUSER) < 0)
            return fail(errno, "cannot enter its user namespace");
        if (::unshare(CLONE_NEWCGROUP) < 0)
            return fail(errno, "cannot make it");
        return os::Errand::Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    return namespace_file(errand.pid(), ns.type);
}

Result<Fd> make_namespace(Context &context, const model::Namespace &ns) {
    const model::Namespace *owner = nullptr;
    int owner_file = -1;
    if (ns.owner != 0) {
        owner = TRY(find(context.tree.namespaces, ns.owner));
        const Fd *file = TRY(own_namespace(context, ns.owner));
        owner_file = file->get();
    }
    if (ns.type == "user")
        return make_users(ns, owner, owner_file);
    if (ns.type == "pid") { // made with its first process
        for (const model::Task &task : context.tree.tasks)
            if (!task.inner_pids.empty() && task.inner_pids.back() == 1 &&
                namespace_of(context.tree, task, "pid") == ns.id)
                return namespace_file(TRY(context.pid_here(task.pid)), ns.type);
        return fail(EBADMSG, "it has no first process");
    }
    if (ns.type == "time")
        return make_time(context, ns, owner_file);
    if (ns.type == "cgroup" && !ns.cgroup.empty())
        return make_cgroup(context, ns, owner_file);
    if (ns.type == "mnt") {
        const Fd *users = ns.owner == 0 ? nullptr : TRY(own_namespace(context, ns.owner));
        return make_mounts(context, ns, users);
    }
    if (owner == nullptr) {
        const auto inside = TRY(os::Inside::of_new(ns.type));
        TRY(fill_namespace(ns));
        return inside.file();
    }
    const auto outpost = TRY(os::Outpost::send({.user_namespace = owner_file, .make = os::namespace_flag(ns.type)}));
    Fd file = TRY(namespace_file(outpost.pid(), ns.type));
    const auto inside = TRY(os::Inside::of(file, ns.type));
    TRY(fill_namespace(ns));
    return file;
}

} // namespace

// Owners have smaller ids than what they own, so they are there.
Result<> make_namespaces(Context &context) {
    for (const auto &[id, ns] : context.tree.namespaces) {
        Fd file = TRY_IN(make_namespace(context, ns), "{} namespace", ns.type);
        context.state<OwnNamespaces>().files.insert_or_assign(id, std::move(file));
    }
    return {};
}

Result<> enter_namespaces(Context &context, Husk &husk, const model::Task &task) {
    if (task.namespaces.empty())
        return {};
    Calls calls(husk);
    for (const model::ObjRef id : task.namespaces) {
        const model::Namespace &ns = *TRY(find(context.tree.namespaces, id));
        if (ns.type == "user" || ns.type == "pid") // it has been born into that
            continue;
        const Fd *file = TRY(own_namespace(context, id));
        TRY(calls.room_for());
        auto &batch = calls.batch();
        batch.must(fmt::format("cannot take the {} namespace", ns.type), SYS_pidfd_getfd, husk.shop().worker_number,
                   file->get(), 0);
        batch.must(fmt::format("cannot enter the {} namespace", ns.type), SYS_setns, 0, os::namespace_flag(ns.type));
        batch.must("close", SYS_close, 0);
    }
    return calls.flush();
}

Result<const Fd *> own_namespace(Context &context, model::ObjRef id) {
    const auto &files = context.state<OwnNamespaces>().files;
    const auto file = files.find(id);
    if (file == files.end())
        return fail(EBADMSG, "namespace {} of the checkpoint has not been made", id);
    return &file->second;
}

Result<std::optional<os::Inside>> inside_namespace(Context &context, model::ObjRef id) {
    if (id == 0)
        return std::nullopt;
    const model::Namespace &ns = *TRY(find(context.tree.namespaces, id));
    const Fd *file = TRY(own_namespace(context, id));
    return std::optional<os::Inside>(TRY(os::Inside::of(*file, ns.type)));
}

model::ObjRef namespace_of(const model::Tree &tree, const model::Task &task, std::string_view type) {
    for (const model::ObjRef id : task.namespaces)
        if (const auto ns = tree.namespaces.find(id); ns != tree.namespaces.end() && ns->second.type == type)
            return id;
    return 0;
}

namespace {

// Does the one see the other in its pid namespace?
bool sees(const model::Tree &tree, const model::Task &task, const model::Task &other) {
    model::ObjRef place = namespace_of(tree, other, "pid");
    for (size_t depth = other.inner_pids.size(); depth > task.inner_pids.size(); --depth) {
        const auto own = tree.namespaces.find(place);
        place = own == tree.namespaces.end() ? 0 : own->second.parent;
    }
    return other.inner_pids.size() >= task.inner_pids.size() && place == namespace_of(tree, task, "pid");
}

} // namespace

int process_seen_by(const model::Tree &tree, const model::Task &task, int pid) {
    if (task.inner_pids.empty())
        return pid;
    const auto found = std::ranges::find_if(
        tree.tasks, [&](const model::Task &other) { return other.pid == pid && sees(tree, task, other); });
    return found == tree.tasks.end() ? 0 : found->inner_pids[task.inner_pids.size() - 1];
}

int group_seen_by(const model::Tree &tree, const model::Task &task, int group) {
    if (task.inner_pids.empty())
        return group;
    const size_t place = task.inner_pids.size() - 1;
    if (group == task.process_group)
        return task.inner_groups[place];
    for (const model::Task &member : tree.tasks)
        if ((member.pid == group || member.process_group == group) && sees(tree, task, member))
            return member.pid == group ? member.inner_pids[place] : member.inner_groups[place];
    return 0;
}

} // namespace abey::rebuild
