// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Capture of what is behind descriptors, one Kind for each file in this directory. A new kind: a struct in model/, its
// alternative in model::Payload, a Kind here, a Kind in rebuild/, one line in each kinds.cpp.
#pragma once

#include "engine/files.h"
#include "engine/model/tree.h"
#include "engine/os/fd.h"
#include "engine/peers.h"

#include <any>
#include <functional>
#include <map>
#include <memory>
#include <typeindex>

namespace abey::capture {

// One open file as capture meets it: at a descriptor of a task, or in flight in a socket's queue.
struct Seen {
    int pid = 0;
    std::string comm;
    int number = -1; // descriptor number in the task; -1: in flight (SCM_RIGHTS), mapped, or a link of /proc/PID
    uint64_t mapping_start = 0, mapping_end = 0; // of a mapped file
    bool writable_mapping = false;
    std::string place; // "cwd", "exe": a link of /proc/PID
    // our own duplicate of the open file (pidfd_getfd(2)): shares position and flags, so leave both alone
    const Fd *file = nullptr;
    struct stat stat = {};
    std::string link;   // readlink of /proc/PID/fd/N, bytes
    std::string info;   // text of /proc/PID/fdinfo/N
    uint32_t flags = 0; // F_GETFL (O_PATH included)

    // "process 12 (bash), descriptor 3 (pipe:[77])"
    [[nodiscard]] std::string described() const;
    // The number after "name:" in fdinfo, by base; nothing when there is no such line.
    [[nodiscard]] std::expected<uint64_t, std::monostate> info_number(std::string_view name, int base) const;
};

// Something that cannot be brought back, or will not be as it was; preflight reports all of them.
struct Finding {
    int pid = 0;
    std::string comm;
    std::string object; // "descriptor 3 (socket:[55])"
    std::string reason;
    std::string advice; // what the user can do; may be empty
    bool fatal = true;
};

// What kinds share during one capture. Tasks stand still, unless `preflight`: then they run, and a kind must neither
// read contents nor change anything, only tell (by an error) what would be refused.
class Context {
  public:
    Context(model::Tree &tree, engine::FileKeeper &files, bool preflight)
        : tree(tree), files(files), preflight(preflight) {}
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;
    ~Context() = default;

    model::Tree &tree;
    engine::FileKeeper &files;
    const bool preflight;
    std::vector<Finding> findings; // not fatal ones: told to the user, the checkpoint goes on

    // The open file that `file` belongs to; captured when it is new. Two descriptors of one open file give one id
    // (kcmp(2)).
    Result<model::ObjRef> open_file(const Seen &seen);
    // The inode behind `seen`, identified once per inode (found again by device and number). Keeps a descriptor when
    // the contents may have to be kept.
    Result<model::ObjRef> inode(const Seen &seen);

    // Open files of the tree by the socket or pipe inode number etc.: a kind's own state, made on first use.
    template <class T> T &state() {
        auto &slot = states_[std::type_index(typeid(T))];
        if (!slot.has_value())
            slot = std::make_shared<T>();
        return **std::any_cast<std::shared_ptr<T>>(&slot);
    }

    // What becomes of connections to the outside; empty: they are hung up.
    engine::PeerPolicy peers;
    engine::UnixPeerPolicy unix_peers;
    // What becomes of devices that cannot be kept; unless set, what is built in for their kinds.
    engine::DevicePolicy devices = [](std::string_view /*path*/) { return engine::DeviceChoice(); };

    // Called with each task when all that has been captured of it alone is there, which only what holds its memory
    // still is. It may save task and address space and leave outlines of both in the tree. Empty: nothing is done.
    std::function<Result<>(int pid, model::Task &task)> captured;

    // Does pid belong to the tree?
    std::function<bool(int pid)> is_inside;

  private:
    std::map<std::type_index, std::any> states_;
};

struct Kind {
    std::string_view name; // as messages and docs/LIMITS.md call it
    bool (*matches)(const Seen &seen);
    // Makes the payload and the objects shared with others. An error reads "reason; advice"; the caller names `seen`.
    Result<model::Payload> (*capture)(Context &context, const Seen &seen);
    // Called once when all descriptors of all tasks are known; may be null. Here references between objects are
    // resolved and contents (queues, unread data) are read without consuming them.
    Result<> (*complete)(Context &context);
    // complete() looks at each open file again, or somebody does when the tasks have gone: a descriptor of ours is kept
    // for each (OpenFiles::held). Not for kinds of which a session may have tens of thousands.
    bool held = false;
};

// All kinds, tried in order.
std::span<const Kind> kinds();

} // namespace abey::capture
