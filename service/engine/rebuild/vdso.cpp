// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/vdso.h"

#include "engine/machine.h"
#include "engine/os/kernel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <sys/syscall.h>

namespace abey::rebuild {

namespace {

// The husks' workshop is below, or in the lowest place that is free in all address spaces.
constexpr uint64_t lowest_address = 1ULL << 40U;

model::MappingKind kind_of(const os::ProcMapping &part) {
    return part.name == "[vdso]"   ? model::MappingKind::vdso
           : part.name == "[vvar]" ? model::MappingKind::vvar
                                   : model::MappingKind::vvar_vclock;
}

bool is_special(const model::Mapping &mapping) {
    return mapping.kind == model::MappingKind::vdso || mapping.kind == model::MappingKind::vvar ||
           mapping.kind == model::MappingKind::vvar_vclock;
}

const model::Mapping *find_kind(const model::AddressSpace &space, model::MappingKind kind) {
    const auto found = std::ranges::find(space.mappings, kind, &model::Mapping::kind);
    return found == space.mappings.end() ? nullptr : &*found;
}

const os::ProcMapping &vdso_in(const std::vector<os::ProcMapping> &parts) {
    return *std::ranges::find(parts, "[vdso]", &os::ProcMapping::name);
}

bool is_free(const std::vector<model::Mapping> &mappings, uint64_t start, uint64_t end) {
    return start < end && end <= kernel::end_of_addresses &&
           std::ranges::none_of(
               mappings, [&](const model::Mapping &mapping) { return mapping.start < end && start < mapping.end; });
}

// The highest stretch of that size that nothing is to grow into: what is below a stack is the stack's. 0: there is
// none.
uint64_t highest_free(const std::vector<model::Mapping> &mappings, uint64_t size) {
    uint64_t end = kernel::end_of_addresses;
    bool below_stack = false;
    for (auto mapping = mappings.rbegin(); mapping != mappings.rend(); ++mapping) {
        if (!below_stack && mapping->end <= end && end - mapping->end >= size)
            return end - size;
        end = mapping->start;
        below_stack = mapping->grows_down;
    }
    return !below_stack && end >= lowest_address + size ? end - size : 0;
}

} // namespace

Result<std::optional<OtherVdso::StandIn>> OtherVdso::adapt(model::AddressSpace &space) const {
    const model::Mapping *found = find_kind(space, model::MappingKind::vdso);
    const std::optional<model::Mapping> former = found == nullptr ? std::nullopt : std::optional(*found);
    std::erase_if(space.mappings, is_special); // without a vDSO nobody can read its data
    if (!former)
        return std::nullopt;
    if (former->end - former->start != bridge_.former_size())
        return fail(0, "its vDSO at {:x} has {} bytes, that of its kernel {}; the checkpoint is damaged", former->start,
                    former->end - former->start, bridge_.former_size());

    uint64_t lowest = vdso_in(parts_).start;
    uint64_t highest = 0;
    for (const os::ProcMapping &part : parts_) {
        lowest = std::min(lowest, part.start);
        highest = std::max(highest, part.end);
    }
    const uint64_t size = highest - lowest;
    const uint64_t before = vdso_in(parts_).start - lowest; // the data areas, by their distance from the vDSO
    uint64_t place = former->start - std::min(before, former->start);
    std::optional<StandIn> stand_in;
    if (!bridge_.same() || !is_free(space.mappings, place, place + size)) {
        std::vector<model::Mapping> with_former = space.mappings;
        with_former.push_back(*former);
        std::ranges::sort(with_former, {}, &model::Mapping::start);
        place = highest_free(with_former, size);
        if (place == 0)
            return fail(ENOMEM, "no {} bytes of its address space are free for this kernel's vDSO", size);
        stand_in = StandIn{former->start, bridge_.stand_in(place + before)};
    }
    for (const os::ProcMapping &part : parts_) {
        model::Mapping mapping = *former;
        mapping.kind = kind_of(part);
        mapping.start = place + (part.start - lowest);
        mapping.end = place + (part.end - lowest);
        mapping.protection = kind_of(part) == model::MappingKind::vdso ? PROT_READ | PROT_EXEC : PROT_READ;
        space.mappings.push_back(std::move(mapping));
    }
    std::ranges::sort(space.mappings, {}, &model::Mapping::start);
    return stand_in;
}

Result<> OtherVdso::check(const model::Task &task, const model::AddressSpace &space) const {
    const model::Mapping *former = find_kind(space, model::MappingKind::vdso);
    if (former == nullptr)
        return {};
    model::AddressSpace adapted = space;
    const bool moved = TRY(adapt(adapted)).has_value();
    for (const model::Thread &thread : task.threads) {
        user_regs_struct registers = {};
        if (thread.registers.size() != sizeof registers) // it has ended
            continue;
        std::memcpy(&registers, thread.registers.data(), sizeof registers);
        if (moved && registers.rip >= former->start && registers.rip < former->end &&
            !bridge_.goes_on_at(registers.rip - former->start))
            return fail(ENOTSUP,
                        "thread {} was in a function of its kernel's vDSO, which is another one here; boot the "
                        "kernel of the suspend to resume it",
                        thread.tid);
    }
    return {};
}

Result<> OtherVdso::check(const model::Tree &outline, const engine::Details &details) const {
    for (const model::Task &task : outline.tasks) {
        if (task.state == model::TaskState::zombie)
            continue;
        const model::Task whole = TRY(details.task(task));
        const model::AddressSpace space = TRY(details.address_space(task.address_space));
        TRY_IN(check(whole, space), "process {} ({})", task.pid, task.comm);
    }
    return {};
}

Result<std::optional<OtherVdso>> other_vdso(const model::Tree &tree, const engine::Details &details) {
    const model::Machine here = TRY(engine::this_machine());
    if (tree.machine.vdso_digest == here.vdso_digest)
        return std::nullopt;
    bool has_one = false;
    for (const model::Task &task : tree.tasks)
        if (!has_one && task.state != model::TaskState::zombie)
            has_one = find_kind(TRY(details.address_space(task.address_space)), model::MappingKind::vdso) != nullptr;
    if (!has_one)
        return std::nullopt;
    OtherVdso other(TRY(engine::vdso_bridge(tree.machine, here)), TRY(os::own_vdso_parts()));
    TRY(other.check(tree, details));
    return other;
}

Result<> place_vdso(Husk &husk, const std::vector<os::ProcMapping> &parts, const model::AddressSpace &space,
                    Calls &calls) {
    struct Move {
        uint64_t from, size, to;
    };
    std::vector<Move> moves;
    for (const os::ProcMapping &own : parts) {
        const model::Mapping *wanted = find_kind(space, kind_of(own));
        if (wanted == nullptr) {
            calls.batch().must("munmap", SYS_munmap, own.start, own.end - own.start);
            continue;
        }
        if (wanted->end - wanted->start != own.end - own.start)
            return fail(ENOTSUP,
                        "{} was {} bytes long, but this kernel's is {}; resume under the kernel of the suspend",
                        own.name, wanted->end - wanted->start, own.end - own.start);
        moves.push_back({own.start, own.end - own.start, wanted->start});
    }
    const bool all_there = std::all_of(moves.begin(), moves.end(), [](const Move &m) { return m.from == m.to; });
    if (all_there)
        return {};
    uint64_t spare = husk.shop().spare;
    for (Move &move : moves) { // by way of a place that is free for sure: old and new places may overlap
        calls.batch().must("cannot move the vDSO aside, as where the kernel seals it (CONFIG_MSEAL_SYSTEM_MAPPINGS)",
                           SYS_mremap, move.from, move.size, move.size, MREMAP_MAYMOVE | MREMAP_FIXED, spare);
        move.from = spare;
        spare += move.size;
    }
    for (const Move &move : moves)
        calls.batch().must(fmt::format("cannot move the vDSO to {:#x}", move.to), SYS_mremap, move.from, move.size,
                           move.size, MREMAP_MAYMOVE | MREMAP_FIXED, move.to);
    return {};
}

std::optional<std::vector<os::ProcMapping>> placed(std::vector<os::ProcMapping> parts,
                                                   const model::AddressSpace &space) {
    for (os::ProcMapping &part : parts) {
        const model::Mapping *place = find_kind(space, kind_of(part));
        if (place == nullptr)
            return std::nullopt;
        part.start = place->start;
        part.end = place->end;
    }
    return parts;
}

Result<> put_stand_in(Husk &husk, const OtherVdso::StandIn &stand_in, Calls &calls) {
    const uint64_t size = stand_in.contents.size();
    TRY(calls.room_for());
    calls.batch().must(
        fmt::format("cannot map {} bytes in the place of the former vDSO at {:x}", size, stand_in.address), SYS_mmap,
        stand_in.address, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    TRY(calls.flush());
    TRY(os::write_memory(husk.pid(), stand_in.address, std::as_bytes(std::span(stand_in.contents))));
    auto &batch = calls.batch();
    batch.must("mprotect", SYS_mprotect, stand_in.address, size, PROT_READ | PROT_EXEC);
    batch.may(SYS_prctl, kernel::pr_set_vma, kernel::pr_set_vma_anon_name, stand_in.address, size,
              batch.put_string("former vdso"));
    return {};
}

} // namespace abey::rebuild
