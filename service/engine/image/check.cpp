// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/check.h"

#include "engine/image/common_pages.h"
#include "engine/image/digest.h"
#include "engine/os/inet_address.h"
#include "engine/os/kernel.h"
#include "engine/os/vdso.h"
#include "engine/request_ring.h"

#include <algorithm>
#include <csignal>
#include <set>

#include <sys/user.h>

namespace abey::image {

namespace {

constexpr uint32_t largest_page_shift = 46;
constexpr int largest_pid = 4194304; // PID_MAX_LIMIT, proc(5)
constexpr size_t signal_count = 64;
constexpr size_t least_xstate = 576;
constexpr size_t largest_xstate = 65536;
constexpr int largest_descriptor = 1 << 20;

template <class T>
Result<> refers(const std::map<model::ObjRef, T> &objects, model::ObjRef id, bool may_be_none, std::string_view what) {
    if (id == 0 ? may_be_none : objects.contains(id))
        return {};
    return fail(0, "its {} {} does not exist; the checkpoint is damaged", what, id);
}

Result<> check_pending(const std::vector<model::Bytes> &pending) {
    for (const model::Bytes &info : pending)
        if (info.size() != sizeof(siginfo_t))
            return fail(0, "a pending signal has {} bytes; the checkpoint is damaged", info.size());
    return {};
}

Result<> check_path(const model::Bytes &path) {
    if (path.find('\0') != model::Bytes::npos)
        return fail(0, "a path has a NUL in it; the checkpoint is damaged");
    return {};
}

Result<> check_runs(const std::vector<model::PageRun> &runs, uint64_t end, uint64_t pages_size) {
    uint64_t last = 0;
    for (const model::PageRun &run : runs) {
        if (run.length == 0 || (run.address | run.length | run.offset) % page != 0 || run.address < last ||
            run.length > end || run.address > end - run.length || run.length > pages_size ||
            run.offset > pages_size - run.length)
            return fail(0, "pages at {:#x} ({} bytes, offset {}) are out of place; the checkpoint is damaged",
                        run.address, run.length, run.offset);
        last = run.address + run.length;
    }
    return {};
}

// Below the session's cgroup directories of these names are made.
Result<> check_cgroup_name(const model::Bytes &name) {
    constexpr size_t longest = 4096;
    const std::string path = "/" + name + "/";
    if (path.find("/../") != std::string::npos || path.find("/./") != std::string::npos ||
        path.find('\0') != std::string::npos || name.starts_with('/') || name.size() > longest)
        return fail(0, "\"{}\" is not the name of a cgroup; the checkpoint is damaged", name);
    return {};
}

Result<> check_cgroup(const model::Cgroup &cgroup) {
    TRY(check_cgroup_name(cgroup.path));
    for (const model::CgroupFile &file : cgroup.files)
        if (file.name.empty() || file.name.find_first_of(std::string_view("/\0", 2)) != std::string::npos ||
            file.name.find('.') == std::string::npos || file.name.starts_with('.') || (file.mode & ~07777U) != 0 ||
            model::is_action_in_cgroup(file.name) ||
            (model::is_delegated_in_cgroup(file.name) && !file.value.empty()) ||
            (file.name.starts_with("cgroup.") && file.value.find_first_not_of("0123456789max\n") != std::string::npos))
            return fail(0, "\"{}\" is not a setting of a cgroup; the checkpoint is damaged", file.name);
    return {};
}

Result<> check_thread(const model::Thread &thread, std::set<int> &ids) {
    if (thread.tid <= 0 || thread.tid > largest_pid || !ids.insert(thread.tid).second)
        return fail(0, "the thread id {} is not valid or occurs twice; the checkpoint is damaged", thread.tid);
    if (thread.ended)
        return {};
    TRY(check_cgroup_name(thread.cgroup));
    if (thread.registers.size() != sizeof(user_regs_struct) || thread.xstate.size() < least_xstate ||
        thread.xstate.size() > largest_xstate)
        return fail(0, "thread {} has {} and {} bytes of registers; the checkpoint is damaged", thread.tid,
                    thread.registers.size(), thread.xstate.size());
    return check_pending(thread.pending);
}

Result<> check_task(const model::Tree &tree, const model::Task &task, const std::set<int> &earlier,
                    std::set<int> &ids) {
    if (task.pid <= 0 || task.pid > largest_pid || task.process_group < 0 || task.session < 0)
        return fail(0, "its ids are not valid; the checkpoint is damaged");
    if (task.parent != 0 && !earlier.contains(task.parent))
        return fail(0, "its parent {} does not come before it; the checkpoint is damaged", task.parent);
    if (task.state == model::TaskState::zombie)
        return ids.insert(task.pid).second ? Result<>() : fail(0, "its id occurs twice; the checkpoint is damaged");
    if (task.threads.empty() || task.threads.front().tid != task.pid || task.actions.size() != signal_count)
        return fail(0, "its threads or signal actions are incomplete; the checkpoint is damaged");
    const auto ended = std::ranges::count_if(task.threads, &model::Thread::ended);
    if (ended > 1 || (ended == 1 && (!task.threads.front().ended || task.threads.size() == 1)))
        return fail(0, "threads of it that have ended are among those that run; the checkpoint is damaged");
    for (const model::Thread &thread : task.threads)
        TRY(check_thread(thread, ids));
    TRY(check_pending(task.pending));
    TRY(check_cgroup_name(task.cgroup));
    TRY(refers(tree.address_spaces, task.address_space, false, "address space"));
    TRY(refers(tree.descriptor_tables, task.descriptors, false, "descriptor table"));
    TRY(refers(tree.fs_contexts, task.fs, false, "file system context"));
    for (const model::ObjRef ns : task.namespaces)
        TRY(refers(tree.namespaces, ns, false, "namespace"));
    return refers(tree.terminals, task.terminal, true, "terminal");
}

// A path in a directory that it must not leave.
Result<> check_below(const model::Bytes &path) {
    TRY(check_path(path));
    const std::string whole = "/" + path + "/";
    if (whole.find("/../") != std::string::npos || whole.find("/./") != std::string::npos || path.starts_with('/'))
        return fail(0, "the path \"{}\" leads to somewhere else; the checkpoint is damaged", path);
    return {};
}

// Parents come first.
Result<> check_mounts(const model::Tree &tree, const model::Namespace &ns) {
    if ((ns.type == "mnt") == ns.mounts.empty())
        return fail(0, "it has {} mounts; the checkpoint is damaged", ns.mounts.size());
    for (size_t i = 0; i < ns.mounts.size(); ++i) {
        const model::Mount &mount = ns.mounts[i];
        if ((i == 0 ? mount.parent != 0 : mount.parent >= i) || (i == 0 && mount.place != "/") ||
            !mount.place.starts_with('/') || !mount.root.starts_with('/'))
            return fail(0, "its mount on \"{}\" is out of place; the checkpoint is damaged", mount.place);
        TRY(check_path(mount.type));
        TRY(check_below(mount.place.substr(1)));
        TRY(check_below(mount.source_path));
        TRY(refers(tree.file_systems, mount.file_system, true, "file system"));
        if (mount.file_system == 0) {
            TRY(check_path(mount.source_place));
            TRY(check_path(mount.inode.path));
            if (!mount.source_place.starts_with('/') || mount.inode.mount_namespace != 0)
                return fail(0, "its mount on \"{}\" comes from nowhere; the checkpoint is damaged", mount.place);
        } else {
            TRY(check_below(mount.root.substr(1)));
        }
    }
    return {};
}

Result<> check_file_system(const model::Tree &tree, const model::FileSystem &fs) {
    for (const model::Bytes *text : {&fs.type, &fs.source, &fs.options})
        TRY(check_path(*text));
    if (fs.type != "tmpfs" && fs.type != "proc" && fs.type != "devpts" && fs.type != "mqueue")
        return fail(0, "\"{}\" is not a kind of file system that can be made; the checkpoint is damaged", fs.type);
    TRY(refers(tree.namespaces, fs.owner, true, "owner"));
    TRY(refers(tree.namespaces, fs.ns, true, "namespace"));
    if ((fs.owner != 0 && tree.namespaces.at(fs.owner).type != "user") ||
        (fs.ns != 0 && tree.namespaces.at(fs.ns).type != (fs.type == "proc" ? "pid" : "ipc")))
        return fail(0, "its namespaces are of the wrong kind; the checkpoint is damaged");
    for (const model::FileSystemEntry &entry : fs.entries) {
        TRY(check_below(entry.path));
        TRY(check_below(entry.link));
        TRY(check_path(entry.target));
        TRY(refers(tree.inodes, entry.inode, true, "inode"));
        if (entry.inode != 0 && tree.inodes.at(entry.inode).mount_namespace != fs.id)
            return fail(0, "its file \"{}\" is one of somewhere else; the checkpoint is damaged", entry.path);
        for (const auto &[name, value] : entry.xattrs)
            TRY(check_path(name));
    }
    return {};
}

// Settings are written below /proc/sys. Owners come first.
Result<> check_namespace(const model::Tree &tree, const model::Namespace &ns) {
    TRY(refers(tree.namespaces, ns.owner, true, "owner"));
    if (ns.owner != 0 && (tree.namespaces.at(ns.owner).type != "user" || ns.owner >= ns.id))
        return fail(0, "its owner {} is not a user namespace; the checkpoint is damaged", ns.owner);
    if (ns.type != "uts" && ns.type != "ipc" && ns.type != "user" && ns.type != "net" && ns.type != "mnt" &&
        ns.type != "pid" && ns.type != "time" && ns.type != "cgroup")
        return fail(0, "\"{}\" is not a kind of namespace that can be made; the checkpoint is damaged", ns.type);
    TRY(check_mounts(tree, ns));
    TRY(check_below(ns.cgroup));
    TRY(refers(tree.namespaces, ns.parent, true, "parent"));
    if (ns.parent != 0 && (ns.type != "pid" || tree.namespaces.at(ns.parent).type != "pid" || ns.parent >= ns.id))
        return fail(0, "its parent {} is not a pid namespace; the checkpoint is damaged", ns.parent);
    constexpr size_t most_ranges = 340; // UID_GID_MAP_MAX_EXTENTS
    if (ns.uids.size() > most_ranges || ns.gids.size() > most_ranges)
        return fail(0, "it has {} ranges of ids; the checkpoint is damaged", std::max(ns.uids.size(), ns.gids.size()));
    for (const model::NamespaceSetting &setting : ns.settings)
        if (!(setting.name.starts_with("kernel/") || setting.name.starts_with("fs/mqueue/") ||
              setting.name.starts_with("net/")) ||
            setting.name.find("..") != model::Bytes::npos || setting.name.find('\0') != model::Bytes::npos)
            return fail(0, "\"{}\" is not a setting of a namespace; the checkpoint is damaged", setting.name);
    return {};
}

// Where System V objects and message queues are.
Result<> check_ipc_namespace(const model::Tree &tree, model::ObjRef id) {
    TRY(refers(tree.namespaces, id, true, "ipc namespace"));
    if (id != 0 && tree.namespaces.at(id).type != "ipc")
        return fail(0, "its namespace {} is not one of ipc; the checkpoint is damaged", id);
    return {};
}

// The whole of a mapping of its own, and as many events as it says.
Result<> check_ring(const model::AddressSpace &space, const model::RequestRing &ring) {
    const auto mapping = std::ranges::find(space.mappings, ring.address, &model::Mapping::start);
    const uint64_t length = engine::ring_length(ring.count);
    if (mapping == space.mappings.end() || mapping->kind != model::MappingKind::request_ring || length == 0 ||
        mapping->end - mapping->start != length || ring.head >= ring.count || ring.tail >= ring.count ||
        ring.events.size() != uint64_t{(ring.tail + ring.count - ring.head) % ring.count} * engine::ring_event)
        return fail(0, "the ring of asynchronous I/O at {:x} is out of place; the checkpoint is damaged", ring.address);
    return {};
}

Result<> check_space(const model::Tree &tree, const model::AddressSpace &space, uint64_t pages_size) {
    TRY(refers(tree.open_files, space.executable, true, "executable"));
    if (space.layout.auxv.size() > page)
        return fail(0, "its auxiliary vector has {} bytes; the checkpoint is damaged", space.layout.auxv.size());
    uint64_t last = 0;
    for (const model::Mapping &mapping : space.mappings) {
        if (mapping.start < last || mapping.end <= mapping.start || mapping.end > kernel::end_of_addresses ||
            (mapping.start | mapping.end | mapping.file_offset) % page != 0)
            return fail(0, "the mapping {:x}-{:x} is out of place; the checkpoint is damaged", mapping.start,
                        mapping.end);
        last = mapping.end;
        if (mapping.huge_page_shift > largest_page_shift)
            return fail(0, "the mapping {:x}-{:x} has pages of 2^{} bytes; the checkpoint is damaged", mapping.start,
                        mapping.end, mapping.huge_page_shift);
        TRY(refers(tree.open_files, mapping.file, mapping.kind != model::MappingKind::file, "mapped file"));
    }
    for (const model::RequestRing &ring : space.rings)
        TRY(check_ring(space, ring));
    TRY(check_runs(space.guards, kernel::end_of_addresses, kernel::end_of_addresses));
    return check_runs(space.pages, kernel::end_of_addresses, pages_size);
}

struct PayloadCheck {
    const model::Tree &tree;
    Result<> operator()(const std::monostate & /*none*/) const { return fail(0, "it has no kind"); }
    Result<> operator()(const model::DiskFile &file) const {
        TRY(refers(tree.inodes, file.inode, false, "inode"));
        return check_path(file.name);
    }
    Result<> operator()(const model::Device &file) const { return refers(tree.inodes, file.inode, false, "inode"); }
    Result<> operator()(const model::PipeEnd &end) const { return refers(tree.pipes, end.pipe, false, "pipe"); }
    Result<> operator()(const model::SharedMemoryFile &file) const {
        return refers(tree.shared_memory, file.memory, false, "shared memory");
    }
    Result<> operator()(const model::PollSet &set) const {
        for (const model::PollTarget &target : set.targets)
            TRY(refers(tree.open_files, target.open_file, false, "epoll target"));
        return {};
    }
    Result<> operator()(const model::ProcessFile &file) const {
        TRY(check_path(file.path));
        if (file.pid <= 0 || file.path.find("..") != model::Bytes::npos)
            return fail(0, "the file \"{}\" of process {} is none; the checkpoint is damaged", file.path, file.pid);
        return {};
    }
    Result<> operator()(const model::NamespaceFile &file) const {
        if (file.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") != model::Bytes::npos)
            return fail(0, "\"{}\" is not the name of a namespace; the checkpoint is damaged", file.name);
        return refers(tree.namespaces, file.own_namespace, true, "namespace");
    }
    Result<> operator()(const model::MessageQueue &queue) const {
        TRY(check_ipc_namespace(tree, queue.ipc_namespace));
        return check_path(queue.name);
    }
    Result<> operator()(const model::FileWatches &file) const {
        for (const model::Watch &watch : file.watches) {
            TRY(refers(tree.inodes, watch.inode, true, "watched file"));
            TRY(check_path(watch.path));
            if (watch.number <= 0)
                return fail(0, "a watch has the number {}; the checkpoint is damaged", watch.number);
        }
        return {};
    }
    Result<> operator()(const model::FileMarks &file) const {
        if (!file.privileged && (file.uid == ~0U || file.gid == ~0U))
            return fail(0, "a group of marks has no maker; the checkpoint is damaged");
        for (const model::FileMark &mark : file.marks) {
            TRY(refers(tree.inodes, mark.watch.inode, true, "marked file"));
            TRY(check_path(mark.watch.path));
        }
        return {};
    }
    Result<> operator()(const model::SocketFile &file) const {
        return refers(tree.unix_sockets, file.socket, false, "unix socket");
    }
    Result<> operator()(const model::InetSocketFile &file) const {
        return refers(tree.inet_sockets, file.socket, false, "internet socket");
    }
    Result<> operator()(const model::TerminalEnd &end) const {
        return refers(tree.terminals, end.terminal, false, "terminal");
    }
    template <class T> Result<> operator()(const T & /*self-contained*/) const { return {}; }
};

Result<> check_table(const model::Tree &tree, const model::DescriptorTable &table) {
    int last = -1;
    for (const model::Descriptor &descriptor : table.descriptors) {
        if (descriptor.number <= last || descriptor.number > largest_descriptor)
            return fail(0, "descriptor {} is out of order; the checkpoint is damaged", descriptor.number);
        last = descriptor.number;
        TRY(refers(tree.open_files, descriptor.open_file, false, "open file"));
    }
    return {};
}

Result<> check_inode(const model::Tree &tree, const model::Inode &inode) {
    const auto ns = tree.namespaces.find(inode.mount_namespace);
    const bool known = ns != tree.namespaces.end() ? inode.mount < ns->second.mounts.size()
                                                   : tree.file_systems.contains(inode.mount_namespace);
    if (inode.mount_namespace == 0 ? inode.remade : !known)
        return fail(0, "its mount namespace {} does not exist; the checkpoint is damaged", inode.mount_namespace);
    TRY(check_path(inode.path));
    TRY(check_path(inode.other_path));
    for (const auto &directory : inode.above)
        if ((directory.mode & ~07777U) != 0)
            return fail(0, "a directory above it has the mode {:o}; the checkpoint is damaged", directory.mode);
    const bool made_anew =
        inode.kept.strategy == (S_ISREG(inode.mode) ? model::Strategy::embed : model::Strategy::empty) &&
        (S_ISREG(inode.mode) || S_ISDIR(inode.mode) || S_ISLNK(inode.mode));
    if (inode.unheld && (inode.naming != model::Naming::named || inode.mount_namespace != 0 || !made_anew))
        return fail(0, "nobody holds it, and it cannot be put back; the checkpoint is damaged");
    TRY(check_path(inode.kept.place));
    const model::Bytes &blob = inode.kept.blob;
    if (blob.find('/') != model::Bytes::npos || blob == ".." || blob == "." || blob.find('\0') != model::Bytes::npos)
        return fail(0, "its contents are in a file of the name \"{}\"; the checkpoint is damaged", blob);
    return {};
}

Result<> check_pipe(const model::Tree &tree, const model::Pipe &pipe) {
    uint64_t size = 0;
    for (const uint32_t packet : pipe.packets)
        size += packet;
    if (!pipe.packets.empty() && size != pipe.contents.size())
        return fail(0, "its packets have {} bytes, its contents {}; the checkpoint is damaged", size,
                    pipe.contents.size());
    return refers(tree.inodes, pipe.inode, true, "inode");
}

Result<> check_socket(const model::Tree &tree, const model::UnixSocket &socket) {
    TRY(refers(tree.unix_sockets, socket.peer, true, "peer"));
    for (const model::ObjRef waiting : socket.pending)
        TRY(refers(tree.unix_sockets, waiting, true, "waiting connection"));
    TRY(check_path(socket.directory));
    for (const model::SocketMessage &message : socket.queue)
        for (const model::ObjRef file : message.rights)
            TRY(refers(tree.open_files, file, false, "file in flight"));
    return {};
}

Result<> check_address(const model::Bytes &address, bool may_be_none) {
    if (address.empty() ? may_be_none : os::InetAddress::parse(address).has_value())
        return {};
    return fail(0, "an address of {} bytes is not one of the internet; the checkpoint is damaged", address.size());
}

// What its numbers lead to when the connection is made again, the rebuilding side checks.
Result<> check_inet_socket(const model::Tree &tree, const model::InetSocket &socket) {
    TRY(check_address(socket.local, true));
    TRY(check_address(socket.remote, true));
    TRY(refers(tree.inet_sockets, socket.peer, true, "peer"));
    TRY(refers(tree.inet_sockets, socket.listener, true, "listener"));
    for (const model::InetDatagram &datagram : socket.datagrams) {
        TRY(check_address(datagram.source, false));
        if (datagram.data.size() > UINT16_MAX)
            return fail(0, "an unread datagram has {} bytes; the checkpoint is damaged", datagram.data.size());
    }
    for (const model::GroupMembership &membership : socket.groups) {
        TRY(check_address(membership.group, false));
        for (const model::Bytes &source : membership.sources)
            TRY(check_address(source, false));
    }
    return {};
}

Result<> check_semaphores(const model::Tree &tree, const model::SemaphoreSet &set) {
    TRY(check_ipc_namespace(tree, set.ipc_namespace));
    constexpr size_t most = 65535;      // GETALL and SETALL take no larger sets' indexes (semget(2))
    constexpr uint32_t largest = 32767; // SEMVMX
    if (set.semaphores.empty() || set.semaphores.size() > most)
        return fail(0, "it has {} semaphores; the checkpoint is damaged", set.semaphores.size());
    for (const model::Semaphore &semaphore : set.semaphores)
        if (semaphore.value > largest)
            return fail(0, "a semaphore has the value {}; the checkpoint is damaged", semaphore.value);
    return {};
}

Result<> check_ipc_queue(const model::Tree &tree, const model::IpcQueue &queue) {
    TRY(check_ipc_namespace(tree, queue.ipc_namespace));
    constexpr size_t most = 1U << 24U;
    for (const model::IpcMessage &message : queue.messages)
        if (message.type <= 0 || message.text.size() > most)
            return fail(0, "a message of type {} has {} bytes; the checkpoint is damaged", message.type,
                        message.text.size());
    return {};
}

// The functions in it are looked at when it is needed (os/vdso.h).
Result<> check_machine(const model::Machine &machine) {
    if (machine.vdso.empty()) // images of the first releases
        return {};
    if (machine.vdso.size() > os::largest_vdso || machine.vdso.size() % page != 0 ||
        to_hex(digest(std::as_bytes(std::span(machine.vdso)))) != machine.vdso_digest)
        return fail(0, "its vDSO of {} bytes is not the one that it names; the checkpoint is damaged",
                    machine.vdso.size());
    return {};
}

Result<> check_fs(const model::Tree &tree, const model::FsContext &fs) {
    TRY(refers(tree.open_files, fs.directory, false, "working directory"));
    return refers(tree.open_files, fs.root, true, "root directory");
}

template <class T, class Check>
Result<> each(const std::map<model::ObjRef, T> &objects, const char *kind, Check check_one) {
    for (const auto &[id, object] : objects)
        TRY_IN(check_one(object), "object {} ({})", id, kind);
    return {};
}

} // namespace

Result<> check(const model::Tree &tree, const model::AddressSpace &space, uint64_t pages_size) {
    TRY_IN(check_space(tree, space, pages_size), "object {} (address space)", space.id);
    return {};
}

Result<> TaskCheck::check(const model::Task &task) {
    TRY_IN(check_task(tree_, task, pids_, ids_), "process {} ({})", task.pid, task.comm);
    pids_.insert(task.pid);
    return {};
}

Result<> check_objects(const model::Tree &tree, uint64_t pages_size) {
    if (tree.tasks.empty())
        return fail(0, "the checkpoint has no processes; it is damaged");
    TRY(check_machine(tree.machine));
    TRY(each(tree.open_files, "open file",
             [&](const model::OpenFile &file) { return std::visit(PayloadCheck{tree}, file.payload); }));
    TRY(each(tree.descriptor_tables, "descriptor table",
             [&](const model::DescriptorTable &table) { return check_table(tree, table); }));
    TRY(each(tree.fs_contexts, "file system context", [&](const model::FsContext &fs) { return check_fs(tree, fs); }));
    TRY(each(tree.inodes, "inode", [&](const model::Inode &inode) { return check_inode(tree, inode); }));
    TRY(each(tree.pipes, "pipe", [&](const model::Pipe &pipe) { return check_pipe(tree, pipe); }));
    TRY(each(tree.unix_sockets, "unix socket",
             [&](const model::UnixSocket &socket) { return check_socket(tree, socket); }));
    for (const model::Cgroup &cgroup : tree.cgroups)
        TRY(check_cgroup(cgroup));
    TRY(each(tree.namespaces, "namespace", [&](const model::Namespace &ns) { return check_namespace(tree, ns); }));
    TRY(each(tree.file_systems, "file system",
             [&](const model::FileSystem &fs) { return check_file_system(tree, fs); }));
    TRY(each(tree.semaphore_sets, "System V semaphore set",
             [&](const model::SemaphoreSet &set) { return check_semaphores(tree, set); }));
    TRY(each(tree.ipc_queues, "System V message queue",
             [&](const model::IpcQueue &queue) { return check_ipc_queue(tree, queue); }));
    TRY(each(tree.inet_sockets, "internet socket",
             [&](const model::InetSocket &socket) { return check_inet_socket(tree, socket); }));
    return each(tree.shared_memory, "shared memory", [&](const model::SharedMemory &memory) -> Result<> {
        TRY(check_ipc_namespace(tree, memory.ipc_namespace));
        if (memory.huge_page_shift > largest_page_shift)
            return fail(0, "it has pages of 2^{} bytes; the checkpoint is damaged", memory.huge_page_shift);
        const uint64_t end = memory.size > kernel::end_of_addresses ? 0 : (memory.size + page - 1) / page * page;
        return check_runs(memory.pages, end, pages_size);
    });
}

} // namespace abey::image
