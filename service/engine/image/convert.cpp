// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert.h"

#include "engine/image/check.h"
#include "engine/image/convert_parts.h"

namespace abey::image {

namespace {

// One field of pb::Tasks or pb::Objects at a time: `add` gives the place in a message of its own.
template <class Outer, class T, class Add> Result<> put_one(const T &object, Add add, const Sink &sink) {
    Outer outer;
    put(object, *add(outer));
    std::string bytes;
    if (!outer.SerializeToString(&bytes))
        return fail(EFBIG, "the processes' state is too large for an image");
    return sink(bytes);
}

template <class T, class Add> Result<> put_all(const std::map<model::ObjRef, T> &from, Add add, const Sink &sink) {
    for (const auto &[id, object] : from)
        TRY(put_one<pb::Objects>(object, add, sink));
    return {};
}

template <class Message> Result<> parse(std::string_view bytes, Message &message, const char *what) {
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        return fail(0, "\"{}\" cannot be read; the checkpoint is damaged", what);
    return {};
}

template <class Message, class T> Result<T> get_object(std::string_view bytes, const char *kind) {
    Message message;
    TRY(parse(bytes, message, "objects"));
    T object;
    TRY_IN(get(message, object), "{} {}", kind, message.id());
    return object;
}

template <class T> Result<> add_object(T object, std::map<model::ObjRef, T> &to, const char *kind) {
    const model::ObjRef id = object.id;
    if (id == 0 || !to.emplace(id, std::move(object)).second)
        return fail(0, "the id {} of a {} is not valid or occurs twice", id, kind);
    return {};
}

template <class Message, class T>
Result<> read_object(const Record &record, std::map<model::ObjRef, T> &to, const char *kind) {
    auto object = TRY(get_object<Message, T>(record.bytes, kind));
    return add_object(std::move(object), to, kind);
}

Result<> read_other(const Record &record, model::Tree &tree) {
    switch (record.field) {
    case pb::Objects::kDescriptorTablesFieldNumber:
        return read_object<pb::DescriptorTable>(record, tree.descriptor_tables, "descriptor table");
    case pb::Objects::kFsContextsFieldNumber:
        return read_object<pb::FsContext>(record, tree.fs_contexts, "file system context");
    case pb::Objects::kOpenFilesFieldNumber:
        return read_object<pb::OpenFile>(record, tree.open_files, "open file");
    case pb::Objects::kInodesFieldNumber:
        return read_object<pb::Inode>(record, tree.inodes, "inode");
    case pb::Objects::kPipesFieldNumber:
        return read_object<pb::Pipe>(record, tree.pipes, "pipe");
    case pb::Objects::kUnixSocketsFieldNumber:
        return read_object<pb::UnixSocket>(record, tree.unix_sockets, "unix socket");
    case pb::Objects::kInetSocketsFieldNumber:
        return read_object<pb::InetSocket>(record, tree.inet_sockets, "internet socket");
    case pb::Objects::kSharedMemoryFieldNumber:
        return read_object<pb::SharedMemory>(record, tree.shared_memory, "shared memory");
    case pb::Objects::kTerminalsFieldNumber:
        return read_object<pb::Terminal>(record, tree.terminals, "terminal");
    case pb::Objects::kSemaphoreSetsFieldNumber:
        return read_object<pb::SemaphoreSet>(record, tree.semaphore_sets, "System V semaphore set");
    case pb::Objects::kIpcQueuesFieldNumber:
        return read_object<pb::IpcQueue>(record, tree.ipc_queues, "System V message queue");
    case pb::Objects::kNamespacesFieldNumber:
        return read_object<pb::Namespace>(record, tree.namespaces, "namespace");
    case pb::Objects::kFileSystemsFieldNumber:
        return read_object<pb::FileSystem>(record, tree.file_systems, "file system");
    case pb::Objects::kCgroupsFieldNumber: {
        pb::Cgroup cgroup;
        TRY(parse(record.bytes, cgroup, "objects"));
        return get(cgroup, tree.cgroups.emplace_back());
    }
    case pb::Objects::kLastIdFieldNumber:
        tree.last_id = static_cast<model::ObjRef>(record.number);
        return {};
    default: // address spaces, and what a later version has
        return {};
    }
}

// Calls `space` and `task` with each of them, whole and checked, when all else is in `tree`; they put into it what they
// want to keep.
template <class EachSpace, class EachTask>
Result<> decode_into(model::Tree &tree, const Source &tasks, const Source &objects, uint64_t pages_size,
                     EachSpace each_space, EachTask each_task) {
    const auto read_space = [&](const Record &record) -> Result<> {
        if (record.field != pb::Objects::kAddressSpacesFieldNumber)
            return {};
        auto space = TRY(decode_address_space(record.bytes));
        TRY(check(tree, space, pages_size));
        return each_space(std::move(space), record.extent);
    };
    TaskCheck checked(tree);
    const auto read_task = [&](const Record &record) -> Result<> {
        if (record.field == pb::Tasks::kMachineFieldNumber) {
            pb::Machine machine;
            TRY(parse(record.bytes, machine, "tasks"));
            return get(machine, tree.machine);
        }
        if (record.field == pb::Tasks::kClocksFieldNumber) {
            pb::Clocks clocks;
            TRY(parse(record.bytes, clocks, "tasks"));
            return get(clocks, tree.clocks);
        }
        if (record.field != pb::Tasks::kTasksFieldNumber)
            return {};
        auto task = TRY(decode_task(record.bytes));
        TRY(checked.check(task));
        return each_task(std::move(task), record.extent);
    };
    TRY(objects([&](const Record &record) { return read_other(record, tree); }));
    TRY(objects(read_space));
    TRY(tasks(read_task));
    return check_objects(tree, pages_size);
}

model::Task outline_of(model::Task task) {
    if (task.state != model::TaskState::stopped)
        task.actions = {};
    task.pending = {};
    task.posix_timers = {};
    for (model::Thread &thread : task.threads) {
        thread.registers = {};
        thread.xstate = {};
        thread.pending = {};
        thread.seccomp = {};
        thread.scheduling.affinity = {};
        thread.credentials.groups = {};
    }
    return task;
}

model::AddressSpace outline_of(const model::AddressSpace &space) {
    model::AddressSpace outline;
    outline.id = space.id;
    outline.executable = space.executable;
    return outline;
}

} // namespace

Result<> encode(const model::Task &task, const Sink &tasks) {
    return put_one<pb::Tasks>(
        task, [](pb::Tasks &to) { return to.add_tasks(); }, tasks);
}

Result<> encode(const model::AddressSpace &space, const Sink &objects) {
    return put_one<pb::Objects>(
        space, [](pb::Objects &to) { return to.add_address_spaces(); }, objects);
}

Result<> encode(const model::Tree &tree, const Sink &tasks, const Sink &objects) {
    TRY(put_one<pb::Tasks>(
        tree.machine, [](pb::Tasks &to) { return to.mutable_machine(); }, tasks));
    TRY(put_one<pb::Tasks>(
        tree.clocks, [](pb::Tasks &to) { return to.mutable_clocks(); }, tasks));
    for (const model::Task &task : tree.tasks)
        TRY(encode(task, tasks));
    using Objects = pb::Objects;
    TRY(put_all(
        tree.address_spaces, [](Objects &to) { return to.add_address_spaces(); }, objects));
    TRY(put_all(
        tree.descriptor_tables, [](Objects &to) { return to.add_descriptor_tables(); }, objects));
    TRY(put_all(
        tree.fs_contexts, [](Objects &to) { return to.add_fs_contexts(); }, objects));
    TRY(put_all(
        tree.open_files, [](Objects &to) { return to.add_open_files(); }, objects));
    TRY(put_all(
        tree.inodes, [](Objects &to) { return to.add_inodes(); }, objects));
    TRY(put_all(
        tree.pipes, [](Objects &to) { return to.add_pipes(); }, objects));
    TRY(put_all(
        tree.unix_sockets, [](Objects &to) { return to.add_unix_sockets(); }, objects));
    TRY(put_all(
        tree.inet_sockets, [](Objects &to) { return to.add_inet_sockets(); }, objects));
    TRY(put_all(
        tree.shared_memory, [](Objects &to) { return to.add_shared_memory(); }, objects));
    TRY(put_all(
        tree.terminals, [](Objects &to) { return to.add_terminals(); }, objects));
    TRY(put_all(
        tree.semaphore_sets, [](Objects &to) { return to.add_semaphore_sets(); }, objects));
    TRY(put_all(
        tree.ipc_queues, [](Objects &to) { return to.add_ipc_queues(); }, objects));
    TRY(put_all(
        tree.namespaces, [](Objects &to) { return to.add_namespaces(); }, objects));
    TRY(put_all(
        tree.file_systems, [](Objects &to) { return to.add_file_systems(); }, objects));
    for (const model::Cgroup &cgroup : tree.cgroups)
        TRY(put_one<pb::Objects>(
            cgroup, [](pb::Objects &to) { return to.add_cgroups(); }, objects));
    pb::Objects last;
    last.set_last_id(tree.last_id);
    return objects(last.SerializeAsString());
}

Result<Encoded> encode(const model::Tree &tree) {
    Encoded encoded;
    const auto into = [](std::string &to) {
        return [&to](std::string_view bytes) -> Result<> {
            to += bytes;
            return {};
        };
    };
    TRY(encode(tree, into(encoded.tasks), into(encoded.objects)));
    return encoded;
}

Result<model::Task> decode_task(std::string_view bytes) {
    pb::Task message;
    TRY(parse(bytes, message, "tasks"));
    model::Task task;
    TRY(get(message, task));
    return task;
}

Result<model::AddressSpace> decode_address_space(std::string_view bytes) {
    return get_object<pb::AddressSpace, model::AddressSpace>(bytes, "address space");
}

Result<model::Tree> decode(std::string_view tasks, std::string_view objects, uint64_t pages_size) {
    model::Tree tree;
    TRY(decode_into(
        tree, [tasks](const EachRecord &each) { return for_each_record(tasks, "tasks", each); },
        [objects](const EachRecord &each) { return for_each_record(objects, "objects", each); }, pages_size,
        [&](model::AddressSpace space, const Extent & /*where*/) {
            return add_object(std::move(space), tree.address_spaces, "address space");
        },
        [&](model::Task task, const Extent & /*where*/) -> Result<> {
            tree.tasks.push_back(std::move(task));
            return {};
        }));
    return tree;
}

Result<Outline> decode_outline(const Source &tasks, const Source &objects, uint64_t pages_size) {
    Outline outline;
    TRY(decode_into(
        outline.tree, tasks, objects, pages_size,
        [&](const model::AddressSpace &space, const Extent &where) {
            outline.address_spaces[space.id] = where;
            outline.footprint.add(space);
            return add_object(outline_of(space), outline.tree.address_spaces, "address space");
        },
        [&](model::Task task, const Extent &where) -> Result<> {
            outline.tasks[task.pid] = where;
            outline.tree.tasks.push_back(outline_of(std::move(task)));
            return {};
        }));
    return outline;
}

} // namespace abey::image
