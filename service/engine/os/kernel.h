// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Kernel interfaces that are newer than the oldest headers we build with (Linux 6.1), each with the version that
// brought it.
#pragma once

#include <cstdint>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace abey::kernel {

// In a signal set as the kernel has it, signal(7).
constexpr uint64_t signal_bit(int signal) { return 1ULL << static_cast<unsigned>(signal - 1); }

// include/uapi/linux/fs.h, Linux 6.7: PAGEMAP_SCAN
struct PageRegion {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};
struct PagemapScan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t vec;
    uint64_t vec_len;
    uint64_t max_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};
inline constexpr unsigned long pagemap_scan = _IOWR('f', 16, PagemapScan);
inline constexpr uint64_t page_is_file = 1U << 2U;
inline constexpr uint64_t page_is_present = 1U << 3U;
inline constexpr uint64_t page_is_swapped = 1U << 4U;
inline constexpr uint64_t page_is_pfn_zero = 1U << 5U;
inline constexpr uint64_t page_is_guard = 1U << 8U; // Linux 6.15

// include/uapi/asm-generic/mman-common.h, Linux 6.13
inline constexpr int madv_guard_install = 102;

// include/uapi/linux/prctl.h, Linux 6.16
inline constexpr int pr_timer_create_restore_ids = 77;
inline constexpr int pr_timer_create_restore_ids_off = 0;
inline constexpr int pr_timer_create_restore_ids_on = 1;

// include/uapi/linux/prctl.h, Linux 5.17
inline constexpr int pr_set_vma = 0x53564d41;
inline constexpr int pr_set_vma_anon_name = 0;

// include/uapi/linux/prctl.h, Linux 6.3 and 6.4
inline constexpr int pr_set_mdwe = 65;
inline constexpr int pr_get_mdwe = 66;
inline constexpr int pr_set_memory_merge = 67;
inline constexpr int pr_get_memory_merge = 68;

// include/uapi/linux/prctl.h, Linux 6.18
inline constexpr unsigned pr_thp_disable_except_advised = 1U << 1U;

// include/linux/sched.h: what PR_SET_IO_FLUSHER sets in the flags that /proc/PID/stat shows (Linux 5.18)
inline constexpr uint64_t pf_io_flusher = 0x00080000 | 0x00100000;

// include/uapi/linux/mman.h, Linux 6.11
inline constexpr int map_droppable = 0x08;

// arch/x86/entry/syscalls/syscall_64.tbl, Linux 6.10; which mappings are sealed is told since 6.11 (proc_pid_smaps(5))
inline constexpr long mseal = 462;

// TASK_SIZE with four levels of page tables (arch/x86/include/asm/page_64_types.h), which all programs get that do not
// ask for more
inline constexpr uint64_t end_of_addresses = 0x7ffffffff000;

// include/uapi/linux/mount.h, Linux 6.5
inline constexpr unsigned move_mount_beneath = 0x200;

// include/uapi/linux/membarrier.h: which commands there are, and the three that register for what only reaches the
// threads of one process
inline constexpr int membarrier_query = 0;
inline constexpr int membarrier_private = 1 << 4 | 1 << 6 | 1 << 8;
// Linux 6.3
inline constexpr int membarrier_get_registrations = 1 << 9;

// include/uapi/linux/ptrace.h, Linux 5.13
inline constexpr int ptrace_get_rseq_configuration = 0x420f;
struct RseqConfiguration {
    uint64_t address;
    uint32_t size;
    uint32_t signature;
    uint32_t flags;
    uint32_t pad;
};

// include/uapi/linux/ptrace.h, Linux 6.4
inline constexpr int ptrace_get_syscall_user_dispatch = 0x4211;
struct SyscallUserDispatch {
    uint64_t mode;
    uint64_t selector;
    uint64_t offset;
    uint64_t length;
};

// include/uapi/linux/ptrace.h, Linux 4.16; glibc's header of the same names cannot be included beside the kernel's
inline constexpr int ptrace_seccomp_get_metadata = 0x420d;
struct SeccompMetadata {
    uint64_t filter;
    uint64_t flags;
};

// include/uapi/linux/sched/types.h, struct sched_attr: that header cannot be included beside <sched.h>
struct SchedulingAttributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};

// include/uapi/linux/fanotify.h, Linux 5.19 and 6.0
inline constexpr uint32_t fan_mark_evictable = 0x200;
inline constexpr uint32_t fan_mark_ignore = 0x400;

// include/linux/socket.h, Linux 6.5: a pidfd of the sender among the ancillary data
inline constexpr int scm_pidfd = 4;

// include/uapi/linux/timerfd.h, Linux 3.17: not in the C library's header
inline constexpr unsigned long tfd_ioc_set_ticks = _IOW('T', 0, uint64_t);

// include/uapi/linux/pidfd.h, Linux 6.9
inline constexpr unsigned pidfd_thread = O_EXCL;

// include/uapi/linux/fcntl.h, Linux 3.7: not in the C library's header
inline constexpr int f_getowner_uids = 17;

} // namespace abey::kernel
