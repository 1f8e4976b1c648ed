// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert.h"

#include "engine/image/check.h"
#include "engine/image/convert_parts.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace abey::image {

namespace {

constexpr int size_limit = 1 << 30;

template <class T, class Adder> void put_all(const std::map<model::ObjRef, T> &from, Adder add) {
    for (const auto &[id, object] : from)
        put(object, *add());
}

template <class Messages, class T>
Result<> get_objects(const Messages &from, std::map<model::ObjRef, T> &to, const char *kind) {
    for (const auto &message : from) {
        T object;
        TRY_IN(get(message, object), "{} {}", kind, message.id());
        const model::ObjRef id = object.id;
        if (id == 0 || !to.emplace(id, std::move(object)).second)
            return fail(0, "the id {} of a {} is not valid or occurs twice", id, kind);
    }
    return {};
}

template <class Message> Result<> parse(std::string_view bytes, Message &message, const char *what) {
    if (bytes.size() > size_limit)
        return fail(EFBIG, "{} has {} bytes", what, bytes.size());
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        return fail(0, "\"{}\" cannot be read; the checkpoint is damaged", what);
    return {};
}

} // namespace

Result<Encoded> encode(const model::Tree &tree) {
    pb::Tasks tasks;
    put(tree.machine, *tasks.mutable_machine());
    put(tree.clocks, *tasks.mutable_clocks());
    for (const model::Task &task : tree.tasks)
        put(task, *tasks.add_tasks());
    pb::Objects objects;
    put_all(tree.address_spaces, [&] { return objects.add_address_spaces(); });
    put_all(tree.descriptor_tables, [&] { return objects.add_descriptor_tables(); });
    put_all(tree.fs_contexts, [&] { return objects.add_fs_contexts(); });
    put_all(tree.open_files, [&] { return objects.add_open_files(); });
    put_all(tree.inodes, [&] { return objects.add_inodes(); });
    put_all(tree.pipes, [&] { return objects.add_pipes(); });
    put_all(tree.unix_sockets, [&] { return objects.add_unix_sockets(); });
    put_all(tree.inet_sockets, [&] { return objects.add_inet_sockets(); });
    put_all(tree.shared_memory, [&] { return objects.add_shared_memory(); });
    put_all(tree.terminals, [&] { return objects.add_terminals(); });
    put_all(tree.semaphore_sets, [&] { return objects.add_semaphore_sets(); });
    put_all(tree.ipc_queues, [&] { return objects.add_ipc_queues(); });
    put_all(tree.namespaces, [&] { return objects.add_namespaces(); });
    objects.set_last_id(tree.last_id);
    Encoded encoded;
    if (!tasks.SerializeToString(&encoded.tasks) || !objects.SerializeToString(&encoded.objects))
        return fail(EFBIG, "the processes' state is too large for an image");
    return encoded;
}

Result<model::Tree> decode(std::string_view tasks_bytes, std::string_view objects_bytes, uint64_t pages_size) {
    pb::Tasks tasks;
    pb::Objects objects;
    TRY(parse(tasks_bytes, tasks, "tasks"));
    TRY(parse(objects_bytes, objects, "objects"));
    model::Tree tree;
    TRY(get(tasks.machine(), tree.machine));
    TRY(get(tasks.clocks(), tree.clocks));
    TRY(get_all(tasks.tasks(), tree.tasks));
    TRY(get_objects(objects.address_spaces(), tree.address_spaces, "address space"));
    TRY(get_objects(objects.descriptor_tables(), tree.descriptor_tables, "descriptor table"));
    TRY(get_objects(objects.fs_contexts(), tree.fs_contexts, "file system context"));
    TRY(get_objects(objects.open_files(), tree.open_files, "open file"));
    TRY(get_objects(objects.inodes(), tree.inodes, "inode"));
    TRY(get_objects(objects.pipes(), tree.pipes, "pipe"));
    TRY(get_objects(objects.unix_sockets(), tree.unix_sockets, "unix socket"));
    TRY(get_objects(objects.inet_sockets(), tree.inet_sockets, "internet socket"));
    TRY(get_objects(objects.shared_memory(), tree.shared_memory, "shared memory"));
    TRY(get_objects(objects.terminals(), tree.terminals, "terminal"));
    TRY(get_objects(objects.semaphore_sets(), tree.semaphore_sets, "System V semaphore set"));
    TRY(get_objects(objects.ipc_queues(), tree.ipc_queues, "System V message queue"));
    TRY(get_objects(objects.namespaces(), tree.namespaces, "namespace"));
    tree.last_id = objects.last_id();
    TRY(check(tree, pages_size));
    return tree;
}

} // namespace abey::image
