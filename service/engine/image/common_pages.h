// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pages that several tasks have in common since a fork (copy-on-write): saved once, and left in common. They may only
// be read through /proc/PID/mem: process_vm_readv(2) pins what it reads, and the kernel gives a page that is to be
// pinned to each of its users (FAULT_FLAG_UNSHARE, Linux 5.19).
#pragma once

#include "engine/os/fd.h"
#include "engine/os/mapped.h"

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace abey::image {

inline constexpr uint64_t page = 4096; // bytes

// Private pages as all tasks together have them, by page frame (Documentation/admin-guide/mm/pagemap.rst; the numbers
// are told to CAP_SYS_ADMIN only, without it nothing is found). The tasks stand still.
class CommonPages {
  public:
    CommonPages();
    // A stretch of a task's pages that is in the image already.
    struct Stored {
        uint64_t address = 0;
        uint64_t length = 0;
        uint64_t offset = 0; // in "pages"
        int pid = 0;         // whose pages those are
    };
    // Which of the pages in `ranges` ([start, end) each, by address) an earlier task has at the same address, in the
    // same state: page frames may move at any moment, so what seems to be one page is compared.
    Result<std::vector<Stored>> find(int pid, const Fd &pagemap,
                                     const std::vector<std::pair<uint64_t, uint64_t>> &ranges);

    struct Stretch {
        uint64_t length = 0;
        bool common = false; // others map these pages as well
    };
    // The pages from `address` on will be in the image at `offset`; to be called for those of the last find() only.
    std::vector<Stretch> add(int pid, uint64_t address, uint64_t length, uint64_t offset);

  private:
    struct Page {
        uint64_t address;
        uint64_t frame;
    };
    struct Place {
        uint64_t address;
        uint64_t offset;
        int pid;
    };
    os::Mapped buffer_;                  // of comparisons
    std::vector<Page> mapped_by_others_; // of the task that find() was asked about last, by address
    std::unordered_map<uint64_t, Place> places_;
};

} // namespace abey::image
