// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A husk: a new, empty process that the worker fills until it is the old one again. It makes system calls in batches
// (os/remote.h) and dies with the worker until it is released.
#pragma once

#include "engine/model/tree.h"
#include "engine/os/procfs.h"
#include "engine/os/remote.h"
#include "engine/rebuild/kind.h"

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <sys/ptrace.h>

namespace abey::rebuild {

// What all husks of a restore have in common.
struct Workshop {
    os::Remote region;      // where batches lie in every husk: free in all of the tree's address spaces
    uint64_t spare = 0;     // as large as the region, behind it: free everywhere, not mapped
    int worker_number = -1; // the descriptor in every husk that is a pidfd of the worker; above all wanted numbers
    std::vector<os::ProcMapping> special; // our own vvar and vDSO mappings: husks inherit them

    // Finds the places and maps the region into the worker, from where husks inherit it.
    // `footprint`: of the tree's address spaces.
    static Result<Workshop> open(const model::Tree &tree, engine::Footprint &footprint, Fd &pidfd);
};

// What lies in a husk's memory before it is filled: put there for its children to inherit, or inherited itself.
struct Held {
    std::vector<model::Mapping> mappings; // by address; writable where they have pages
    std::vector<model::PageRun> pages;    // by address; what the pages of the mappings contain
    std::vector<os::ProcMapping> special; // where vvar and vDSO are
};

// Its children and threads are born with the same, held by us; all end with us.
inline constexpr unsigned long husk_options =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;

// Seizes and stops a child that has just been made, and only waits for that. On error it is dead, and reaped.
Result<os::Tracee> hold_new(int pid, unsigned long options);

// What a task or thread is called in each pid namespace that it is in: in its own first, in the session's last
// (clone3(2), set_tid).
using Numbers = std::vector<pid_t>;
Numbers numbers_of(int id, const std::vector<int32_t> &inner);

class Husk {
  public:
    // An existing child, stopped; `own_pid` as it knows itself.
    Husk(const Workshop &shop, os::Tracee leader, int own_pid) : shop_(&shop), own_pid_(own_pid), pid_(leader.tid()) {
        threads_.push_back(std::move(leader));
        own_tids_.push_back(own_pid);
    }

    [[nodiscard]] int own_pid() const { return own_pid_; }
    [[nodiscard]] int pid() const { return pid_; } // in the worker's namespace
    [[nodiscard]] os::Batch batch() const { return shop_->region.batch(); }
    [[nodiscard]] const Workshop &shop() const { return *shop_; }
    std::vector<os::Tracee> &threads() { return threads_; }
    // Null: nothing but what the worker has in common with all.
    [[nodiscard]] const std::shared_ptr<const Held> &held() const { return held_; }
    void hold(Held held) { held_ = std::make_shared<const Held>(std::move(held)); }

    // Lets a thread make the calls; the batch is not emptied.
    Result<> run(os::Batch &batch, size_t thread = 0, std::vector<os::Tracee> *born = nullptr);
    // A child made by clone3(2) with a wanted pid; it shares nothing but what `flags` say.
    Result<Husk> make_child(const Numbers &numbers, uint64_t flags, int exit_signal);
    // Further threads, in this order.
    Result<> add_threads(std::span<const Numbers> all);
    // Its end; it is a zombie afterwards, for its parent to wait for.
    Result<> end(int exit_code);
    // The first thread ends while others go on; it is let go before, so that its end is its parent's to see. `call`: a
    // `syscall` instruction in its memory.
    Result<> end_first_thread(uint64_t call, int exit_code);
    // Reaps a child of this husk, whatever its exit signal.
    Result<> reap(int own_pid);

    // The signal that ends a walk must not be pending or about to become so.
    void set_stop_signal(int signal) { stop_signal_ = signal; }
    [[nodiscard]] int stop_signal() const { return stop_signal_; }

  private:
    const Workshop *shop_;
    std::vector<os::Tracee> threads_; // the leader first
    std::vector<int> own_tids_;
    std::shared_ptr<const Held> held_;
    int own_pid_;
    int pid_;
    int stop_signal_ = 23; // SIGURG: ignored by default
};

// Calls for one husk, run whenever the batch is full and at the end. Addresses from the batch hold until flush().
class Calls {
  public:
    explicit Calls(Husk &husk, size_t thread = 0) : husk_(husk), thread_(thread), batch_(husk.batch()) {}
    os::Batch &batch() { return batch_; }
    // Room for some calls and `data` bytes; runs what there is when there is not enough.
    Result<> room_for(size_t data = 0);
    Result<> flush();
    // Runs the calls without emptying the batch, for its results.
    Result<> run_only();
    // The call last appended must return just this.
    void expect(size_t call, long result, std::string what) { expected_.push_back({call, result, std::move(what)}); }

  private:
    struct Expected {
        size_t call;
        long result;
        std::string what;
    };
    Husk &husk_;
    size_t thread_;
    os::Batch batch_;
    std::vector<Expected> expected_;
};

} // namespace abey::rebuild
