// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making again what is behind descriptors, one Kind for each file in this directory (the twin of capture/kind.h).
#pragma once

#include "engine/details.h"
#include "engine/files.h"
#include "engine/model/tree.h"
#include "engine/os/batch.h"
#include "engine/os/fd.h"

#include <any>
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <typeindex>

namespace abey::rebuild {

class Husk;
class OtherVdso;

// What kinds share during one restore. Everything is made in the worker's own descriptor table; tasks take it from
// there.
class Context {
  public:
    Context(const model::Tree &tree, engine::FileOpener &files, Fd pages)
        : tree(tree), files(files), pages(std::move(pages)) {
        details.task = [](const model::Task &task) { return Result<model::Task>(task); };
        details.address_space = [&tree](model::ObjRef id) -> Result<model::AddressSpace> {
            const auto space = tree.address_spaces.find(id);
            if (space == tree.address_spaces.end())
                return fail(EBADMSG, "the checkpoint has no address space {}", id);
            return space->second;
        };
    }
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;
    ~Context() = default;

    const model::Tree &tree;
    engine::FileOpener &files;
    const Fd pages; // the image's "pages", for reading
    // Of a tree that is an outline; it is whole unless somebody sets this.
    engine::Details details;
    // Of the kernel that the tree was saved under, when it is not this one's.
    const OtherVdso *other_vdso = nullptr;

    // The worker's descriptor for an open file, made when first asked for (by its kind's create). Stays owned by the
    // context.
    Result<int> open_file(model::ObjRef id);
    // For kinds that make several open files at once (the two ends of a pair): hands one over.
    void put(model::ObjRef id, Fd file) { made_[id] = std::move(file); }
    [[nodiscard]] bool is_made(model::ObjRef id) const { return made_.contains(id); }
    // Lets go of an object early (the worker closes its descriptors after release anyway).
    void drop(model::ObjRef id) { made_.erase(id); }

    // A kind's own state, made on first use.
    template <class T> T &state() {
        auto &slot = states_[std::type_index(typeid(T))];
        if (!slot.has_value())
            slot = std::make_shared<T>();
        return **std::any_cast<std::shared_ptr<T>>(&slot);
    }

    // The pid, as this process sees it, of the husk that stands for a process of the tree. Filled when the husks exist.
    Result<int> pid_here(int own_pid) const {
        const auto pid = pids.find(own_pid);
        if (pid == pids.end())
            return fail(ESRCH, "the checkpoint has no process {}", own_pid);
        return pid->second;
    }
    std::map<int, int> pids; // by the pid in the tree
    // Those that have not ended, by the same, for what a process has to do itself. Only until they are filled.
    std::map<int, Husk *> husks;

    // The tree has been let go: what was made for it in the system (queues, segments) stays.
    bool released = false;

    // Nobody but us has been told that connections to peers outside are away: those that are to be kept go on.
    bool keeps_connections = false;

    // Masters of terminals whose master was outside the tree, by terminal id: for the keeper. Filled by the terminal
    // kind.
    std::map<model::ObjRef, Fd> masters;

  private:
    std::map<model::ObjRef, Fd> made_;
    std::map<std::type_index, std::any> states_;
};

struct Kind {
    std::string_view name;
    size_t payload; // index of the alternative in model::Payload
    // A new open file. Status flags, position, owner and locks are set afterwards for all kinds alike (open_files.cpp);
    // the access mode is create's business.
    Result<Fd> (*create)(Context &context, const model::OpenFile &file);
    // Called once when every open file exists in the worker but late ones; may be null. Contents of queues are written
    // here.
    Result<> (*fill)(Context &context);
    // Calls that only the task itself can make, with its descriptors at their final numbers (epoll_ctl); may be null.
    // Runs as root in the husk. Called for every task and open descriptor of this kind.
    Result<> (*in_task)(Context &context, const model::Task &task, const model::Descriptor &descriptor,
                        const model::OpenFile &file, os::Batch &batch);
    // Called once when every task has its mappings; may be null.
    Result<> (*finish)(Context &context);
    // Is that one made when the first task takes it, and closed when the last has? It must not need others that are
    // open. So a session may have more open files than one process may have descriptors. Null: all at once.
    bool (*late)(Context &context, const model::OpenFile &file) = nullptr;
};

// All kinds, by payload.
std::span<const Kind> kinds();

} // namespace abey::rebuild
