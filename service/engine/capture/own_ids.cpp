// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/task.h"

#include <algorithm>
#include <utility>

namespace abey::capture {

namespace {

void translate(const std::map<int, int> &ids, int &id) {
    if (const auto own = ids.find(id); own != ids.end())
        id = own->second;
}

} // namespace

int OwnIds::of_session(const std::vector<int> &all) const {
    return all.empty() ? 0 : all[std::min(depth, all.size()) - 1];
}

std::vector<int> OwnIds::inner(const std::vector<int> &all) const {
    return all.size() <= depth ? std::vector<int>()
                               : std::vector<int>(all.begin() + static_cast<ptrdiff_t>(depth), all.end());
}

Result<OwnIds> own_ids(const StandStill &still) {
    OwnIds ids;
    std::vector<os::ProcStatus> all;
    for (const Stopped &process : still.processes()) {
        all.push_back(TRY(os::read_status(process.stat.zombie() ? process.pid : process.stat.door)));
        if (all.size() == 1 || all.back().depth_of_owner() < ids.depth)
            ids.depth = all.back().depth_of_owner();
    }
    for (size_t i = 0; i < all.size(); ++i) {
        const Stopped &process = still.processes()[i];
        const os::ProcStatus &status = all[i];
        ids.tasks[process.pid] = ids.of_session(status.all_pids);
        if (process.stat.leader_ended())
            ids.doors[process.stat.door] = ids.of_session(status.all_pids);
        ids.groups[process.stat.process_group] = ids.of_session(status.all_groups);
        ids.sessions[process.stat.session] = ids.of_session(status.all_sessions);
        for (const os::Tracee &thread : process.threads)
            if (thread.tid() != process.pid)
                ids.tasks[thread.tid()] =
                    status.namespaces_deep == 1
                        ? thread.tid()
                        : ids.of_session(TRY(os::read_status(process.pid, thread.tid())).all_tids);
    }
    return ids;
}

void translate_ids(model::Tree &tree, const OwnIds &ids) {
    for (auto &[id, terminal] : tree.terminals) {
        translate(ids.sessions, terminal.session);
        translate(ids.groups, terminal.foreground);
    }
    const auto translate_process = [&ids](int &id) { translate(ids.doors.contains(id) ? ids.doors : ids.tasks, id); };
    constexpr int owner_is_group = 2; // F_OWNER_PGRP, fcntl(2)
    for (auto &[id, file] : tree.open_files) {
        translate(file.owner.type == owner_is_group ? ids.groups : ids.tasks, file.owner.pid);
        if (auto *handle = std::get_if<model::ProcessHandle>(&file.payload))
            translate_process(handle->pid);
        if (auto *ns = std::get_if<model::NamespaceFile>(&file.payload))
            translate_process(ns->pid);
        for (model::FileLock &lock : file.locks)
            translate_process(lock.pid);
    }
    for (auto &[id, set] : tree.semaphore_sets)
        for (model::Semaphore &semaphore : set.semaphores)
            translate(ids.tasks, semaphore.last_user);
    for (auto &[id, queue] : tree.ipc_queues) {
        translate(ids.tasks, queue.last_sender);
        translate(ids.tasks, queue.last_receiver);
    }
    // Of one that has ended only the id in our pid namespace is known.
    const bool same_namespace = !ids.tasks.empty() && ids.tasks.begin()->first == ids.tasks.begin()->second;
    const auto translate_former = [&](int &id) {
        if (!same_namespace && !ids.tasks.contains(id) && !ids.doors.contains(id))
            id = 0;
        translate_process(id);
    };
    for (auto &[id, socket] : tree.unix_sockets) {
        translate_former(socket.owner_pid);
        translate_former(socket.peer_pid);
        for (model::SocketMessage &message : socket.queue)
            translate(ids.tasks, message.sender_pid);
    }
}

} // namespace abey::capture
