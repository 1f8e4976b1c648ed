// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::Credentials &from, pb::Credentials &to) {
    to.set_uid(from.uid);
    to.set_euid(from.euid);
    to.set_suid(from.suid);
    to.set_fsuid(from.fsuid);
    to.set_gid(from.gid);
    to.set_egid(from.egid);
    to.set_sgid(from.sgid);
    to.set_fsgid(from.fsgid);
    for (const auto &each : from.groups)
        to.add_groups(each);
    to.set_inheritable(from.inheritable);
    to.set_permitted(from.permitted);
    to.set_effective(from.effective);
    to.set_bounding(from.bounding);
    to.set_ambient(from.ambient);
    to.set_securebits(from.securebits);
    to.set_no_new_privs(from.no_new_privs);
}

Result<> get(const pb::Credentials &from, model::Credentials &to) {
    to.uid = from.uid();
    to.euid = from.euid();
    to.suid = from.suid();
    to.fsuid = from.fsuid();
    to.gid = from.gid();
    to.egid = from.egid();
    to.sgid = from.sgid();
    to.fsgid = from.fsgid();
    to.groups.assign(from.groups().begin(), from.groups().end());
    to.inheritable = from.inheritable();
    to.permitted = from.permitted();
    to.effective = from.effective();
    to.bounding = from.bounding();
    to.ambient = from.ambient();
    to.securebits = from.securebits();
    to.no_new_privs = from.no_new_privs();
    return {};
}

void put(const model::SeccompFilter &from, pb::SeccompFilter &to) {
    to.set_program(from.program);
    to.set_log(from.log);
}

Result<> get(const pb::SeccompFilter &from, model::SeccompFilter &to) {
    to.program = from.program();
    to.log = from.log();
    return {};
}

void put(const model::Seccomp &from, pb::Seccomp &to) {
    to.set_mode(from.mode);
    for (const auto &each : from.filters)
        put(each, *to.add_filters());
}

Result<> get(const pb::Seccomp &from, model::Seccomp &to) {
    to.mode = from.mode();
    for (const auto &each : from.filters())
        TRY(get(each, to.filters.emplace_back()));
    return {};
}

void put(const model::SignalAction &from, pb::SignalAction &to) {
    to.set_handler(from.handler);
    to.set_flags(from.flags);
    to.set_restorer(from.restorer);
    to.set_mask(from.mask);
}

Result<> get(const pb::SignalAction &from, model::SignalAction &to) {
    to.handler = from.handler();
    to.flags = from.flags();
    to.restorer = from.restorer();
    to.mask = from.mask();
    return {};
}

void put(const model::AlternateStack &from, pb::AlternateStack &to) {
    to.set_address(from.address);
    to.set_flags(from.flags);
    to.set_size(from.size);
}

Result<> get(const pb::AlternateStack &from, model::AlternateStack &to) {
    to.address = from.address();
    to.flags = from.flags();
    to.size = from.size();
    return {};
}

void put(const model::IntervalTimer &from, pb::IntervalTimer &to) {
    to.set_interval_us(from.interval_us);
    to.set_value_us(from.value_us);
}

Result<> get(const pb::IntervalTimer &from, model::IntervalTimer &to) {
    to.interval_us = from.interval_us();
    to.value_us = from.value_us();
    return {};
}

void put(const model::PosixTimer &from, pb::PosixTimer &to) {
    to.set_id(from.id);
    to.set_clock(from.clock);
    to.set_signal(from.signal);
    to.set_notify(from.notify);
    to.set_notify_tid(from.notify_tid);
    to.set_sigval(from.sigval);
    to.set_overrun(from.overrun);
    put(from.interval, *to.mutable_interval());
    put(from.value, *to.mutable_value());
}

Result<> get(const pb::PosixTimer &from, model::PosixTimer &to) {
    to.id = from.id();
    to.clock = from.clock();
    to.signal = from.signal();
    to.notify = from.notify();
    to.notify_tid = from.notify_tid();
    to.sigval = from.sigval();
    to.overrun = from.overrun();
    TRY(get(from.interval(), to.interval));
    TRY(get(from.value(), to.value));
    return {};
}

void put(const model::Rseq &from, pb::Rseq &to) {
    to.set_address(from.address);
    to.set_size(from.size);
    to.set_signature(from.signature);
    to.set_flags(from.flags);
}

Result<> get(const pb::Rseq &from, model::Rseq &to) {
    to.address = from.address();
    to.size = from.size();
    to.signature = from.signature();
    to.flags = from.flags();
    return {};
}

void put(const model::Scheduling &from, pb::Scheduling &to) {
    to.set_policy(from.policy);
    to.set_flags(from.flags);
    to.set_nice(from.nice);
    to.set_priority(from.priority);
    to.set_runtime(from.runtime);
    to.set_deadline(from.deadline);
    to.set_period(from.period);
    to.set_affinity(from.affinity);
    to.set_timer_slack_ns(from.timer_slack_ns);
    to.set_io_priority(from.io_priority);
}

Result<> get(const pb::Scheduling &from, model::Scheduling &to) {
    to.policy = from.policy();
    to.flags = from.flags();
    to.nice = from.nice();
    to.priority = from.priority();
    to.runtime = from.runtime();
    to.deadline = from.deadline();
    to.period = from.period();
    to.affinity = from.affinity();
    to.timer_slack_ns = from.timer_slack_ns();
    to.io_priority = from.io_priority();
    return {};
}

void put(const model::Thread &from, pb::Thread &to) {
    to.set_tid(from.tid);
    to.set_comm(from.comm);
    to.set_registers(from.registers);
    to.set_xstate(from.xstate);
    to.set_signal_mask(from.signal_mask);
    put(from.alternate_stack, *to.mutable_alternate_stack());
    for (const auto &each : from.pending)
        to.add_pending(each);
    put(from.credentials, *to.mutable_credentials());
    put(from.seccomp, *to.mutable_seccomp());
    put(from.scheduling, *to.mutable_scheduling());
    to.set_robust_list(from.robust_list);
    to.set_robust_list_size(from.robust_list_size);
    to.set_clear_child_tid(from.clear_child_tid);
    to.mutable_inner_tids()->Add(from.inner_tids.begin(), from.inner_tids.end());
    put(from.rseq, *to.mutable_rseq());
    to.set_parent_death_signal(from.parent_death_signal);
    to.set_time_stamp_counter(from.time_stamp_counter);
    to.set_machine_checks(from.machine_checks);
    to.set_io_flusher(from.io_flusher);
    for (const auto each : from.speculation)
        to.add_speculation(each);
    for (const auto &each : from.named_cgroups)
        to.add_named_cgroups(each);
    to.set_ended(from.ended);
    to.set_cgroup(from.cgroup);
    to.mutable_sleep()->set_call(from.sleep.call);
    to.mutable_sleep()->set_left(from.sleep.left);
}

Result<> get(const pb::Thread &from, model::Thread &to) {
    to.tid = from.tid();
    to.comm = from.comm();
    to.registers = from.registers();
    to.xstate = from.xstate();
    to.signal_mask = from.signal_mask();
    TRY(get(from.alternate_stack(), to.alternate_stack));
    to.pending.assign(from.pending().begin(), from.pending().end());
    TRY(get(from.credentials(), to.credentials));
    TRY(get(from.seccomp(), to.seccomp));
    TRY(get(from.scheduling(), to.scheduling));
    to.robust_list = from.robust_list();
    to.robust_list_size = from.robust_list_size();
    to.clear_child_tid = from.clear_child_tid();
    to.inner_tids.assign(from.inner_tids().begin(), from.inner_tids().end());
    TRY(get(from.rseq(), to.rseq));
    to.parent_death_signal = from.parent_death_signal();
    to.time_stamp_counter = from.time_stamp_counter();
    to.machine_checks = from.machine_checks();
    to.io_flusher = from.io_flusher();
    for (int i = 0; i < std::min(from.speculation_size(), static_cast<int>(to.speculation.size())); ++i)
        to.speculation.at(static_cast<size_t>(i)) = from.speculation(i);
    to.named_cgroups.assign(from.named_cgroups().begin(), from.named_cgroups().end());
    to.ended = from.ended();
    to.cgroup = from.cgroup();
    to.sleep = {from.sleep().call(), from.sleep().left()};
    return {};
}

void put(const model::ResourceLimit &from, pb::ResourceLimit &to) {
    to.set_soft(from.soft);
    to.set_hard(from.hard);
}

Result<> get(const pb::ResourceLimit &from, model::ResourceLimit &to) {
    to.soft = from.soft();
    to.hard = from.hard();
    return {};
}

void put(const model::Task &from, pb::Task &to) {
    to.set_pid(from.pid);
    to.set_parent(from.parent);
    to.set_process_group(from.process_group);
    to.set_session(from.session);
    to.set_state(static_cast<uint32_t>(from.state));
    to.set_exit_code(from.exit_code);
    to.set_stop_signal(from.stop_signal);
    to.set_exit_signal(from.exit_signal);
    to.set_comm(from.comm);
    for (const auto &each : from.threads)
        put(each, *to.add_threads());
    to.set_address_space(from.address_space);
    to.set_descriptors(from.descriptors);
    to.set_fs(from.fs);
    to.set_terminal(from.terminal);
    for (const auto &each : from.actions)
        put(each, *to.add_actions());
    for (const auto &each : from.pending)
        to.add_pending(each);
    for (const auto &each : from.interval_timers)
        put(each, *to.add_interval_timers());
    for (const auto &each : from.posix_timers)
        put(each, *to.add_posix_timers());
    for (const auto &each : from.limits)
        put(each, *to.add_limits());
    to.set_personality(from.personality);
    to.set_oom_score_adj(from.oom_score_adj);
    to.set_login_uid(from.login_uid);
    to.set_dumpable(from.dumpable);
    to.set_child_subreaper(from.child_subreaper);
    to.set_thp_disabled(from.thp_disabled);
    to.set_thp_when_advised(from.thp_when_advised);
    to.set_autogroup_nice(from.autogroup_nice);
    to.set_membarrier(from.membarrier);
    to.set_coredump_filter(from.coredump_filter);
    to.set_memory_deny_write_execute(from.memory_deny_write_execute);
    to.set_memory_merge(from.memory_merge);
    to.set_cgroup(from.cgroup);
    for (const auto each : from.namespaces)
        to.add_namespaces(each);
    to.mutable_inner_pids()->Add(from.inner_pids.begin(), from.inner_pids.end());
    to.mutable_inner_groups()->Add(from.inner_groups.begin(), from.inner_groups.end());
    to.mutable_inner_sessions()->Add(from.inner_sessions.begin(), from.inner_sessions.end());
    to.set_pids_of_children(from.pids_of_children);
    to.set_time_of_children(from.time_of_children);
}

Result<> get(const pb::Task &from, model::Task &to) {
    to.pid = from.pid();
    to.parent = from.parent();
    to.process_group = from.process_group();
    to.session = from.session();
    to.state = TRY(enumerator(from.state(), model::TaskState::zombie, "Task.state"));
    to.exit_code = from.exit_code();
    to.stop_signal = from.stop_signal();
    to.exit_signal = from.exit_signal();
    to.comm = from.comm();
    TRY(get_all(from.threads(), to.threads));
    to.address_space = from.address_space();
    to.descriptors = from.descriptors();
    to.fs = from.fs();
    to.terminal = from.terminal();
    TRY(get_all(from.actions(), to.actions));
    to.pending.assign(from.pending().begin(), from.pending().end());
    TRY(get_array(from.interval_timers(), to.interval_timers, "Task.interval_timers"));
    TRY(get_all(from.posix_timers(), to.posix_timers));
    TRY(get_array(from.limits(), to.limits, "Task.limits"));
    to.personality = from.personality();
    to.oom_score_adj = from.oom_score_adj();
    to.login_uid = from.login_uid();
    to.dumpable = from.dumpable();
    to.child_subreaper = from.child_subreaper();
    to.thp_disabled = from.thp_disabled();
    to.thp_when_advised = from.thp_when_advised();
    to.autogroup_nice = from.autogroup_nice();
    to.membarrier = from.membarrier();
    to.coredump_filter = from.coredump_filter();
    to.memory_deny_write_execute = from.memory_deny_write_execute();
    to.memory_merge = from.memory_merge();
    to.cgroup = from.cgroup();
    to.namespaces.assign(from.namespaces().begin(), from.namespaces().end());
    to.inner_pids.assign(from.inner_pids().begin(), from.inner_pids().end());
    to.inner_groups.assign(from.inner_groups().begin(), from.inner_groups().end());
    to.inner_sessions.assign(from.inner_sessions().begin(), from.inner_sessions().end());
    to.pids_of_children = from.pids_of_children();
    to.time_of_children = from.time_of_children();
    return {};
}

} // namespace abey::image
