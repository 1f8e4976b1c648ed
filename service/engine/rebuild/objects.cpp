// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/objects.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/system_v.h"

#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

namespace abey::rebuild {
namespace {

// Context::state
struct Tables {
    std::set<model::ObjRef> done;
};

// Context::state: those that Kind::late says are late.
struct LateFiles {
    struct Use {
        size_t left = 0; // descriptors that are to be
        bool complete = false;
    };
    std::unordered_map<model::ObjRef, Use> uses;
    std::vector<model::ObjRef> done;
};

// Only those that tasks have at descriptors: what is mapped, or on its way in a socket, is needed by others than its
// holder.
LateFiles late_files(Context &context) {
    LateFiles late;
    std::set<model::ObjRef> in_flight;
    for (const auto &[id, socket] : context.tree.unix_sockets)
        for (const auto &message : socket.queue)
            in_flight.insert(message.rights.begin(), message.rights.end());
    std::set<model::ObjRef> tables;
    for (const auto &task : context.tree.tasks) {
        const auto table = context.tree.descriptor_tables.find(task.descriptors);
        if (table == context.tree.descriptor_tables.end() || !tables.insert(task.descriptors).second)
            continue;
        for (const auto &descriptor : table->second.descriptors)
            if (!in_flight.contains(descriptor.open_file))
                ++late.uses[descriptor.open_file].left;
    }
    std::erase_if(late.uses, [&](const auto &use) {
        const auto file = context.tree.open_files.find(use.first);
        const Kind *kind = file == context.tree.open_files.end() ? nullptr : kind_of(file->second);
        return kind == nullptr || kind->late == nullptr || !kind->late(context, file->second);
    });
    return late;
}

// The most that one descriptor appends to a batch, generously.
constexpr size_t room_for_one = 4096;

// "descriptor 3 of process 12 (bash)": who had it, for messages.
std::string described(const model::Tree &tree, model::ObjRef id) {
    for (const auto &task : tree.tasks) {
        const auto table = tree.descriptor_tables.find(task.descriptors);
        if (table == tree.descriptor_tables.end())
            continue;
        for (const auto &descriptor : table->second.descriptors)
            if (descriptor.open_file == id)
                return fmt::format("process {} ({}), descriptor {}", task.pid, task.comm, descriptor.number);
    }
    return fmt::format("open file {}", id);
}

// Of a file without any name each open file shows the one that it was opened by; all are made at once.
void expect_names(Context &context) {
    for (const auto &[id, file] : context.tree.open_files) {
        const auto *disk = std::get_if<model::DiskFile>(&file.payload);
        if (disk == nullptr || !disk->unlinked || disk->name.empty())
            continue;
        const auto inode = context.tree.inodes.find(disk->inode);
        if (inode != context.tree.inodes.end() && inode->second.naming != model::Naming::named &&
            inode->second.naming != model::Naming::moved)
            context.files.expect(inode->second, disk->name);
    }
}

} // namespace

Result<> fill(Context &context) {
    expect_names(context);
    auto &late = context.state<LateFiles>();
    late = late_files(context);
    for (const auto &[id, file] : context.tree.open_files)
        if (!late.uses.contains(id))
            if (auto made = context.open_file(id); !made)
                return within(std::move(made).error(), "{}", described(context.tree, id));
    for (const Kind &kind : kinds())
        if (kind.fill != nullptr)
            TRY(kind.fill(context));
    TRY(make_system_v(context));
    std::set<model::ObjRef> in_tables;
    for (const auto &task : context.tree.tasks)
        if (const auto table = context.tree.descriptor_tables.find(task.descriptors);
            table != context.tree.descriptor_tables.end())
            for (const auto &descriptor : table->second.descriptors)
                if (!late.uses.contains(descriptor.open_file))
                    in_tables.insert(descriptor.open_file);
    for (const auto &[id, file] : context.tree.open_files)
        if (!late.uses.contains(id))
            if (auto restored = restore_state(TRY(context.open_file(id)), file, in_tables.contains(id)); !restored)
                return within(std::move(restored).error(), "{}", described(context.tree, id));
    return {};
}

Result<int> take(Context &context, model::ObjRef id) {
    auto &late = context.state<LateFiles>();
    const int fd = TRY(context.open_file(id));
    const auto uses = late.uses.find(id);
    if (uses == late.uses.end())
        return fd;
    if (!std::exchange(uses->second.complete, true)) {
        const model::OpenFile *file = TRY(find(context.tree.open_files, id));
        TRY(restore_state(fd, *file, true));
    }
    if (--uses->second.left == 0)
        late.done.push_back(id);
    return fd;
}

void taken(Context &context) {
    auto &late = context.state<LateFiles>();
    for (const model::ObjRef id : late.done) {
        context.drop(id);
        late.uses.erase(id);
    }
    late.done.clear();
}

Result<> in_task(Context &context, const model::Task &task, os::Batch &batch, const std::function<Result<>()> &flush) {
    if (task.descriptors == 0 || !context.state<Tables>().done.insert(task.descriptors).second)
        return {};
    const model::DescriptorTable *table = TRY(find(context.tree.descriptor_tables, task.descriptors));
    for (const auto &descriptor : table->descriptors) {
        const model::OpenFile *file = TRY(find(context.tree.open_files, descriptor.open_file));
        if (flush && batch.room() < room_for_one)
            TRY(flush());
        TRY(restore_in_task(context, task, descriptor, *file, batch));
        const Kind *kind = kind_of(*file);
        if (kind != nullptr && kind->in_task != nullptr)
            TRY(kind->in_task(context, task, descriptor, *file, batch));
    }
    return {};
}

Result<> finish(Context &context) {
    for (const Kind &kind : kinds())
        if (kind.finish != nullptr)
            TRY(kind.finish(context));
    return {};
}

} // namespace abey::rebuild
