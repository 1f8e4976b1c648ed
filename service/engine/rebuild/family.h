// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The tree of husks: who is whose child, in which session and process group, on which terminal.
#pragma once

#include "engine/rebuild/husk.h"

#include <map>

namespace abey::rebuild {

// Every task of the model as a husk. Destruction kills them all, unless they have been let go.
class Family {
  public:
    // `reaper`: pid 1 of the tree's own pid namespace, the parent of its roots; null: the roots are children of ours.
    Family(const model::Tree &tree, const Workshop &shop, Husk *reaper) : tree_(tree), shop_(shop), reaper_(reaper) {}
    Family(const Family &) = delete;
    Family &operator=(const Family &) = delete;
    ~Family();

    // Makes the processes: parents before children, session leaders before members; leaders that are dead by helpers
    // which end again. Without a reaper this process must be a child subreaper meanwhile.
    Result<> make(Context &context);
    // Process groups, foreground groups, and the ends of those that were zombies.
    Result<> make_groups(Context &context);

    Husk &of(const model::Task &task) { return *husks_.at(task.pid); }
    [[nodiscard]] const std::vector<int> &roots() const { return roots_; } // pids as we see them
    void let_go() { husks_.clear(); }

  private:
    Result<> make_root(Context &context, const model::Task &task);
    Result<> make_below(Context &context, const model::Task &task, int initial_session);
    Result<> adopt(Context &context, const model::Task &task);
    Result<> lead_session(Context &context, const model::Task &task);
    Result<std::unique_ptr<Husk>> new_root(const Numbers &numbers, uint64_t flags, int exit_signal);
    // `maker` stands for a process in the pid namespace `pids`.
    Result<Husk> make_child(Husk &maker, model::ObjRef pids, const model::Task &child, uint64_t flags);
    Result<> place_early(const model::Task &task);
    [[nodiscard]] Result<int> group_as_seen_by(const model::Task &task, int group) const;
    Result<> strip(Husk &husk) const;
    Result<> place_in_group(const model::Task &task);
    [[nodiscard]] int outer_session() const; // that of the roots at birth
    [[nodiscard]] int session_of(const model::Task &task) const;
    [[nodiscard]] uint64_t shared_with_parent(const model::Task &task) const;

    const model::Tree &tree_;
    const Workshop &shop_;
    Husk *reaper_;
    std::map<int, std::unique_ptr<Husk>> husks_; // by own pid
    std::map<int, const model::Task *> tasks_;
    std::map<int, std::vector<const model::Task *>> children_; // by parent's pid
    std::map<int, int> sessions_;                              // sessions whose leader is outside -> who leads instead
    std::map<int, int> groups_;                                // process groups likewise
    std::vector<const model::Task *> homeless_;                // session not reachable from their parent
    std::vector<int> roots_;
};

} // namespace abey::rebuild
