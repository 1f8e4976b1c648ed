// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

#include <vector>

namespace abey::model {

enum class MappingKind : uint8_t {
    anonymous, // private, no file
    file,      // private or shared, of an open file (also memfd, shared anonymous memory, System V)
    vdso,
    vvar,
    vvar_vclock,
    request_ring, // of native asynchronous I/O (io_setup(2)): AddressSpace::rings
};

// Consecutive pages whose contents are in the image file "pages".
struct PageRun {
    uint64_t address = 0; // of the task, or offset within a shared memory object; page-aligned
    uint64_t length = 0;  // bytes, a multiple of the page size
    uint64_t offset = 0;  // in "pages", page-aligned
};

// One line of /proc/PID/smaps.
struct Mapping {
    uint64_t start = 0;
    uint64_t end = 0;
    int32_t protection = 0; // PROT_*
    bool shared = false;
    bool grows_down = false;
    MappingKind kind = MappingKind::anonymous;
    ObjRef file = 0; // OpenFile, with kind file
    uint64_t file_offset = 0;
    // Two-letter marks of VmFlags which rebuild must renew: lo, dd, dc, wf, hg, nh, mg, sr, rr, nr.
    std::vector<Bytes> vm_flags;
    Bytes anonymous_name;         // PR_SET_VMA_ANON_NAME
    uint32_t huge_page_shift = 0; // of hugetlb memory: log2 of the page size
};

// struct prctl_mm_map of linux/prctl.h
struct MemoryLayout {
    uint64_t start_code = 0, end_code = 0, start_data = 0, end_data = 0;
    uint64_t start_brk = 0, brk = 0, start_stack = 0;
    uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
    Bytes auxv;
};

// What native asynchronous I/O shares with its program: struct aio_ring of the kernel (fs/aio.c). Its address is the
// context's id.
struct RequestRing {
    uint64_t address = 0;
    uint32_t count = 0;          // places for events
    uint32_t head = 0, tail = 0; // places: the next to be read, the next to be written
    Bytes events;                // struct io_event each, those between head and tail: done and not fetched
};

struct AddressSpace {
    ObjRef id = 0;
    MemoryLayout layout;
    ObjRef executable = 0;         // OpenFile: what /proc/PID/exe shows
    std::vector<Mapping> mappings; // by address
    std::vector<PageRun> pages;    // by address
    std::vector<PageRun> guards;   // by address, without contents: MADV_GUARD_INSTALL (madvise(2))
    std::vector<RequestRing> rings;
};

// Memory that has an inode but no name that lasts: shared anonymous mappings, memfds, System V segments.
struct SharedMemory {
    ObjRef id = 0;
    enum class Kind : uint8_t { anonymous, memfd, system_v } kind = Kind::anonymous;
    Bytes name; // memfd: without "/memfd:"
    uint64_t size = 0;
    uint32_t seals = 0; // F_GET_SEALS
    uint32_t mode = 0, uid = 0, gid = 0;
    int32_t key = 0, identifier = 0;           // System V (shmget(2)); mode, uid and gid are the segment's
    uint32_t creator_uid = 0, creator_gid = 0; // likewise
    bool removed = false;                      // System V: goes with the last that detaches it
    ObjRef ipc_namespace = 0;                  // System V; 0: the session's
    bool huge_pages = false;
    uint32_t huge_page_shift = 0;
    std::vector<PageRun> pages; // address = offset within the object
};

} // namespace abey::model
