// SPDX-License-Identifier: LGPL-2.1-or-later
//
// epoll(7): targets are remembered together with the descriptor number under which they were added, so the task itself
// must add them. Where no task has both (an epoll descriptor on its way in a socket), we do, with a table of our own.
#include "engine/rebuild/kinds.h"

#include <algorithm>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace poll_set {
namespace {

// Where a target is added: in a task with this table, by its descriptor `at`.
struct Step {
    model::ObjRef table = 0;
    model::ObjRef epoll = 0; // open file
    int32_t at = 0;          // the descriptor of the target there
    model::PollTarget target;
};

// Context::state
struct Plan {
    bool made = false;
    std::map<std::pair<model::ObjRef, model::ObjRef>, std::vector<Step>> steps; // by table and epoll file
    std::vector<Step> ours;                                                     // without a table
};

// A descriptor of `file` in the table, `preferred` if that is one.
std::optional<int32_t> number_in(const model::DescriptorTable &table, model::ObjRef file, int32_t preferred) {
    std::optional<int32_t> any;
    for (const auto &descriptor : table.descriptors) {
        if (descriptor.open_file != file)
            continue;
        if (descriptor.number == preferred)
            return preferred;
        any = descriptor.number;
    }
    return any;
}

void plan_target(model::ObjRef epoll, const model::PollTarget &target,
                 const std::vector<const model::DescriptorTable *> &holders, Plan &plan) {
    std::optional<Step> step;
    for (const auto *table : holders) {
        const auto number = number_in(*table, target.open_file, target.number);
        if (number && (!step || *number == target.number))
            step = Step{.table = table->id, .epoll = epoll, .at = *number, .target = target};
        if (step && step->at == target.number)
            break;
    }
    if (!step)
        plan.ours.push_back({.epoll = epoll, .target = target});
    else
        plan.steps[{step->table, epoll}].push_back(*step);
}

void make_plan(Context &context, Plan &plan) {
    if (std::exchange(plan.made, true))
        return;
    std::unordered_map<model::ObjRef, std::vector<const model::DescriptorTable *>> holders;
    for (const auto &[id, table] : context.tree.descriptor_tables)
        for (const auto &descriptor : table.descriptors) {
            auto &tables = holders[descriptor.open_file];
            if (tables.empty() || tables.back() != &table)
                tables.push_back(&table);
        }
    for (const auto &[id, file] : context.tree.open_files)
        if (const auto *set = std::get_if<model::PollSet>(&file.payload))
            for (const auto &target : set->targets)
                plan_target(id, target, holders[id], plan);
}

// With the target under another number than it was added by: it is put there for a moment.
void append(const model::DescriptorTable &table, const Step &step, int epoll, os::Batch &batch) {
    const std::string what =
        fmt::format("epoll descriptor {}: cannot watch descriptor {} again", epoll, step.target.number);
    epoll_event event = {.events = step.target.events, .data = {.u64 = step.target.data}};
    const uint64_t address = batch.put(event);
    const int32_t number = step.target.number;
    if (step.at == number) {
        batch.must(what, SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, number, address);
        return;
    }
    const auto occupant = std::ranges::find(table.descriptors, number, &model::Descriptor::number);
    int32_t spare = 0; // a free number to keep the occupant at
    for (const auto &descriptor : table.descriptors)
        spare = std::max(spare, descriptor.number + 1);
    const bool occupied = occupant != table.descriptors.end();
    // the epoll file itself may be what sits there
    const int epoll_now = occupied && number == epoll ? spare : epoll;
    if (occupied)
        batch.must(what, SYS_dup3, number, spare, O_CLOEXEC);
    batch.must(what, SYS_dup3, step.at, number, O_CLOEXEC);
    batch.must(what, SYS_epoll_ctl, epoll_now, EPOLL_CTL_ADD, number, address);
    if (occupied) {
        batch.must(what, SYS_dup3, spare, number, occupant->close_on_exec ? O_CLOEXEC : 0);
        batch.must(what, SYS_close, spare);
    } else {
        batch.must(what, SYS_close, number);
    }
}

Result<Fd> create(Context & /*context*/, const model::OpenFile & /*file*/) {
    Fd fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!fd)
        return fail(errno, "cannot make an epoll file");
    return fd;
}

Result<> in_task(Context &context, const model::Task &task, const model::Descriptor &descriptor,
                 const model::OpenFile &file, os::Batch &batch) {
    auto &plan = context.state<Plan>();
    make_plan(context, plan);
    const auto steps = plan.steps.extract({task.descriptors, file.id});
    if (steps.empty())
        return {};
    const auto *table = TRY(find(context.tree.descriptor_tables, task.descriptors));
    for (const Step &step : steps.mapped())
        append(*table, step, descriptor.number, batch);
    return {};
}

// In a table of descriptors of its own, which goes with its thread, any number is free to be used.
Result<> watch_from_here(int epoll, int target, const model::PollTarget &saved) {
    if (::unshare(CLONE_FILES) < 0)
        return fail(errno, "cannot have a table of descriptors of its own");
    const Fd above(::fcntl(epoll, F_DUPFD_CLOEXEC, saved.number + 1)); // may sit at that number
    if (!above || (target != saved.number && ::dup3(target, saved.number, O_CLOEXEC) < 0))
        return fail(errno, "cannot use descriptor number {}", saved.number);
    epoll_event event = {.events = saved.events, .data = {.u64 = saved.data}};
    if (::epoll_ctl(above.get(), EPOLL_CTL_ADD, saved.number, &event) < 0)
        return fail(errno, "cannot watch descriptor {} again", saved.number);
    return {};
}

Result<> finish(Context &context) {
    auto &plan = context.state<Plan>();
    make_plan(context, plan);
    for (const Step &step : plan.ours) {
        const int epoll = TRY(context.open_file(step.epoll));
        const int target = TRY(context.open_file(step.target.open_file));
        Result<> done;
        std::thread([&] { done = watch_from_here(epoll, target, step.target); }).join();
        TRY_IN(std::move(done), "epoll descriptor on its way in a socket");
    }
    return {};
}

} // namespace
} // namespace poll_set

Kind poll_set_kind() {
    return {.name = "epoll",
            .payload = payload_index<model::PollSet>(),
            .create = poll_set::create,
            .fill = nullptr,
            .in_task = poll_set::in_task,
            .finish = poll_set::finish};
}

} // namespace abey::rebuild
