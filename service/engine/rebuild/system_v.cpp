// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/system_v.h"

#include "engine/rebuild/ipc_identity.h"
#include "engine/rebuild/own_namespaces.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <set>

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace {

// Context::state: what was made here.
struct MadeQueuesAndSets {
    MadeQueuesAndSets() = default;
    MadeQueuesAndSets(const MadeQueuesAndSets &) = delete;
    MadeQueuesAndSets &operator=(const MadeQueuesAndSets &) = delete;
    ~MadeQueuesAndSets() {
        if (context == nullptr || context->released)
            return;
        for (const int identifier : sets)
            ::semctl(identifier, 0, IPC_RMID);
        for (const int identifier : queues)
            ::msgctl(identifier, IPC_RMID, nullptr);
    }
    const Context *context = nullptr;
    std::vector<int> sets, queues; // in the session's ipc namespace: another one takes them along
};

bool is_same(const ipc_perm &there, const model::IpcIdentity &identity) {
    return there.__key == identity.key && there.cuid == identity.creator_uid;
}

void set_owner(ipc_perm &there, const model::IpcIdentity &identity) {
    there.uid = identity.uid;
    there.gid = identity.gid;
    there.mode = static_cast<decltype(there.mode)>(identity.mode);
}

// Has a living process that is not of ours used it? What it holds is that one's, then.
bool is_foreign(const Context &context, int pid) {
    const bool ours = std::ranges::any_of(context.pids, [pid](const auto &known) { return known.second == pid; }) ||
                      pid == ::getpid();
    return pid > 0 && !ours && (::kill(pid, 0) == 0 || errno == EPERM);
}

// `get` makes it: semget(2) or msgget(2).
template <class Get>
Result<> make(const char *kind, const model::IpcIdentity &identity, std::vector<int> &made, Get get) {
    TRY(choose_next_id(kind, identity.identifier));
    int id = -1;
    {
        const AsCreator creator(identity.creator_uid, identity.creator_gid);
        if (creator.failed())
            return fail(EPERM, "cannot act as user {}", identity.creator_uid);
        id = get(IPC_CREAT | IPC_EXCL | static_cast<int>(identity.mode & 0777U));
    }
    if (id < 0)
        return fail(errno, "cannot be made again (key 0x{:x}){}", identity.key,
                    errno == EEXIST ? "; another one has its key now: remove it with ipcrm" : "");
    made.push_back(id);
    if (id != identity.identifier)
        return fail(EEXIST, "its identifier {} is taken; remove the other one with ipcrm", identity.identifier);
    return {};
}

Result<> make_set(Context &context, const model::SemaphoreSet &set) {
    const auto inside = TRY(inside_namespace(context, set.ipc_namespace));
    auto &state = context.state<MadeQueuesAndSets>();
    state.context = &context;
    const int id = set.identity.identifier;
    const size_t count = set.semaphores.size();
    semid_ds there = {};
    if (::semctl(id, 0, IPC_STAT, &there) == 0) {
        if (!is_same(there.sem_perm, set.identity) || there.sem_nsems != count)
            return fail(EEXIST, "another set has its identifier now; remove that with ipcrm");
        for (size_t i = 0; i < count; ++i)
            if (is_foreign(context, ::semctl(id, static_cast<int>(i), GETPID)))
                return {};
    } else {
        TRY(make("sem", set.identity, state.sets,
                 [&](int flags) { return ::semget(set.identity.key, static_cast<int>(count), flags); }));
        if (set.ipc_namespace != 0)
            state.sets.pop_back();
        if (::semctl(id, 0, IPC_STAT, &there) < 0)
            return fail(errno, "cannot ask for its owner");
    }
    std::vector<unsigned short> values;
    values.reserve(set.semaphores.size());
    for (const model::Semaphore &semaphore : set.semaphores)
        values.push_back(static_cast<unsigned short>(semaphore.value));
    if (::semctl(id, 0, SETALL, values.data()) < 0)
        return fail(errno, "cannot set its values");
    set_owner(there.sem_perm, set.identity);
    if (::semctl(id, 0, IPC_SET, &there) < 0)
        return fail(errno, "cannot set its owner and mode");
    return {};
}

// struct msgbuf, msgop(2)
std::vector<std::byte> buffer_of(int64_t type, std::string_view text) {
    const long number = type;
    std::vector<std::byte> buffer(sizeof number + text.size());
    std::memcpy(buffer.data(), &number, sizeof number);
    if (!text.empty())
        std::memcpy(buffer.data() + sizeof number, text.data(), text.size());
    return buffer;
}

// A type that no message in the queue has, for one that makes a task its last user and is gone again.
int64_t free_type(const model::IpcQueue &queue) {
    std::set<int64_t> taken;
    for (const model::IpcMessage &message : queue.messages)
        taken.insert(message.type);
    int64_t type = std::numeric_limits<long>::max();
    while (taken.contains(type))
        --type;
    return type;
}

Result<> make_queue(Context &context, const model::IpcQueue &queue) {
    const auto inside = TRY(inside_namespace(context, queue.ipc_namespace));
    auto &state = context.state<MadeQueuesAndSets>();
    state.context = &context;
    const int id = queue.identity.identifier;
    msqid_ds there = {};
    if (::msgctl(id, IPC_STAT, &there) == 0) {
        if (!is_same(there.msg_perm, queue.identity))
            return fail(EEXIST, "another queue has its identifier now; remove that with ipcrm");
        if (is_foreign(context, there.msg_lspid) || is_foreign(context, there.msg_lrpid))
            return {};
        std::array<std::byte, sizeof(long)> nothing = {};
        while (::msgrcv(id, nothing.data(), 0, 0, IPC_NOWAIT | MSG_NOERROR) >= 0) {
        }
    } else {
        TRY(make("msg", queue.identity, state.queues, [&](int flags) { return ::msgget(queue.identity.key, flags); }));
        if (queue.ipc_namespace != 0)
            state.queues.pop_back();
        if (::msgctl(id, IPC_STAT, &there) < 0)
            return fail(errno, "cannot ask for its owner");
    }
    set_owner(there.msg_perm, queue.identity);
    there.msg_qbytes = queue.most_bytes;
    if (::msgctl(id, IPC_SET, &there) < 0)
        return fail(errno, "cannot set its owner, mode and size ({} bytes)", queue.most_bytes);
    for (const model::IpcMessage &message : queue.messages)
        if (::msgsnd(id, buffer_of(message.type, message.text).data(), message.text.size(), IPC_NOWAIT) < 0)
            return fail(errno, "cannot put a message of {} bytes back", message.text.size());
    if (queue.last_sender == 0)
        (void)::msgsnd(id, buffer_of(free_type(queue), {}).data(), 0, IPC_NOWAIT);
    return {};
}

} // namespace

Result<> make_system_v(Context &context) {
    for (const auto &[id, set] : context.tree.semaphore_sets)
        TRY_IN(make_set(context, set), "System V semaphores {}", set.identity.identifier);
    for (const auto &[id, queue] : context.tree.ipc_queues)
        TRY_IN(make_queue(context, queue), "System V message queue {}", queue.identity.identifier);
    return {};
}

Result<> use_system_v(const model::Tree &tree, const model::Task &task, Calls &calls) {
    const model::ObjRef ns = namespace_of(tree, task, "ipc");
    for (const auto &[id, set] : tree.semaphore_sets)
        for (size_t i = 0; i < set.semaphores.size(); ++i) {
            if (set.semaphores[i].last_user != task.pid || set.ipc_namespace != ns)
                continue;
            TRY(calls.room_for());
            calls.batch().may(SYS_semctl, set.identity.identifier, i, SETVAL, set.semaphores[i].value);
        }
    for (const auto &[id, queue] : tree.ipc_queues) {
        if (queue.last_sender != task.pid || queue.ipc_namespace != ns)
            continue;
        TRY(calls.room_for());
        const uint64_t at = calls.batch().put(std::span<const std::byte>(buffer_of(free_type(queue), {})));
        calls.batch().may(SYS_msgsnd, queue.identity.identifier, at, 0, IPC_NOWAIT);
    }
    return {};
}

Result<> finish_system_v(const model::Tree &tree, const model::Task &task, Calls &calls) {
    for (const auto &[id, queue] : tree.ipc_queues) {
        const int receiver = queue.last_receiver != 0 ? queue.last_receiver : queue.last_sender;
        if (receiver != task.pid || queue.ipc_namespace != namespace_of(tree, task, "ipc"))
            continue;
        TRY(calls.room_for());
        const uint64_t at = calls.batch().reserve(sizeof(long));
        calls.batch().may(SYS_msgrcv, queue.identity.identifier, at, 0, free_type(queue), IPC_NOWAIT);
    }
    return {};
}

} // namespace abey::rebuild
