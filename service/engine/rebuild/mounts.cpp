// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/mounts.h"

#include "engine/os/errand.h"
#include "engine/os/mount_tree.h"
#include "engine/os/namespace.h"
#include "engine/rebuild/creating_as.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/own_namespaces.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <ranges>
#include <set>

#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

constexpr const char *session = "/session";
constexpr const char *build = "/build";

// Context::state
struct OwnMounts {
    // A mount namespace that nobody else sees: a copy of the session's mounts in /session, the file systems that are
    // made again in /fs/ID, /build, and our /proc.
    Fd workshop;
    std::set<model::ObjRef> file_systems; // those that are there
    std::map<model::ObjRef, std::vector<uint64_t>> ids;
    std::map<model::ObjRef, Fd> roots;
};

using Found = os::Errand::Found;

Result<Fd> mounts_of(int pid) { return abey::open_file(fmt::format("/proc/{}/ns/mnt", pid), O_RDONLY); }

Result<> enter(const Fd &ns, int kind) {
    if (::setns(ns.get(), kind) < 0)
        return fail(errno, "cannot enter a namespace");
    return {};
}

Result<> open_workshop(OwnMounts &own) {
    if (own.workshop)
        return {};
    const auto work = []() -> Result<Found> {
        TRY(os::leave_mounts());
        const Fd place = TRY(abey::open_file("/proc", O_PATH | O_DIRECTORY));
        const Fd proc = TRY(os::clone_mount(place));
        const Fd top = TRY(os::new_file_system("tmpfs", "abeyance", "mode=700"));
        for (const char *name : {"session", "fs", "build", "proc"})
            if (::mkdirat(top.get(), name, S_IRWXU) < 0)
                return fail(errno, "cannot make a directory");
        TRY(os::attach(top, place));
        const Fd proc_place = TRY(os::look_below(top, "proc"));
        TRY(os::attach(proc, proc_place));
        if (::fchdir(top.get()) < 0 || ::syscall(SYS_pivot_root, ".", "session") < 0)
            return fail(errno, "cannot make a mount namespace for what is mounted in others");
        return Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    own.workshop = TRY(mounts_of(errand.pid()));
    return {};
}

std::string workshop_place(model::ObjRef id) { return fmt::format("/fs/{}", id); }

const model::Namespace *users_of(const Context &context, model::ObjRef owner) {
    const auto found = context.tree.namespaces.find(owner);
    return found == context.tree.namespaces.end() ? nullptr : &found->second;
}

// It shows the processes of the pid namespace in which somebody makes it.
Result<Fd> new_proc(Context &context, const model::FileSystem &fs) {
    std::string path;
    if (fs.ns != 0) {
        const Fd *own = TRY(own_namespace(context, fs.ns));
        path = fmt::format("/proc/self/fd/{}", own->get());
    } else {
        path = fmt::format("/proc/{}/ns/pid", TRY(context.pid_here(context.tree.tasks.front().pid)));
    }
    const Fd pids = TRY(abey::open_file(path, O_RDONLY));
    const auto work = [&]() -> Result<Found> {
        TRY(enter(pids, CLONE_NEWPID));
        // Only a child is in it; with our table of descriptors. Which number the mount gets there is chosen here: its
        // exit status would not hold every number.
        Fd place = TRY(abey::open_file("/", O_PATH));
        clone_args arguments = {};
        arguments.flags = CLONE_FILES;
        arguments.exit_signal = SIGCHLD;
        const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
        if (child < 0)
            return fail(errno, "cannot make a process in a pid namespace");
        if (child == 0) {
            const auto made = os::new_file_system(fs.type, fs.source, fs.options);
            if (!made)
                ::_exit(std::max(made.error().code(), 1));
            ::_exit(::dup3(made->get(), place.get(), O_CLOEXEC) < 0 ? errno : 0);
        }
        int status = 0;
        while (::waitpid(static_cast<int>(child), &status, 0) < 0 && errno == EINTR) {
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            return fail(WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD, "cannot mount a proc");
        Found found;
        found.files.push_back(place.release());
        return found;
    };
    auto errand = TRY(os::Errand::run(work));
    return std::move(errand.files().front());
}

// Not yet anywhere.
Result<Fd> new_mount(Context &context, const model::FileSystem &fs) {
    auto &own = context.state<OwnMounts>();
    if (fs.type == "proc")
        return new_proc(context, fs);
    // who may mount the queues is a matter of their ipc namespace
    if (fs.owner == 0 || fs.type == "mqueue") {
        const auto inside = TRY(inside_namespace(context, fs.ns));
        return os::new_file_system(fs.type, fs.source, fs.options);
    }
    const Fd *users = TRY(own_namespace(context, fs.owner));
    const auto work = [&]() -> Result<Found> {
        TRY(enter(own.workshop, CLONE_NEWNS));
        TRY(enter(*users, CLONE_NEWUSER));
        if (::unshare(CLONE_NEWNS) < 0)
            return fail(errno, "cannot make a mount namespace");
        // ids in the options are those outside; the root directory gets its owner with the contents
        std::string options;
        for (const auto word : std::views::split(fs.options, ',')) {
            const std::string_view option(word.begin(), word.end());
            if (!option.starts_with("uid=") && !option.starts_with("gid="))
                options += fmt::format("{}{}", options.empty() ? "" : ",", option);
        }
        Found found;
        found.files.push_back(TRY(os::new_file_system(fs.type, fs.source, options)).release());
        return found;
    };
    auto errand = TRY(os::Errand::run(work));
    return std::move(errand.files().front());
}

Result<> make_file_system(Context &context, model::ObjRef id) {
    auto &own = context.state<OwnMounts>();
    if (!own.file_systems.insert(id).second)
        return {};
    const model::FileSystem &fs = *TRY(find(context.tree.file_systems, id));
    const Fd mount = TRY(new_mount(context, fs));
    TRY(fill_file_system(context, fs, mount, users_of(context, fs.owner)));
    if (fs.read_only)
        TRY(os::make_read_only(mount));
    const auto work = [&]() -> Result<Found> {
        TRY(enter(own.workshop, CLONE_NEWNS));
        if (::mkdir(workshop_place(id).c_str(), S_IRWXU) < 0)
            return fail(errno, "cannot make a directory");
        const Fd place = TRY(abey::open_file(workshop_place(id), O_PATH | O_DIRECTORY));
        TRY(os::attach(mount, place));
        return Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    return {};
}

// In the process that puts a namespace together.
class Assembly {
  public:
    Assembly(Context &context, const model::Namespace &ns) : context_(context), ns_(ns), mounts_(ns.mounts.size()) {}

    // New mounts of everything, attached nowhere. `outside`: the session's mount namespace, where names are known.
    Result<> gather(const Fd &outside) {
        const auto table = TRY(os::read_mounts(::getpid()));
        std::vector<std::pair<size_t, size_t>> from_session; // in our table, in the list
        for (size_t i = 0; i < mounts_.size(); ++i) {
            const model::Mount &mount = ns_.mounts[i];
            if (mount.file_system == 0)
                from_session.emplace_back(TRY_IN(source(table, mount), "{}", described(mount)), i);
            else
                mounts_[i] = TRY_IN(remade(mount), "{}", described(mount));
        }
        // what covers another is needed before it is taken away
        std::ranges::stable_sort(from_session, {},
                                 [&](const auto &one) { return os::in_the_way(table, one.first).size(); });
        std::vector<Fd> places(mounts_.size());
        for (const auto &[index, i] : from_session) {
            places[i] = TRY_IN(place_of(table, index, ns_.mounts[i]), "{}", described(ns_.mounts[i]));
            mounts_[i] = TRY_IN(os::clone_mount(places[i]), "{}", described(ns_.mounts[i]));
        }
        const Fd here = TRY(abey::open_file("/proc/self/ns/mnt", O_RDONLY));
        TRY(enter(outside, CLONE_NEWNS));
        for (const auto &[index, i] : from_session)
            TRY_IN(context_.files.recognise(ns_.mounts[i].inode, places[i]), "{}", described(ns_.mounts[i]));
        TRY(enter(here, CLONE_NEWNS));
        for (size_t i = 0; i < mounts_.size(); ++i)
            TRY_IN(os::set_attributes(mounts_[i], ns_.mounts[i].attributes), "{}", described(ns_.mounts[i]));
        return {};
    }

    // Puts those together for which `wanted` says so; the first one is attached to /build.
    Result<> put_together(const std::vector<bool> &wanted) {
        const Fd place = TRY(abey::open_file(build, O_PATH | O_DIRECTORY));
        TRY(os::attach(mounts_.front(), place));
        std::vector<size_t> order;
        for (size_t i = 1; i < mounts_.size(); ++i)
            if (wanted[i])
                order.push_back(i);
        // below one parent the deepest first: what is mounted higher would cover their places
        std::ranges::stable_sort(order, [&](size_t a, size_t b) {
            const auto &x = ns_.mounts[a], &y = ns_.mounts[b];
            return x.parent != y.parent ? x.parent < y.parent : x.place.size() > y.place.size();
        });
        for (const size_t i : order)
            TRY_IN(put(i), "{}", described(ns_.mounts[i]));
        return {};
    }

    [[nodiscard]] const Fd &root() const { return mounts_.front(); }

    // Those that are left, onto what is there by now.
    Result<> add_rest(const std::vector<bool> &done) {
        for (size_t i = 1; i < mounts_.size(); ++i) {
            if (done[i])
                continue;
            const auto place =
                TRY_IN(abey::open_file(ns_.mounts[i].place, O_PATH | O_NOFOLLOW), "{}", described(ns_.mounts[i]));
            TRY_IN(os::attach(mounts_[i], place), "{}", described(ns_.mounts[i]));
        }
        return {};
    }

    static std::string described(const model::Mount &mount) {
        return fmt::format("mount of {} on {}", mount.type, mount.place);
    }

  private:
    static Result<size_t> source(const os::MountTable &table, const model::Mount &mount) {
        const std::string place = mount.source_place == "/" ? session : session + mount.source_place;
        for (size_t i = 0; i < table.size(); ++i)
            if (table[i].place == place && os::level_of(table, i) == mount.source_level && table[i].type == mount.type)
                return i;
        return fail(ENOENT, "the session has no {} on {} now", mount.type, mount.source_place);
    }

    static Result<Fd> place_of(const os::MountTable &table, size_t index, const model::Mount &mount) {
        const Fd top = TRY(os::uncover(table, index));
        return TRY_IN(os::look_below(top, mount.source_path), "{}", mount.source_place);
    }

    static Result<Fd> remade(const model::Mount &mount) {
        const Fd top = TRY(abey::open_file(workshop_place(mount.file_system), O_PATH | O_NOFOLLOW));
        const Fd place = TRY(os::look_below(top, mount.root.substr(1)));
        return os::clone_mount(place);
    }

    Result<> put(size_t i) {
        const model::Mount &mount = ns_.mounts[i], &parent = ns_.mounts[mount.parent];
        const auto path = os::below(mount.place, parent.place);
        if (!path)
            return fail(EBADMSG, "it does not lie below {}", parent.place);
        const Fd place = TRY(os::look_below(mounts_[mount.parent], *path));
        return os::attach(mounts_[i], place);
    }

    Context &context_;
    const model::Namespace &ns_;
    std::vector<Fd> mounts_;
};

// Which mounts cannot be taken away by those in a namespace that belongs to a user namespace: everything from outside,
// and what it is mounted on.
std::vector<bool> locked(const model::Namespace &ns) {
    std::vector<bool> all(ns.mounts.size());
    for (size_t i = ns.mounts.size(); i-- > 0;) {
        all[i] = all[i] || i == 0 || ns.mounts[i].file_system == 0;
        if (all[i])
            all[ns.mounts[i].parent] = true;
    }
    return all;
}

// The ids of the mounts, and that they are as they were.
Result<std::vector<uint64_t>> match(const os::MountTable &table, const model::Namespace &ns) {
    std::vector<size_t> at(ns.mounts.size());
    std::vector<uint64_t> ids(ns.mounts.size());
    if (table.size() != ns.mounts.size())
        return fail(EINVAL, "{} mounts were made where {} were wanted", table.size(), ns.mounts.size());
    for (size_t i = 0; i < ns.mounts.size(); ++i) {
        const model::Mount &mount = ns.mounts[i];
        for (size_t k = i == 0 ? 0 : 1; i != 0 && k < table.size(); ++k)
            if (table[k].above == at[mount.parent] && table[k].place == mount.place)
                at[i] = k;
        const os::MountLine &line = table[at[i]];
        if ((i != 0 && at[i] == 0) || line.type != mount.type || line.attributes != mount.attributes)
            return fail(EINVAL, "its mount of {} on {} could not be made as it was", mount.type, mount.place);
        ids[i] = static_cast<uint64_t>(line.id);
    }
    return ids;
}

// How mounts propagate; only now, so that none of ours has.
Result<> set_groups(const Fd &file, const model::Namespace &ns, const std::vector<uint64_t> &ids) {
    const auto none = [](const model::Mount &mount) {
        return !mount.unbindable && mount.shared == 0 && mount.master == 0 && !mount.shared_with_session &&
               !mount.slave_of_session;
    };
    if (std::ranges::all_of(ns.mounts, none))
        return {};
    const auto work = [&]() -> Result<Found> {
        std::vector<Fd> sources(ns.mounts.size());
        for (size_t i = 0; i < ns.mounts.size(); ++i)
            if (ns.mounts[i].shared_with_session || ns.mounts[i].slave_of_session)
                sources[i] = TRY(abey::open_file(ns.mounts[i].source_place, O_PATH | O_NOFOLLOW));
        TRY(enter(file, CLONE_NEWNS));
        std::map<uint32_t, Fd> groups;
        for (size_t i = 0; i < ns.mounts.size(); ++i) {
            const model::Mount &mount = ns.mounts[i];
            if (none(mount))
                continue;
            const Fd own = TRY(abey::open_file(mount.place, O_PATH | O_NOFOLLOW));
            if (TRY(os::mount_id(own)) != ids[i])
                continue; // nobody can mount anything below one that is covered
            if (mount.unbindable) {
                TRY_IN(os::set_propagation(own, MS_UNBINDABLE), "{}", Assembly::described(mount));
                continue;
            }
            const Fd *peer = nullptr;
            if (sources[i])
                peer = &sources[i];
            else if (const auto known = groups.find(mount.master != 0 ? mount.master : mount.shared);
                     known != groups.end())
                peer = &known->second;
            // one that the session does not share any more is nobody's peer
            if (peer != nullptr && !os::join_group(own, *peer) && !sources[i])
                return fail(errno, "{}: cannot make it a peer of another mount", Assembly::described(mount));
            if (mount.master != 0 || mount.slave_of_session)
                TRY_IN(os::set_propagation(own, MS_SLAVE), "{}", Assembly::described(mount));
            if (mount.shared != 0 || mount.shared_with_session)
                TRY_IN(os::set_propagation(own, MS_SHARED), "{}", Assembly::described(mount));
            if (mount.shared != 0)
                groups.try_emplace(mount.shared, TRY(duplicate(own)));
        }
        return Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    return {};
}

} // namespace

Result<Fd> make_mounts(Context &context, const model::Namespace &ns, const Fd *owner) {
    auto &own = context.state<OwnMounts>();
    TRY(open_workshop(own));
    for (const model::Mount &mount : ns.mounts)
        if (mount.file_system != 0)
            TRY_IN(make_file_system(context, mount.file_system), "{}", Assembly::described(mount));
    // a terminal may be among what is mounted
    const auto is_terminal = [](const model::Mount &mount) {
        return mount.type == "devpts" && mount.file_system == 0 && !mount.source_path.empty();
    };
    if (std::ranges::any_of(ns.mounts, is_terminal))
        for (const auto &[id, terminal] : context.tree.terminals)
            TRY(terminal_slave(context, id));
    const Fd outside = TRY(abey::open_file("/proc/self/ns/mnt", O_RDONLY));
    const auto work = [&]() -> Result<Found> {
        TRY(enter(own.workshop, CLONE_NEWNS));
        TRY(os::leave_mounts());
        Assembly assembly(context, ns);
        TRY(assembly.gather(outside));
        if (owner == nullptr) {
            TRY(assembly.put_together(std::vector<bool>(ns.mounts.size(), true)));
            TRY(os::make_root(assembly.root()));
            return Found{};
        }
        // In a copy that is made by somebody of the user namespace, the kernel lets nobody there take away or change
        // what comes from outside (mount_namespaces(7), "Restrictions").
        const auto from_outside = locked(ns);
        TRY(assembly.put_together(from_outside));
        TRY(enter(*owner, CLONE_NEWUSER));
        if (::unshare(CLONE_NEWNS) < 0)
            return fail(errno, "cannot make a mount namespace");
        const Fd place = TRY(abey::open_file(build, O_PATH | O_DIRECTORY));
        const Fd root = TRY(os::clone_mount(place, true));
        TRY(os::attach(root, place));
        TRY(os::make_root(root));
        TRY(assembly.add_rest(from_outside));
        return Found{};
    };
    const auto errand = TRY(os::Errand::run(work));
    Fd file = TRY(mounts_of(errand.pid()));
    const auto table = TRY(os::read_mounts(errand.pid()));
    own.ids[ns.id] = TRY(match(table, ns));
    TRY(set_groups(file, ns, own.ids[ns.id]));
    auto &root = own.roots[ns.id] = TRY(abey::open_file(fmt::format("/proc/{}/root", errand.pid()), O_PATH));
    context.files.enter(ns.id, root.get());
    return file;
}

Result<Fd> open_inode(Context &context, const model::Inode &inode, uint32_t flags) {
    if (inode.mount_namespace == 0)
        return context.files.open(inode, flags);
    const model::Namespace &ns = *TRY(find(context.tree.namespaces, inode.mount_namespace));
    Fd file;
    {
        // it may have to be made
        const auto fs = context.tree.file_systems.find(ns.mounts.at(inode.mount).file_system);
        const CreatingAs creating(fs == context.tree.file_systems.end() ? nullptr
                                                                        : users_of(context, fs->second.owner));
        file = TRY(context.files.open(inode, flags));
    }
    const auto &ids = context.state<OwnMounts>().ids;
    const auto own = ids.find(inode.mount_namespace);
    if (own == ids.end() || inode.mount >= own->second.size() || TRY(os::mount_id(file)) != own->second[inode.mount])
        return fail(ESTALE, "{} is on another mount now", inode.path);
    return file;
}

} // namespace abey::rebuild
