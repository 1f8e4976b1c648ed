// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/family.h"

#include "engine/os/kernel.h"
#include "engine/rebuild/fill_husk.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/open_files.h"
#include "engine/rebuild/own_namespaces.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <set>

#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

// glibc has no wrapper. The child only waits to be seized; nothing of ours runs in it but these instructions.
long fork_with_pid(const Numbers &numbers, uint64_t flags, int exit_signal) {
    clone_args arguments = {};
    arguments.flags = CLONE_CLEAR_SIGHAND | flags;
    arguments.exit_signal = static_cast<uint64_t>(exit_signal);
    arguments.set_tid = reinterpret_cast<uint64_t>(numbers.data());
    arguments.set_tid_size = numbers.size();
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        for (;;)
            ::syscall(SYS_pause);
    return pid;
}

void kill_and_reap(Husk &husk) {
    if (husk.pid() != 0)
        (void)::kill(husk.pid(), SIGKILL);
    auto &threads = husk.threads();
    const bool ended_first = threads.size() > 1 && threads.front().tid() == 0;
    for (auto thread = threads.rbegin(); thread != threads.rend(); ++thread)
        while (thread->tid() != 0)
            if (!thread->wait())
                thread->forget();
    // a first thread that has ended is not ours by ptrace(2); as a child it may be
    if (ended_first)
        (void)::waitpid(husk.pid(), nullptr, __WALL);
}

// Numbers for helpers, from the top, where neither the kernel nor the tree is likely to have something.
class HelperPids {
  public:
    explicit HelperPids(const model::Tree &tree) {
        for (const model::Task &task : tree.tasks) {
            taken_.insert({task.pid, task.process_group, task.session});
            for (const model::Thread &thread : task.threads)
                taken_.insert(thread.tid);
        }
        if (const auto most = read_file("/proc/sys/kernel/pid_max"))
            next_ = std::atoi(most->c_str()) - 1;
    }
    int next() {
        while (taken_.contains(next_))
            --next_;
        return next_--;
    }

  private:
    std::set<int> taken_;
    int next_ = 32767;
};

// Of its pid namespace.
bool is_first(const model::Task *task) { return !task->inner_pids.empty() && task->inner_pids.back() == 1; }

// In a pid namespace, and in a process group that has no number there.
bool is_in_group_above(const model::Task &task) { return !task.inner_groups.empty() && task.inner_groups.back() == 0; }

} // namespace

Family::~Family() {
    // Children first: an orphan would go to us, and we would have to wait for it as well.
    for (auto task = tree_.tasks.rbegin(); task != tree_.tasks.rend(); ++task)
        if (const auto husk = husks_.find(task->pid); husk != husks_.end())
            kill_and_reap(*husk->second);
}

int Family::session_of(const model::Task &task) const {
    const auto stand_in = sessions_.find(task.session);
    return stand_in == sessions_.end() ? task.session : stand_in->second;
}

// Descriptor tables and file system contexts that parent and child share are shared at birth.
uint64_t Family::shared_with_parent(const model::Task &task) const {
    const auto parent = tasks_.find(task.parent);
    if (parent == tasks_.end() || task.descriptors == 0)
        return 0;
    return (parent->second->descriptors == task.descriptors ? CLONE_FILES : 0ULL) |
           (parent->second->fs == task.fs ? CLONE_FS : 0ULL);
}

int Family::outer_session() const { return reaper_ != nullptr ? 0 : ::getsid(0); }

Result<std::unique_ptr<Husk>> Family::new_root(const Numbers &numbers, uint64_t flags, int exit_signal) {
    if (reaper_ != nullptr) {
        auto child =
            std::make_unique<Husk>(TRY(reaper_->make_child(numbers, CLONE_CLEAR_SIGHAND | flags, exit_signal)));
        TRY(strip(*child));
        return child;
    }
    const long pid = fork_with_pid(numbers, flags, exit_signal);
    if (pid < 0)
        return fail(errno, "cannot make a process with id {}", numbers.back());
    auto tracee = TRY_IN(hold_new(static_cast<int>(pid), husk_options), "the new process {}", numbers.back());
    auto husk = std::make_unique<Husk>(shop_, std::move(tracee), numbers.front());
    TRY(strip(*husk));
    return husk;
}

// What a fork of the worker inherited goes: registrations that point into memory, descriptors, mappings.
Result<> Family::strip(Husk &husk) const {
    Calls calls(husk);
    auto &batch = calls.batch();
    if (const auto rseq = husk.threads().front().rseq(); rseq && rseq->address != 0)
        batch.must("cannot end the rseq registration", SYS_rseq, rseq->address, rseq->size, 1 /* UNREGISTER */,
                   rseq->signature);
    batch.must("set_robust_list", SYS_set_robust_list, 0, 24);
    batch.must("set_tid_address", SYS_set_tid_address, 0);
    const auto number = static_cast<unsigned>(shop_.worker_number);
    batch.must("close_range", SYS_close_range, 0U, number - 1, 0U);
    batch.must("close_range", SYS_close_range, number + 1, ~0U, 0U);
    std::vector<std::pair<uint64_t, uint64_t>> kept = {
        {shop_.region.base(), shop_.region.base() + shop_.region.size()}};
    for (const os::ProcMapping &special : shop_.special)
        kept.emplace_back(special.start, special.end);
    kept.emplace_back(kernel::end_of_addresses, kernel::end_of_addresses);
    std::sort(kept.begin(), kept.end());
    uint64_t from = 0;
    for (const auto &[start, end] : kept) {
        if (start > from)
            batch.must("munmap", SYS_munmap, from, start - from);
        from = end;
    }
    TRY_IN(calls.flush(), "husk of process {}", husk.own_pid());
    return {};
}

Result<> Family::make(Context &context) {
    for (const model::Task &task : tree_.tasks) {
        tasks_[task.pid] = &task;
        children_[task.parent].push_back(&task);
    }
    // A session whose leader is outside the tree is led by its oldest root from now on, when it has a terminal: a
    // terminal needs a living leader. So is one whose leader is outside the pid namespace that it was seen from: it has
    // no number there.
    for (const model::Task &task : tree_.tasks)
        if (!tasks_.contains(task.session) && (task.terminal != 0 || task.session == 0) && task.parent == 0 &&
            !sessions_.contains(task.session))
            sessions_[task.session] = task.pid;
    std::ranges::stable_partition(children_[0], is_first); // others may have been put into its pid namespace
    for (const model::Task *task : children_[0])
        TRY(make_root(context, *task));
    while (!homeless_.empty()) {
        const auto homeless = std::exchange(homeless_, {});
        for (const model::Task *task : homeless)
            if (!husks_.contains(task->pid))
                TRY(adopt(context, *task));
    }
    for (const model::Task &task : tree_.tasks)
        if (!husks_.contains(task.pid))
            return fail(0, "process {} ({}) could not be placed under its parent {}", task.pid, task.comm, task.parent);
    return {};
}

Result<> Family::make_root(Context &context, const model::Task &task) {
    const int session = session_of(task);
    if (session != task.pid && session != outer_session()) {
        homeless_.push_back(&task);
        return {};
    }
    auto husk =
        TRY_IN(new_root(numbers_of(task.pid, task.inner_pids), is_first(&task) ? CLONE_NEWPID : 0ULL, task.exit_signal),
               "process {} ({})", task.pid, task.comm);
    roots_.push_back(husk->pid());
    husks_[task.pid] = std::move(husk);
    return make_below(context, task, outer_session());
}

Result<> Family::make_below(Context &context, const model::Task &task, int initial_session) {
    Husk &husk = *husks_.at(task.pid);
    const model::ObjRef own_pids = namespace_of(tree_, task, "pid");
    std::vector<std::pair<const model::Task *, int>> made;
    const auto make_child = [&](const model::Task &child, int session) -> Result<> {
        Husk born = TRY_IN(this->make_child(husk, own_pids, child, shared_with_parent(child)), "process {} ({})",
                           child.pid, child.comm);
        husks_[child.pid] = std::make_unique<Husk>(std::move(born));
        made.emplace_back(&child, session);
        return {};
    };
    const bool leads = session_of(task) == task.pid;
    auto &children = children_[task.pid];
    // the first process of a pid namespace before others there
    std::ranges::stable_partition(children, is_first);
    TRY_IN(seed_memory(context, husk, task, children), "process {} ({})", task.pid, task.comm);
    for (const model::Task *child : children)
        if (leads && session_of(*child) == initial_session && session_of(*child) != child->pid)
            TRY(make_child(*child, initial_session));
    if (leads)
        TRY_IN(lead_session(context, task), "process {} ({})", task.pid, task.comm);
    const int session = leads ? task.pid : initial_session;
    // in a pid namespace, a process cannot join a group from above: it is born in it
    if (std::ranges::any_of(children, [&](const model::Task *child) { return is_in_group_above(*child); }))
        TRY_IN(place_early(task), "process {} ({})", task.pid, task.comm);
    for (const model::Task *child : children) {
        if (husks_.contains(child->pid))
            continue;
        if (session_of(*child) == child->pid || session_of(*child) == session)
            TRY(make_child(*child, session));
        else
            homeless_.push_back(child);
    }
    for (const auto &[child, inherited] : made)
        TRY(make_below(context, *child, inherited));
    return {};
}

Result<> Family::lead_session(Context &context, const model::Task &task) {
    Husk &husk = *husks_.at(task.pid);
    auto batch = husk.batch();
    batch.must("cannot become a session leader", SYS_setsid);
    if (task.terminal != 0) {
        // descriptor 0 is free: the table is empty
        batch.must("cannot take the terminal's descriptor", SYS_pidfd_getfd, shop_.worker_number,
                   TRY(terminal_slave(context, task.terminal)), 0);
        batch.must("cannot make the terminal its controlling one", SYS_ioctl, 0, TIOCSCTTY, 0);
        batch.must("close", SYS_close, 0);
    }
    return husk.run(batch);
}

// A child that is in another session than its parent and does not lead it: it was made by a process of that session
// which has ended since. So a helper makes it there, and ends.
Result<> Family::adopt(Context &context, const model::Task &task) {
    HelperPids pids(tree_);
    const auto parent = husks_.find(task.parent);
    if (task.parent != 0 && parent == husks_.end()) {
        homeless_.push_back(&task); // its parent is homeless itself and comes first
        return {};
    }
    const auto subreaper = [&](bool on) -> Result<> {
        if (task.parent == 0)
            return {};
        auto batch = parent->second->batch();
        batch.must("PR_SET_CHILD_SUBREAPER", SYS_prctl, PR_SET_CHILD_SUBREAPER, on ? 1 : 0);
        return parent->second->run(batch);
    };
    int session = session_of(task);
    const auto leader = husks_.find(session);
    std::unique_ptr<Husk> helper;
    model::ObjRef pids_there = 0;
    Husk *maker = nullptr; // whose child the helper is; null: ours
    if (leader != husks_.end()) {
        maker = leader->second.get();
        helper = std::make_unique<Husk>(TRY(maker->make_child({pids.next()}, 0, 0)));
        pids_there = namespace_of(tree_, *tasks_.at(session), "pid");
    } else {
        if (task.parent == 0) {
            auto made = new_root({session}, 0, 0);
            if (!made && made.error().code() == EEXIST) {
                sessions_[task.session] = task.pid; // the number is in use: the oldest root leads
                return make_root(context, task);
            }
            helper = TRY(std::move(made));
            maker = reaper_;
        } else {
            maker = parent->second.get();
            // born where the parent is: the task itself may be the first of a namespace below
            std::vector<int32_t> inner = task.inner_sessions;
            inner.resize(std::min(inner.size(), tasks_.at(task.parent)->inner_pids.size()));
            helper = std::make_unique<Husk>(TRY(maker->make_child(numbers_of(session, inner), 0, 0)));
            pids_there = namespace_of(tree_, *tasks_.at(task.parent), "pid");
        }
        auto batch = helper->batch();
        batch.must("setsid", SYS_setsid);
        TRY(helper->run(batch));
    }
    TRY(subreaper(true));
    std::vector<const model::Task *> adopted;
    for (const model::Task *child : children_[task.parent]) {
        if (session_of(*child) != session || session == child->pid || husks_.contains(child->pid))
            continue;
        husks_[child->pid] = std::make_unique<Husk>(
            TRY_IN(make_child(*helper, pids_there, *child, 0), "process {} ({})", child->pid, child->comm));
        adopted.push_back(child);
        if (child->parent == 0)
            roots_.push_back(husks_[child->pid]->pid());
    }
    const int helper_pid = helper->own_pid();
    TRY(helper->end(0));
    if (maker != nullptr)
        TRY(maker->reap(helper_pid));
    TRY(subreaper(false));
    for (const model::Task *child : adopted)
        TRY(make_below(context, *child, session));
    return {};
}

Result<int> Family::group_as_seen_by(const model::Task &task, int group) const {
    if (const int seen = group_seen_by(tree_, task, group); seen != 0)
        return seen;
    return fail(ESRCH, "process group {} has no number in its pid namespace", group);
}

Result<> Family::place_early(const model::Task &task) {
    const auto leader = tasks_.find(task.process_group);
    if (leader != tasks_.end() && leader->second != &task && husks_.contains(task.process_group))
        TRY(place_in_group(*leader->second));
    return place_in_group(task);
}

Result<Husk> Family::make_child(Husk &maker, model::ObjRef pids, const model::Task &child, uint64_t flags) {
    const auto numbers = numbers_of(child.pid, child.inner_pids);
    const model::ObjRef own = namespace_of(tree_, child, "pid");
    if (own == pids)
        return maker.make_child(numbers, flags, child.exit_signal);
    if (own == 0)
        return fail(EBADMSG, "its pid namespace is not below that of its parent");
    if (is_first(&child)) {
        if (TRY(find(tree_.namespaces, own))->parent != pids)
            return fail(ENOTSUP, "its pid namespace does not lie in that of its parent");
        return maker.make_child(numbers, flags | CLONE_NEWPID, child.exit_signal);
    }
    // made by a process whose children are in a namespace that is there already
    const auto first = std::ranges::find_if(tree_.tasks, [&](const model::Task &task) {
        return is_first(&task) && namespace_of(tree_, task, "pid") == own && husks_.contains(task.pid);
    });
    if (first == tree_.tasks.end())
        return fail(ENOTSUP, "the first process of its pid namespace is not there");
    const auto go = [&](int pid) -> Result<> {
        const Fd file = TRY(abey::open_file(fmt::format("/proc/{}/ns/pid", pid), O_RDONLY));
        auto batch = maker.batch();
        batch.must("cannot take a pid namespace", SYS_pidfd_getfd, shop_.worker_number, file.get(), 0);
        batch.must("cannot enter a pid namespace", SYS_setns, 0, CLONE_NEWPID); // 0: the table is empty
        batch.must("close", SYS_close, 0);
        return maker.run(batch);
    };
    TRY(go(husks_.at(first->pid)->pid()));
    Husk born = TRY(maker.make_child(numbers, flags, child.exit_signal));
    TRY(go(maker.pid()));
    return born;
}

Result<> Family::place_in_group(const model::Task &task) {
    if (session_of(task) == task.pid || is_in_group_above(task))
        return {}; // a session leader leads its group as well
    int group = task.process_group;
    if (const auto known = groups_.find(group); known != groups_.end())
        group = known->second;
    else if (const auto led = sessions_.find(group); led != sessions_.end())
        group = led->second;
    auto batch = husks_.at(task.pid)->batch();
    batch.must(fmt::format("cannot join process group {}", group), SYS_setpgid, 0,
               TRY_IN(group_as_seen_by(task, group), "process {} ({})", task.pid, task.comm));
    TRY_IN(husks_.at(task.pid)->run(batch), "process {} ({})", task.pid, task.comm);
    return {};
}

Result<> Family::make_groups(Context &context) {
    for (const model::Task &task : tree_.tasks)
        if (task.process_group == task.pid)
            TRY(place_in_group(task));
    struct Helper {
        Husk *maker = nullptr;
        std::unique_ptr<Husk> husk;
        int pid = 0; // as the maker has it
    };
    std::map<int, Helper> helpers; // dead leaders, by group
    for (const model::Task &task : tree_.tasks) {
        const int group = task.process_group;
        if (group == task.pid)
            continue;
        if (is_in_group_above(task))
            continue;
        const bool dead = !tasks_.contains(group) && !groups_.contains(group) && !sessions_.contains(group);
        if (dead && session_of(task) != task.pid) {
            Husk &maker = *husks_.at(task.pid);
            auto helper = maker.make_child(numbers_of(group, task.inner_groups), 0, 0);
            if (helper) {
                auto batch = helper->batch();
                batch.must("setpgid", SYS_setpgid, 0, 0);
                TRY(helper->run(batch));
                groups_[group] = group;
                const int seen = helper->own_pid();
                helpers[group] = {&maker, std::make_unique<Husk>(std::move(*helper)), seen};
            } else if (helper.error().code() == EEXIST) {
                groups_[group] = task.pid; // somebody else has that number: the first member leads
            } else {
                return std::unexpected(helper.error());
            }
        }
        TRY(place_in_group(task));
    }
    for (auto &[group, helper] : helpers) {
        TRY(helper.husk->end(0));
        TRY(helper.maker->reap(helper.pid));
    }
    for (const model::Task &task : tree_.tasks) {
        if (task.terminal == 0 || session_of(task) != task.pid)
            continue;
        const auto &terminal = *TRY(find(tree_.terminals, task.terminal));
        int group = terminal.foreground;
        if (const auto known = groups_.find(group); known != groups_.end())
            group = known->second;
        else if (const auto led = sessions_.find(group); led != sessions_.end())
            group = led->second;
        auto batch = husks_.at(task.pid)->batch();
        const auto seen = group_as_seen_by(task, group);
        const uint64_t at = batch.put(seen.value_or(0));
        batch.must("pidfd_getfd", SYS_pidfd_getfd, shop_.worker_number, TRY(terminal_slave(context, task.terminal)), 0);
        batch.may(SYS_ioctl, 0, TIOCSPGRP, at); // a group that has ended leaves its terminal to nobody
        batch.must("close", SYS_close, 0);
        TRY_IN(husks_.at(task.pid)->run(batch), "process {} ({})", task.pid, task.comm);
    }
    for (const model::Task &task : tree_.tasks)
        if (task.state == model::TaskState::zombie) {
            auto batch = husks_.at(task.pid)->batch();
            batch.may(SYS_prctl, PR_SET_NAME, batch.put_string(task.comm)); // what ps shows of it
            TRY_IN(husks_.at(task.pid)->run(batch), "zombie {} ({})", task.pid, task.comm);
            TRY_IN(husks_.at(task.pid)->end(task.exit_code), "zombie {} ({})", task.pid, task.comm);
        }
    return {};
}

} // namespace abey::rebuild
