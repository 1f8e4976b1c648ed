// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/descriptors.h"
#include "engine/capture/request_ring.h"
#include "engine/capture/task.h"
#include "engine/os/vdso.h"

#include <bit>

#include <sys/mman.h>

namespace abey::capture {

namespace {

// Marks of VmFlags (Documentation/filesystems/proc.rst) that rebuild needs to make the mapping or marks it with later.
constexpr std::array<std::string_view, 13> kept_flags = {"lo", "lf", "dd", "dc", "wf", "hg",      "nh",
                                                         "mg", "sr", "rr", "nr", "dp", os::sealed};

constexpr std::string_view anonymous_prefix = "[anon:";
constexpr std::string_view anonymous_huge = "/anon_hugepage (deleted)"; // MAP_ANONYMOUS | MAP_HUGETLB

bool is_stack_or_heap(std::string_view name) {
    return name.empty() || name == "[heap]" || name == "[stack]" || name.starts_with("[stack:");
}

} // namespace

Result<> capture_address_space(Context &context, const Stopped &process, const std::vector<os::ProcMapping> &mappings,
                               model::Task &task) {
    const os::ProcStat &stat = process.stat;
    model::AddressSpace space;
    space.layout = {stat.start_code,  stat.end_code,  stat.start_data, stat.end_data,  stat.start_brk, stat.start_brk,
                    stat.start_stack, stat.arg_start, stat.arg_end,    stat.env_start, stat.env_end,   {}};
    space.layout.auxv = TRY(os::read_proc(stat.door, "auxv"));
    space.executable = TRY(capture_link(context, stat.door, stat.comm, "exe", O_RDONLY));
    for (const os::ProcMapping &seen : mappings) {
        if (seen.name == "[vsyscall]") // the same in every address space
            continue;
        model::Mapping mapping;
        mapping.start = seen.start;
        mapping.end = seen.end;
        mapping.protection =
            (seen.read ? PROT_READ : 0) | (seen.write ? PROT_WRITE : 0) | (seen.execute ? PROT_EXEC : 0);
        mapping.shared = seen.shared || seen.has_flag("sh");
        mapping.grows_down = seen.has_flag("gd");
        mapping.file_offset = seen.offset;
        for (const std::string_view flag : kept_flags)
            if (seen.has_flag(flag))
                mapping.vm_flags.emplace_back(flag);
        if (seen.has_flag("ht"))
            mapping.huge_page_shift = static_cast<uint32_t>(std::countr_zero(seen.page_size));
        if (seen.name == "[vdso]") {
            mapping.kind = model::MappingKind::vdso;
        } else if (seen.name == "[vvar]") {
            mapping.kind = model::MappingKind::vvar;
        } else if (seen.name == "[vvar_vclock]") {
            mapping.kind = model::MappingKind::vvar_vclock;
        } else if (seen.has_flag("ht") && !mapping.shared && seen.name == anonymous_huge) {
            mapping.kind = model::MappingKind::anonymous; // the file in it is a matter of the kernel's own
            mapping.file_offset = 0;
        } else if (is_request_ring(seen)) {
            mapping.kind = model::MappingKind::request_ring;
            space.rings.push_back(TRY_IN(capture_request_ring(context, stat.door, seen),
                                         "process {} ({}), mapping {:x}-{:x}", process.pid, stat.comm, seen.start,
                                         seen.end));
        } else if (seen.inode == 0 && is_stack_or_heap(seen.name)) {
            mapping.kind = model::MappingKind::anonymous;
        } else if (seen.inode == 0 && seen.name.starts_with(anonymous_prefix)) {
            mapping.kind = model::MappingKind::anonymous;
            mapping.anonymous_name =
                seen.name.substr(anonymous_prefix.size(), seen.name.size() - anonymous_prefix.size() - 1);
        } else if (seen.inode == 0 && seen.name.starts_with("[")) {
            return fail(ENOTSUP, "process {} ({}), mapping {:x}-{:x} {}: this kind of mapping cannot be restored",
                        process.pid, stat.comm, seen.start, seen.end, seen.name);
        } else {
            mapping.kind = model::MappingKind::file;
            // VM_MAYWRITE of a shared mapping tells that its file was opened for writing
            const bool writable = mapping.shared && seen.has_flag("mw");
            mapping.file = TRY(capture_mapped_file(context, stat.door, stat.comm, seen, writable));
        }
        space.mappings.push_back(std::move(mapping));
    }
    space.id = context.tree.next_id();
    task.address_space = space.id;
    context.tree.address_spaces[space.id] = std::move(space);
    return {};
}

} // namespace abey::capture
