// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/task.h"

namespace abey::capture {

namespace {

void translate(const std::map<int, int> &ids, int &id) {
    if (const auto own = ids.find(id); own != ids.end())
        id = own->second;
}

} // namespace

Result<OwnIds> own_ids(const StandStill &still) {
    OwnIds ids;
    for (const Stopped &process : still.processes()) {
        const auto status = TRY(os::read_status(process.pid));
        ids.tasks[process.pid] = status.own_pid;
        ids.groups[process.stat.process_group] = status.own_group;
        ids.sessions[process.stat.session] = status.own_session;
        for (const os::Tracee &thread : process.threads)
            if (thread.tid() != process.pid)
                ids.tasks[thread.tid()] = status.namespaces_deep == 1
                                              ? thread.tid()
                                              : TRY(os::read_status(process.pid, thread.tid())).own_tid;
    }
    return ids;
}

void translate_ids(model::Tree &tree, const OwnIds &ids) {
    for (auto &[id, terminal] : tree.terminals) {
        translate(ids.sessions, terminal.session);
        translate(ids.groups, terminal.foreground);
    }
    constexpr int owner_is_group = 2; // F_OWNER_PGRP, fcntl(2)
    for (auto &[id, file] : tree.open_files) {
        translate(file.owner.type == owner_is_group ? ids.groups : ids.tasks, file.owner.pid);
        if (auto *handle = std::get_if<model::ProcessHandle>(&file.payload))
            translate(ids.tasks, handle->pid);
        if (auto *ns = std::get_if<model::NamespaceFile>(&file.payload))
            translate(ids.tasks, ns->pid);
        for (model::FileLock &lock : file.locks)
            translate(ids.tasks, lock.pid);
    }
    for (auto &[id, set] : tree.semaphore_sets)
        for (model::Semaphore &semaphore : set.semaphores)
            translate(ids.tasks, semaphore.last_user);
    for (auto &[id, queue] : tree.ipc_queues) {
        translate(ids.tasks, queue.last_sender);
        translate(ids.tasks, queue.last_receiver);
    }
    for (auto &[id, socket] : tree.unix_sockets) {
        translate(ids.tasks, socket.owner_pid);
        translate(ids.tasks, socket.peer_pid);
        for (model::SocketMessage &message : socket.queue)
            translate(ids.tasks, message.sender_pid);
    }
}

} // namespace abey::capture
