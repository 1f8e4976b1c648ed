// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Page contents on their way from memory to the image file "pages-1".
#pragma once

#include "engine/image/common_pages.h"
#include "engine/image/digest.h"
#include "engine/model/memory.h"
#include "engine/os/fd.h"

#include <vector>

namespace abey::image {

struct PageFigures {
    uint64_t scanned = 0, skipped = 0, written = 0; // pages
};

// First all plans, which give each run its place in the file, then one write() that moves everything, each byte once:
// from the task into a block buffer, from there to the file, its digest taken in between.
class PageWriter {
  public:
    // `several`: there is more than one address space, so pages may be common to them.
    explicit PageWriter(bool several);

    // Finds the private pages that differ from what a new mapping would show (PAGEMAP_SCAN, Linux 6.7, or
    // /proc/PID/pagemap) and fills space.pages; what an earlier process has in common with it is written once. The
    // process stands still until write() is done.
    Result<> plan(int pid, model::AddressSpace &space);
    // The parts of a memfd or shared anonymous memory that hold data (SEEK_DATA). `file` must live until write().
    Result<> plan(const Fd &file, model::SharedMemory &memory);

    [[nodiscard]] uint64_t size() const { return size_; }
    [[nodiscard]] const PageFigures &figures() const { return figures_; }

    // The digests of the file's blocks.
    Result<std::vector<Digest>> write(const Fd &pages) const;

  private:
    struct Piece {
        uint64_t offset = 0; // in the file
        uint64_t address = 0;
        uint64_t length = 0;
        int pid = 0; // or
        const Fd *file = nullptr;
        bool common = false; // with other processes
    };
    Result<> fill(std::span<std::byte> block, uint64_t offset) const;
    void add(Piece piece, std::vector<model::PageRun> &runs);

    bool several_;
    uint64_t guard_; // the category of guard pages, 0 when the kernel has none
    CommonPages common_;
    std::vector<Piece> pieces_; // by offset, without gaps
    uint64_t size_ = 0;
    PageFigures figures_;
};

} // namespace abey::image
