// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/husk.h"

#include "engine/os/batch_layout.h"
#include "engine/os/vdso.h"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

constexpr size_t region_size = 1U << 20U;
// A stack may not grow to within this distance of another mapping (stack_guard_gap, 256 pages).
constexpr uint64_t margin = 2U << 20U;
constexpr uint64_t lowest = 1ULL << 32U;
constexpr uint64_t highest = 0x7fff00000000;
constexpr int lowest_worker_number = 64;
constexpr int longest_end_ms = 5000;

Result<uint64_t> free_place(std::vector<std::pair<uint64_t, uint64_t>> taken, const std::vector<os::ProcMapping> &own) {
    for (const os::ProcMapping &mapping : own)
        taken.emplace_back(mapping.start, mapping.end);
    std::sort(taken.begin(), taken.end());
    uint64_t place = lowest;
    const uint64_t wanted = 2 * region_size + 2 * margin;
    for (const auto &[start, end] : taken) {
        if (end <= place)
            continue;
        if (start >= place + wanted)
            break;
        place = end;
    }
    if (place + wanted > highest)
        return fail(ENOMEM, "no {} bytes of address space are free in all processes of the checkpoint", wanted);
    return (place + margin) / os::batch_layout::page * os::batch_layout::page;
}

} // namespace

Result<Workshop> Workshop::open(const model::Tree &tree, engine::Footprint &footprint, Fd &pidfd) {
    Workshop shop;
    const auto own = TRY(os::read_maps(::getpid()));
    std::ranges::copy_if(own, std::back_inserter(shop.special), os::belongs_to_vdso);
    const uint64_t place = TRY(free_place(footprint.occupied(), own));
    void *wanted = reinterpret_cast<void *>(place); // NOLINT: a chosen address
    if (::mmap(wanted, region_size, PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != wanted)
        return fail(errno, "cannot map {} bytes at {:#x}", region_size, place);
    shop.region = os::Remote(place, region_size);
    shop.spare = place + region_size;
    TRY(shop.region.write_code(::getpid()));

    int highest_number = lowest_worker_number;
    for (const auto &[id, table] : tree.descriptor_tables)
        for (const model::Descriptor &descriptor : table.descriptors)
            highest_number = std::max(highest_number, descriptor.number);
    // A husk has so many, from 0, while it builds its address space: a file each, /dev/null, the image's pages.
    highest_number = std::max(highest_number, static_cast<int>(footprint.most_files()) + 2);
    pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    if (!pidfd)
        return fail(errno, "cannot open a pidfd of the worker");
    shop.worker_number = ::fcntl(pidfd.get(), F_DUPFD_CLOEXEC, highest_number + 1);
    if (shop.worker_number < 0)
        return fail(errno, "cannot use descriptor numbers above {}; raise the limit of open files (LimitNOFILE=)",
                    highest_number);
    pidfd = Fd(shop.worker_number);
    return shop;
}

Result<os::Tracee> hold_new(int pid, unsigned long options) {
    const auto hold = [&]() -> Result<os::Tracee> {
        auto tracee = TRY(os::Tracee::seize(pid, options));
        TRY(tracee.settle());
        return tracee;
    };
    auto held = hold();
    if (!held) {
        (void)::kill(pid, SIGKILL);
        (void)::waitpid(pid, nullptr, __WALL);
    }
    return held;
}

Result<> Husk::run(os::Batch &batch, size_t thread, std::vector<os::Tracee> *born) {
    os::Remote::Walk walk;
    walk.pid = own_pid_;
    walk.tid = own_tids_.at(thread);
    walk.stop_signal = stop_signal_;
    return shop_->region.run(threads_.at(thread), batch, walk, nullptr, born);
}

Numbers numbers_of(int id, const std::vector<int32_t> &inner) {
    Numbers numbers(inner.rbegin(), inner.rend());
    numbers.push_back(id);
    return numbers;
}

Result<Husk> Husk::make_child(const Numbers &numbers, uint64_t flags, int exit_signal) {
    auto calls = batch();
    clone_args arguments = {};
    const pid_t own_pid = numbers.front();
    arguments.flags = flags;
    arguments.exit_signal = static_cast<uint64_t>(exit_signal);
    arguments.set_tid = calls.put(std::as_bytes(std::span(numbers)));
    arguments.set_tid_size = numbers.size();
    const uint64_t at = calls.put(arguments);
    calls.must(fmt::format("cannot make a process with id {}", numbers.back()), SYS_clone3, at, sizeof arguments);
    std::vector<os::Tracee> born;
    TRY(run(calls, 0, &born));
    if (born.size() != 1)
        return fail(0, "process {} was made, but not seen", own_pid);
    Husk child(*shop_, std::move(born.front()), own_pid);
    child.held_ = held_;
    return child;
}

Result<> Husk::add_threads(std::span<const Numbers> all) {
    constexpr size_t most_at_once = 256;
    while (!all.empty()) {
        const auto some = all.first(std::min(all.size(), most_at_once));
        auto calls = batch();
        for (const Numbers &wanted : some) {
            clone_args arguments = {};
            arguments.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
            arguments.set_tid = calls.put(std::as_bytes(std::span(wanted)));
            arguments.set_tid_size = wanted.size();
            const uint64_t at = calls.put(arguments);
            calls.must(fmt::format("cannot make thread {} of process {}", wanted.back(), own_pid_), SYS_clone3, at,
                       sizeof arguments);
        }
        std::vector<os::Tracee> born;
        const auto made = run(calls, 0, &born);
        // held in any case: nothing may run on in the middle of our calls
        const size_t seen = born.size();
        for (size_t i = 0; i < seen; ++i) {
            threads_.push_back(std::move(born[i]));
            own_tids_.push_back(some[i].front());
        }
        TRY(made);
        if (seen != some.size())
            return fail(0, "process {}: {} threads were made, but only {} seen", own_pid_, some.size(), seen);
        all = all.subspan(some.size());
    }
    return {};
}

Result<> Husk::end(int exit_code) {
    const int pid = this->pid();
    auto calls = batch();
    const std::vector<std::byte> all(sizeof(cpu_set_t), std::byte(0xff));
    calls.may(SYS_sched_setaffinity, 0, all.size(), calls.put(all)); // what a zombie had can be seen
    if (WIFSIGNALED(exit_code)) {
        TRY(run(calls));
        os::Tracee &task = threads_.front();
        TRY(task.park());
        TRY(task.set_signal_mask(0));
        (void)::kill(pid, WTERMSIG(exit_code));
    } else {
        calls.may(SYS_exit_group, WEXITSTATUS(exit_code));
        const auto gone = run(calls);
        if (gone || gone.error().code() != ESRCH)
            return gone ? Result<>(fail(0, "process {} does not end", own_pid_)) : gone;
        return {};
    }
    for (;;) {
        // SIGKILL needs no leave of ours: the task may be gone already
        if (const auto gone = threads_.front().go_on(WTERMSIG(exit_code)); !gone && gone.error().code() != ESRCH)
            return gone;
        const os::Stop stop = TRY(threads_.front().wait());
        if (stop.gone)
            return {};
    }
}

Result<> Husk::end_first_thread(uint64_t call, int exit_code) {
    os::Tracee &leader = threads_.front();
    TRY(leader.park());
    TRY(leader.set_signal_mask(~0ULL)); // nothing shall happen to it in between
    user_regs_struct registers = TRY(leader.registers());
    registers.rip = call;
    registers.rax = SYS_exit;
    registers.orig_rax = ~0ULL;
    registers.rdi = WIFEXITED(exit_code) ? static_cast<uint64_t>(WEXITSTATUS(exit_code)) : 0; // only /proc shows it
    TRY(leader.set_registers(registers));
    TRY(leader.detach());
    for (int waited_ms = 0; waited_ms < longest_end_ms; ++waited_ms) {
        if (TRY(os::read_stat(pid_, pid_)).ended())
            return {};
        ::usleep(1000);
    }
    return fail(ETIMEDOUT, "the first thread of process {} does not end", own_pid_);
}

Result<> Husk::reap(int own_pid) {
    auto calls = batch();
    calls.must(fmt::format("process {} cannot reap {}", own_pid_, own_pid), SYS_wait4, own_pid, 0, __WALL, 0);
    return run(calls);
}

Result<> Calls::room_for(size_t data) {
    constexpr size_t some_calls = 8;
    if (batch_.room() < data + some_calls * sizeof(os::Batch::Entry) + 256)
        return flush();
    return {};
}

Result<> Calls::run_only() {
    TRY(husk_.run(batch_, thread_));
    for (const Expected &expected : expected_)
        if (batch_.result(expected.call) != expected.result)
            return fail(0, "{}: {} where {} was expected", expected.what, batch_.result(expected.call),
                        expected.result);
    expected_.clear();
    return {};
}

Result<> Calls::flush() {
    TRY(run_only());
    batch_.clear();
    return {};
}

} // namespace abey::rebuild
