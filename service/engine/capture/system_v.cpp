// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System V IPC (sysvipc(7)) that no mapping leads to: semaphores, message queues, segments that nobody has attached.
// They belong to no process; the kernel only knows who used them last. What nobody but the session uses is kept, the
// rest is told.
#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"
#include "engine/capture/shared_memory.h"
#include "engine/os/kernel.h"
#include "engine/os/namespace.h"
#include "engine/os/procfs.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <sstream>

#include <sys/msg.h>
#include <sys/sem.h>

namespace abey::capture {
namespace system_v {
namespace {

bool matches(const Seen & /*seen*/) { return false; }

// The lines of a table in /proc/sysvipc without its head; none when the kernel has no such table.
std::vector<std::string> rows(const char *table) {
    std::vector<std::string> result;
    const auto text = read_file(fmt::format("/proc/sysvipc/{}", table));
    if (!text)
        return result;
    std::istringstream lines(*text);
    std::string line;
    for (std::getline(lines, line); std::getline(lines, line);)
        result.push_back(line);
    return result;
}

// Who used an object last.
struct Users {
    int inside = 0;  // a process of the tree
    int outside = 0; // one that lives, and is not
};

class Search {
  public:
    explicit Search(Context &context) : context_(context) {}

    // Nothing when no process of the tree has used it.
    [[nodiscard]] std::optional<Users> users(std::span<const int> last) const {
        Users found;
        for (const int pid : last) {
            if (pid <= 0)
                continue;
            if (context_.is_inside(pid))
                found.inside = pid;
            else if (::kill(pid, 0) == 0 || errno == EPERM)
                found.outside = pid;
        }
        return found.inside == 0 ? std::nullopt : std::optional(found);
    }
    void tell(const Users &users, std::string object, std::string reason, std::string advice) {
        const auto stat = os::read_stat(users.inside);
        context_.findings.push_back({.pid = users.inside,
                                     .comm = stat ? stat->comm : "?",
                                     .object = "System V " + std::move(object),
                                     .reason = std::move(reason),
                                     .advice = std::move(advice),
                                     .fatal = false});
    }
    void tell_left(const Users &users, std::string object) {
        tell(users, std::move(object),
             fmt::format("it is not part of the checkpoint{}: it lasts until the machine is booted again, or until "
                         "logind removes it at the user's logout",
                         users.outside == 0 ? ""
                                            : fmt::format(", since process {} outside uses it, too", users.outside)),
             "set RemoveIPC=no in logind.conf(5), and resume before a reboot");
    }
    [[nodiscard]] int inside_or_none(int pid) const { return pid > 0 && context_.is_inside(pid) ? pid : 0; }

  private:
    Context &context_;
};

model::IpcIdentity identity_of(int identifier, const ipc_perm &there) {
    return {.identifier = identifier,
            .key = there.__key,
            .uid = there.uid,
            .gid = there.gid,
            .creator_uid = there.cuid,
            .creator_gid = there.cgid,
            .mode = there.mode & 0777U};
}

Result<> capture_set(Context &context, Search &search, int id, model::ObjRef ns) {
    semid_ds there = {};
    if (::semctl(id, 0, IPC_STAT, &there) < 0)
        return {}; // it has gone, or is another namespace's
    std::vector<int> last(there.sem_nsems);
    for (size_t i = 0; i < last.size(); ++i)
        last[i] = ::semctl(id, static_cast<int>(i), GETPID);
    const auto users = ns == 0 ? search.users(last) : Users{.inside = context.state<Namespaces>().held.at(ns).pid};
    if (!users)
        return {};
    const auto name = fmt::format("semaphores {}", id);
    if (users->outside != 0) {
        search.tell_left(*users, name);
        return {};
    }
    search.tell(*users, name,
                "what is taken back at a process's end (SEM_UNDO) cannot be read from the kernel and is lost", "");
    if (context.preflight)
        return {};
    std::vector<unsigned short> values(last.size());
    if (::semctl(id, 0, GETALL, values.data()) < 0)
        return fail(errno, "System V {}: cannot read the values", name);
    model::SemaphoreSet set;
    set.id = context.tree.next_id();
    set.identity = identity_of(id, there.sem_perm);
    set.ipc_namespace = ns;
    for (size_t i = 0; i < last.size(); ++i)
        set.semaphores.push_back({.value = values[i], .last_user = search.inside_or_none(last[i])});
    context.tree.semaphore_sets.emplace(set.id, std::move(set));
    return {};
}

// MSG_COPY leaves the messages where they are (msgop(2); CONFIG_CHECKPOINT_RESTORE).
Result<> copy_messages(int id, const msqid_ds &there, model::IpcQueue &queue) {
    std::vector<std::byte> buffer(sizeof(long) + there.__msg_cbytes);
    for (msgqnum_t i = 0; i < there.msg_qnum; ++i) {
        const ssize_t size =
            ::msgrcv(id, buffer.data(), there.__msg_cbytes, static_cast<long>(i), IPC_NOWAIT | MSG_COPY);
        if (size < 0)
            return fail(errno, "System V message queue {}: cannot read a message", id);
        model::IpcMessage message;
        std::memcpy(&message.type, buffer.data(), sizeof(long));
        message.text.assign(reinterpret_cast<const char *>(buffer.data()) + sizeof(long), static_cast<size_t>(size));
        queue.messages.push_back(std::move(message));
    }
    return {};
}

Result<> capture_queue(Context &context, Search &search, int id, model::ObjRef ns) {
    msqid_ds there = {};
    if (::msgctl(id, IPC_STAT, &there) < 0)
        return {};
    const auto users = ns == 0 ? search.users(std::array{there.msg_lspid, there.msg_lrpid}) : Users();
    if (!users)
        return {};
    if (users->outside != 0) {
        search.tell_left(*users, fmt::format("message queue {}", id));
        return {};
    }
    if (context.preflight)
        return {};
    model::IpcQueue queue;
    queue.id = context.tree.next_id();
    queue.identity = identity_of(id, there.msg_perm);
    queue.ipc_namespace = ns;
    queue.most_bytes = there.msg_qbytes;
    queue.last_sender = search.inside_or_none(there.msg_lspid);
    queue.last_receiver = search.inside_or_none(there.msg_lrpid);
    TRY(copy_messages(id, there, queue));
    context.tree.ipc_queues.emplace(queue.id, std::move(queue));
    return {};
}

// Those of an ipc namespace in which we are now; `ns` 0: of the session's, which others use, too.
Result<> capture_queues_and_sets(Context &context, Search &search, model::ObjRef ns) {
    int id = 0;
    for (const std::string &row : rows("msg"))
        if (std::sscanf(row.c_str(), "%*d %d", &id) == 1)
            TRY(capture_queue(context, search, id, ns));
    for (const std::string &row : rows("sem"))
        if (std::sscanf(row.c_str(), "%*d %d", &id) == 1)
            TRY(capture_set(context, search, id, ns));
    return {};
}

// All that is in an ipc namespace of the tree's own is the tree's.
Result<> capture_own(Context &context, Search &search, model::ObjRef ns) {
    const auto &held = context.state<Namespaces>().held.at(ns);
    const auto inside = TRY(os::Inside::of(held.file, held.type));
    int id = 0;
    for (const std::string &row : rows("shm"))
        if (std::sscanf(row.c_str(), "%*d %d", &id) == 1)
            if (const auto captured = capture_unattached(context, id, ns); !captured)
                context.findings.push_back({.pid = held.pid,
                                            .comm = held.comm,
                                            .object = fmt::format("System V shared memory {}", id),
                                            .reason = captured.error().message(),
                                            .advice = "",
                                            .fatal = true});
    return capture_queues_and_sets(context, search, ns);
}

Result<> complete_segments(Context &context) {
    if (!context.is_inside)
        return {};
    Search search(context);
    int id = 0, first = 0, second = 0;
    unsigned long count = 0;
    for (const std::string &row : rows("shm"))
        if (std::sscanf(row.c_str(), "%*d %d %*o %*u %d %d %lu", &id, &first, &second, &count) == 4 && count == 0)
            if (const auto users = search.users(std::array{first, second}))
                search.tell_left(*users, fmt::format("shared memory {}", id));
    TRY(capture_queues_and_sets(context, search, 0));
    for (const auto &[ns, held] : context.state<Namespaces>().held)
        if (held.type == "ipc")
            TRY(capture_own(context, search, ns));
    return {};
}

} // namespace
} // namespace system_v

Kind system_v_kind() {
    return {.name = "System V IPC",
            .matches = system_v::matches,
            .capture = nullptr,
            .complete = system_v::complete_segments};
}

} // namespace abey::capture
