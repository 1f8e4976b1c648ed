// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/objects.h"

#include "engine/rebuild/kinds.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/system_v.h"

#include <set>

namespace abey::rebuild {
namespace {

// Context::state
struct Tables {
    std::set<model::ObjRef> done;
};

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

} // namespace

Result<> fill(Context &context) {
    for (const auto &[id, file] : context.tree.open_files)
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
                in_tables.insert(descriptor.open_file);
    for (const auto &[id, file] : context.tree.open_files)
        if (auto restored = restore_state(TRY(context.open_file(id)), file, in_tables.contains(id)); !restored)
            return within(std::move(restored).error(), "{}", described(context.tree, id));
    return {};
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
