// SPDX-License-Identifier: LGPL-2.1-or-later
//
// System calls made by a live task that shall not notice: everything is put back, also when we are killed in between.
#pragma once

#include "engine/os/procfs.h"
#include "engine/os/remote.h"

#include <map>
#include <memory>
#include <span>
#include <vector>

namespace abey::os {

// Where in a task's memory there is code that we can borrow. Found once per file and kept for all tasks of a run.
class Gadgets {
  public:
    // `syscall` in the vDSO (in a library, when that is gone) which is followed by nothing but a return, and a `mov
    // $15, rax; syscall` (what every C library and runtime returns from signal handlers with). 0 when there is none.
    struct Found {
        uint64_t call = 0;
        uint64_t sigreturn = 0;
    };
    Result<Found> find(int pid, const std::vector<ProcMapping> &mappings);

  private:
    using Places = std::map<std::pair<uint64_t, uint64_t>, uint64_t>; // (device, inode) -> file offset, 0: none

    // `search` tells where in a text the code begins, or npos. 0: not there.
    static uint64_t place_in(int pid, const ProcMapping &mapping, Places &places, size_t (*search)(std::string_view));
    static uint64_t place_in_files(int pid, const std::vector<ProcMapping> &mappings, Places &places,
                                   size_t (*search)(std::string_view));

    Places sigreturn_;
    Places calls_;           // with a return after it
    uint64_t vdso_call_ = 0; // offset within the vDSO
};

// One process readied for batches. Between enter() and leave() its memory holds our region; every moment in which its
// registers or masks differ from the real ones, they lead to rt_sigreturn on a frame with the real ones: a task whose
// tracer dies puts itself back. At worst the region stays mapped.
class Injection {
  public:
    // `leader`: a stopped thread. `status`: of the process. The mappings must be current.
    static Result<Injection> enter(Tracee &leader, const ProcStatus &status, const std::vector<ProcMapping> &mappings,
                                   Gadgets &gadgets);
    Injection(Injection &&other) noexcept;
    Injection &operator=(Injection &&) = delete;
    Injection(const Injection &) = delete;
    Injection &operator=(const Injection &) = delete;
    ~Injection(); // leaves, if leave() was not called

    [[nodiscard]] Batch batch() const { return remote_.batch(); }
    // The calls are made by `thread`, any stopped thread of the process; it is put back before run() returns.
    Result<> run(Tracee &thread, int own_tid, Batch &batch);

    // The same by several threads at a time, none of them the leader: while one is on its way through the kernel on
    // another CPU, the next is readied here. The first that fails is told; all are put back.
    struct Work {
        Tracee *thread = nullptr;
        int own_tid = 0;
        Batch batch;
    };
    // More room in the process, for up to this many at a time. Where it cannot be had they work one after another.
    Result<> make_room(size_t threads);
    [[nodiscard]] size_t at_a_time() const { return places_.empty() ? 1 : places_.size(); }
    // For work that is done as number `place` of those at a time.
    [[nodiscard]] Batch batch(size_t place) const { return places_.empty() ? batch() : places_.at(place).batch(); }
    Result<> run_all(std::span<Work> works);

    // The region is unmapped, the leader put back.
    Result<> leave();

  private:
    struct Self { // what a thread really is while it works for us
        user_regs_struct registers = {};
        std::string xstate;
        uint64_t mask = 0;
    };
    Injection() = default;
    static Result<Self> look(const Tracee &thread);
    static Result<> put_back(Tracee &thread, const Self &self);
    static Result<> set_back(Tracee &thread, const Self &self);
    // What `thread` is then has been written as a frame into `place`.
    Result<Remote::Walk> ready(const Tracee &thread, int own_tid, const Remote &place, const Self &self) const;
    Result<> wait_at_sigreturn();

    Tracee *leader_ = nullptr;
    Self leader_self_;
    Remote remote_;
    std::vector<Remote> places_; // next to each other
    Gadgets::Found gadgets_;
    int own_pid_ = 0;
    int own_tid_ = 0;
    int stop_signal_ = 0;
    uint64_t scratch_ = 0;      // frame of the leader in its own stack's unused end
    std::string scratch_saved_; // what was there
    std::vector<int> deferred_; // signals that came meanwhile
};

} // namespace abey::os
