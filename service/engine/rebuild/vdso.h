// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The vDSO in a husk, with the data areas that belong to it.
//
// Address spaces that were saved under a kernel with another one, as after an update: this kernel's takes the former's
// place if they hardly differ, and else lies elsewhere, with something in the former's place that leads to it.
#pragma once

#include "engine/details.h"
#include "engine/os/vdso.h"
#include "engine/rebuild/husk.h"

#include <optional>

namespace abey::rebuild {

class OtherVdso {
  public:
    // `parts`: of this process's own vDSO, which husks inherit.
    OtherVdso(os::VdsoBridge bridge, std::vector<os::ProcMapping> parts)
        : bridge_(std::move(bridge)), parts_(std::move(parts)) {}

    // What lies where the former vDSO was, besides what the address space has.
    struct StandIn {
        uint64_t address = 0;
        std::string contents;
    };
    // Puts this kernel's vDSO among the mappings, in place of the former and its data areas. ENOMEM: there is no room.
    Result<std::optional<StandIn>> adapt(model::AddressSpace &space) const;

    // Before anything is made: there is room for it everywhere, and no thread stands in the former's code.
    Result<> check(const model::Tree &outline, const engine::Details &details) const;

  private:
    Result<> check(const model::Task &task, const model::AddressSpace &space) const;
    os::VdsoBridge bridge_;
    std::vector<os::ProcMapping> parts_;
};

// Nothing: the tree has what this kernel has, or no process of it has a vDSO. `tree` may be an outline.
Result<std::optional<OtherVdso>> other_vdso(const model::Tree &tree, const engine::Details &details);

// Moves the husk's from where they are (`parts`) to where the address space has them; the kernel follows (vdso_mremap
// of arch/x86/entry/vdso/vma.c).
Result<> place_vdso(Husk &husk, const std::vector<os::ProcMapping> &parts, const model::AddressSpace &space,
                    Calls &calls);
// Where they are then; nothing: the address space does not have all of them.
std::optional<std::vector<os::ProcMapping>> placed(std::vector<os::ProcMapping> parts,
                                                   const model::AddressSpace &space);

// Maps it into the husk, which has nothing there.
Result<> put_stand_in(Husk &husk, const OtherVdso::StandIn &stand_in, Calls &calls);

} // namespace abey::rebuild
