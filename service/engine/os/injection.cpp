// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/injection.h"

#include "engine/os/batch_layout.h"
#include "engine/os/kernel.h"
#include "engine/os/signal_frame.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::os {

namespace {

constexpr size_t region_size = 32 * batch_layout::page;
// For one thread's questions: a few dozen calls and what they answer
constexpr size_t place_size = 12 * batch_layout::page;
constexpr size_t most_at_a_time = 16;
constexpr size_t largest_text = 64U << 20U;

// In the lowest part of the main stack nothing lives: signal handlers that may run below the frame have room here, and
// the stack's real end is far above.
constexpr uint64_t scratch_distance = 4UL * batch_layout::page;
constexpr uint64_t least_stack = 96UL * 1024;

constexpr std::array<std::string_view, 2> sigreturn_codes = {
    std::string_view("\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", 9), // mov $15, %rax; syscall
    std::string_view("\xb8\x0f\x00\x00\x00\x0f\x05", 7),         // mov $15, %eax; syscall
};

// `syscall`, then only instructions that clear a register, then `ret`.
bool is_clean_call(std::string_view code) {
    if (!code.starts_with("\x0f\x05"))
        return false;
    code.remove_prefix(2);
    while (code.size() >= 3) {
        if (code[0] == '\xc3')
            return true;
        if (code[0] == '\x45')
            code.remove_prefix(1);
        if (code[0] != '\x31' || (static_cast<unsigned char>(code[1]) & 0xc0U) != 0xc0U)
            return false;
        code.remove_prefix(2);
    }
    return false;
}

Result<std::string> memory_text(int pid, uint64_t start, uint64_t end) {
    std::string text(std::min<size_t>(end - start, largest_text), '\0');
    TRY(read_memory(pid, start, std::as_writable_bytes(std::span(text))));
    return text;
}

constexpr size_t no_place = std::string::npos;

size_t sigreturn_at(std::string_view text) {
    size_t first = no_place;
    for (const std::string_view code : sigreturn_codes)
        first = std::min(first, text.find(code));
    return first;
}

size_t clean_call_at(std::string_view text) {
    size_t at = text.find("\x0f\x05");
    while (at != no_place && !is_clean_call(text.substr(at)))
        at = text.find("\x0f\x05", at + 1);
    return at;
}

// A piece at a time: the tasks stand still meanwhile, and in a C library it lies near the beginning. 0: not there.
uint64_t find_code(int pid, uint64_t start, uint64_t end, size_t (*search)(std::string_view)) {
    constexpr uint64_t piece = 64U << 10U;
    constexpr uint64_t longest = 16;
    end = std::min(end, start + largest_text);
    for (uint64_t at = start; at < end; at += piece) {
        const auto text = memory_text(pid, at, std::min(end, at + piece + longest - 1));
        if (!text)
            return 0;
        if (const size_t place = search(*text); place != no_place)
            return at + place;
    }
    return 0;
}

bool is_c_library(std::string_view path) {
    return path.find("/libc.") != std::string_view::npos || path.find("/libc-") != std::string_view::npos ||
           path.find("/ld-musl") != std::string_view::npos;
}

// The signal by which a walk ends: without us it must do nothing, and it must not be on its way already.
int choose_stop_signal(uint64_t caught, uint64_t ignored, uint64_t pending) {
    for (const int signal : {SIGURG, SIGWINCH, SIGCHLD})
        if (((caught | pending) & kernel::signal_bit(signal)) == 0)
            return signal;
    for (int signal = SIGRTMAX; signal > 0; --signal)
        if ((ignored & kernel::signal_bit(signal)) != 0 && (pending & kernel::signal_bit(signal)) == 0)
            return signal;
    // Everything is caught: should we die in these microseconds, a handler runs once for nothing.
    for (const int signal : {SIGURG, SIGWINCH, SIGCHLD})
        if ((pending & kernel::signal_bit(signal)) == 0)
            return signal;
    return SIGRTMAX;
}

uint64_t bits_of(const std::vector<std::string> &pending) {
    uint64_t bits = 0;
    for (const std::string &info : pending)
        bits |= kernel::signal_bit(reinterpret_cast<const siginfo_t *>(info.data())->si_signo);
    return bits;
}

} // namespace

uint64_t Gadgets::place_in(int pid, const ProcMapping &mapping, Places &places, size_t (*search)(std::string_view)) {
    const auto key = std::pair((static_cast<uint64_t>(mapping.major) << 32U) | mapping.minor, mapping.inode);
    auto known = places.find(key);
    if (known == places.end()) {
        const uint64_t at = find_code(pid, mapping.start, mapping.end, search);
        known = places.emplace(key, at == 0 ? 0 : mapping.offset + (at - mapping.start)).first;
    }
    const uint64_t offset = known->second;
    const bool here = offset >= mapping.offset && offset < mapping.offset + (mapping.end - mapping.start);
    return here && offset != 0 ? mapping.start + (offset - mapping.offset) : 0;
}

uint64_t Gadgets::place_in_files(int pid, const std::vector<ProcMapping> &mappings, Places &places,
                                 size_t (*search)(std::string_view)) {
    for (const bool likely : {true, false})
        for (const ProcMapping &mapping : mappings)
            if (mapping.execute && mapping.inode != 0 && is_c_library(mapping.name) == likely)
                if (const uint64_t at = place_in(pid, mapping, places, search); at != 0)
                    return at;
    return 0;
}

Result<Gadgets::Found> Gadgets::find(int pid, const std::vector<ProcMapping> &mappings) {
    Found found;
    for (const ProcMapping &mapping : mappings) {
        if (mapping.name == "[vdso]") {
            if (vdso_call_ == 0) {
                const std::string text = TRY(memory_text(pid, mapping.start, mapping.end));
                const size_t clean = clean_call_at(text);
                const size_t any = text.find("\x0f\x05");
                vdso_call_ = clean != no_place ? clean : any != no_place ? any : 0;
            }
            found.call = vdso_call_ == 0 ? 0 : mapping.start + vdso_call_;
        }
    }
    found.sigreturn = place_in_files(pid, mappings, sigreturn_, sigreturn_at);
    if (found.call == 0) // it has unmapped the vDSO
        found.call = place_in_files(pid, mappings, calls_, clean_call_at);
    if (found.call == 0)
        return fail(ENOTSUP,
                    "process {} has no system call in its vDSO, its program or its libraries that could be borrowed; "
                    "end it before",
                    pid);
    return found;
}

Result<Injection::Self> Injection::look(const Tracee &thread) {
    Self self;
    self.registers = TRY(thread.registers());
    self.xstate = TRY(thread.xstate());
    self.mask = TRY(thread.signal_mask());
    return self;
}

Result<Injection> Injection::enter(Tracee &leader, const ProcStatus &status, const std::vector<ProcMapping> &mappings,
                                   Gadgets &gadgets) {
    Injection injection;
    const int pid = leader.tid();
    injection.gadgets_ = TRY(gadgets.find(pid, mappings));
    injection.leader_self_ = TRY(look(leader));
    injection.own_pid_ = status.own_pid;
    injection.own_tid_ = status.own_tid;
    injection.stop_signal_ = choose_stop_signal(status.caught, status.ignored, status.pending | status.shared_pending);

    user_regs_struct registers = injection.leader_self_.registers;
    const auto stack =
        std::find_if(mappings.begin(), mappings.end(), [](const auto &m) { return m.name == "[stack]"; });
    if (injection.gadgets_.sigreturn != 0 && stack != mappings.end() && stack->end - stack->start >= least_stack &&
        (registers.rsp < stack->start || registers.rsp > stack->start + least_stack / 2)) {
        const uint64_t scratch = stack->start + scratch_distance;
        const std::string frame = TRY(make_signal_frame(scratch, injection.gadgets_.sigreturn, registers,
                                                        injection.leader_self_.xstate, injection.leader_self_.mask));
        injection.scratch_saved_.resize(frame.size());
        TRY(read_memory(pid, scratch, std::as_writable_bytes(std::span(injection.scratch_saved_))));
        TRY(write_memory(pid, scratch, std::as_bytes(std::span(frame))));
        injection.scratch_ = scratch;
        registers.rsp = scratch;
    }
    injection.leader_ = &leader; // from here on the destructor puts things back
    const auto map = [&](uint64_t at, uint64_t size, int protection, int flags) {
        return call_at(leader, injection.gadgets_.call, registers, SYS_mmap,
                       {at, size, static_cast<uint64_t>(protection),
                        static_cast<uint64_t>(MAP_PRIVATE | MAP_ANONYMOUS | flags), ~0ULL, 0},
                       &injection.deferred_);
    };
    long base = TRY(map(0, region_size, PROT_READ | PROT_WRITE | PROT_EXEC, 0));
    if (base == -EACCES) { // PR_SET_MDWE: nothing that can be written may be executed
        base = TRY(map(0, region_size, PROT_READ | PROT_WRITE, 0));
        if (base > 0) {
            injection.remote_ = Remote(static_cast<uint64_t>(base), region_size);
            base = TRY(map(injection.remote_.base(), batch_layout::page, PROT_READ | PROT_EXEC, MAP_FIXED));
        }
    }
    if (base < 0 && base > -4096)
        return fail(static_cast<int>(-base), "process {}: cannot map {} bytes for the checkpoint's calls", pid,
                    region_size);
    injection.remote_ = Remote(static_cast<uint64_t>(base), region_size);
    TRY(injection.wait_at_sigreturn());
    TRY(injection.remote_.write_code(pid));
    return injection;
}

Result<> Injection::wait_at_sigreturn() {
    if (scratch_ == 0)
        return put_back(*leader_, leader_self_);
    user_regs_struct registers = leader_self_.registers;
    registers.rip = gadgets_.sigreturn;
    registers.rsp = scratch_ + sizeof(uint64_t);
    registers.rax = 0;
    registers.orig_rax = ~0ULL;
    return leader_->set_registers(registers);
}

Result<> Injection::put_back(Tracee &thread, const Self &self) {
    TRY(thread.park());
    return set_back(thread, self);
}

// The mask first: while the registers are not the real ones, the frame heals both.
Result<> Injection::set_back(Tracee &thread, const Self &self) {
    TRY(thread.set_signal_mask(self.mask));
    return thread.set_registers(self.registers);
}

Result<Remote::Walk> Injection::ready(const Tracee &thread, int own_tid, const Remote &place, const Self &self) const {
    const uint64_t frame_address = place.base() + batch_layout::frame_offset;
    const std::string frame = TRY(make_signal_frame(frame_address, 0, self.registers, self.xstate, self.mask));
    if (frame.size() > batch_layout::frame_size)
        return fail(E2BIG, "extended state of {} bytes is larger than expected", self.xstate.size());
    TRY(write_memory(thread.tid(), frame_address, std::as_bytes(std::span(frame))));
    Remote::Walk walk;
    walk.pid = own_pid_;
    walk.tid = own_tid;
    walk.stop_signal = stop_signal_;
    walk.frame = frame_address;
    if (&thread != leader_ && (bits_of(TRY(thread.pending(false))) & kernel::signal_bit(stop_signal_)) != 0)
        return fail(EAGAIN, "thread {} has signal {} pending; try again", thread.tid(), stop_signal_);
    return walk;
}

Result<> Injection::run(Tracee &thread, int own_tid, Batch &batch) {
    const bool is_leader = &thread == leader_;
    const Self self = is_leader ? leader_self_ : TRY(look(thread));
    const auto walk = TRY(ready(thread, own_tid, remote_, self));
    auto ran = remote_.run(thread, batch, walk, &deferred_);
    if (!is_leader)
        TRY(put_back(thread, self));
    else
        TRY(wait_at_sigreturn());
    return ran;
}

Result<> Injection::make_room(size_t threads) {
    threads = std::min(threads, most_at_a_time);
    if (threads < 2 || !places_.empty())
        return {};
    auto calls = batch();
    const size_t map = calls.may(SYS_mmap, 0, threads * place_size, PROT_READ | PROT_WRITE | PROT_EXEC,
                                 MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0);
    TRY(run(*leader_, own_tid_, calls));
    if (calls.result(map) < 0 && calls.result(map) > -4096)
        return {};
    for (size_t i = 0; i < threads; ++i)
        places_.emplace_back(static_cast<uint64_t>(calls.result(map)) + i * place_size, place_size);
    for (const Remote &place : places_)
        TRY(place.write_code(leader_->tid()));
    return {};
}

Result<> Injection::run_all(std::span<Work> works) {
    if (places_.empty()) {
        for (Work &work : works)
            TRY(run(*work.thread, work.own_tid, work.batch));
        return {};
    }
    struct Begun {
        Work *work;
        const Remote *place;
        Self self;
        Remote::Walk walk;
    };
    std::vector<Begun> all;
    Result<> result;
    const auto note = [&result](const auto &step) {
        if (!step && result)
            result = std::unexpected(step.error());
        return step.has_value();
    };
    for (size_t i = 0; i < works.size() && result; ++i) {
        Work &work = works[i];
        auto self = look(*work.thread);
        if (!note(self))
            break;
        const auto walk = ready(*work.thread, work.own_tid, places_.at(i), *self);
        if (!note(walk))
            break;
        if (note(places_[i].start(*work.thread, work.batch, *walk)))
            all.push_back({&work, &places_[i], std::move(*self), *walk});
        else
            (void)set_back(*work.thread, *self); // it has not moved
    }
    // From here on nobody is left where he is: the places go with leave().
    std::vector<Begun *> sent;
    for (Begun &one : all) {
        (void)note(one.place->finish(*one.work->thread, one.work->batch, one.walk, &deferred_));
        if (note(one.work->thread->send_to_park()))
            sent.push_back(&one);
    }
    for (Begun *one : sent)
        if (note(one->work->thread->wait_until_parked()))
            (void)note(set_back(*one->work->thread, one->self));
    return result;
}

Result<> Injection::leave() {
    Tracee &leader = *std::exchange(leader_, nullptr);
    const int pid = leader.tid();
    Result<> result;
    const auto unmap = [&](uint64_t base, size_t size) {
        user_regs_struct registers = leader_self_.registers;
        if (scratch_ != 0)
            registers.rsp = scratch_;
        const auto unmapped = call_at(leader, gadgets_.call, registers, SYS_munmap, {base, size}, &deferred_);
        if (!unmapped && result)
            result = std::unexpected(unmapped.error());
    };
    if (!places_.empty())
        unmap(places_.front().base(), places_.size() * place_size);
    if (remote_.base() != 0)
        unmap(remote_.base(), remote_.size());
    if (auto back = put_back(leader, leader_self_); !back)
        return back;
    if (scratch_ != 0)
        TRY(write_memory(pid, scratch_, std::as_bytes(std::span(scratch_saved_))));
    for (const int signal : deferred_)
        (void)::syscall(SYS_tkill, pid, signal);
    return result;
}

Injection::Injection(Injection &&other) noexcept
    : leader_(std::exchange(other.leader_, nullptr)), leader_self_(std::move(other.leader_self_)),
      remote_(other.remote_), places_(std::move(other.places_)), gadgets_(other.gadgets_), own_pid_(other.own_pid_),
      own_tid_(other.own_tid_), stop_signal_(other.stop_signal_), scratch_(other.scratch_),
      scratch_saved_(std::move(other.scratch_saved_)), deferred_(std::move(other.deferred_)) {}

Injection::~Injection() {
    if (leader_ != nullptr)
        (void)leave();
}

} // namespace abey::os
