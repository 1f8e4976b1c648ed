// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/probes.h"

#include "engine/os/fd.h"
#include "engine/os/kernel.h"
#include "engine/os/network_lock.h"
#include "engine/os/vdso.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <linux/bpf.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

namespace abey::ctl {
namespace {

Probe judged(std::string name, bool good, Verdict otherwise, std::string found, std::string cost) {
    return {.name = std::move(name),
            .verdict = good ? Verdict::good : otherwise,
            .found = std::move(found),
            .cost = good ? "" : std::move(cost)};
}

std::string there(bool is) { return is ? "yes" : "no"; }

// A system call with arguments it must refuse: only ENOSYS tells that the kernel does not know it.
bool has_call(long number, long first, long second) {
    return ::syscall(number, first, second, 0, 0, 0) >= 0 || errno != ENOSYS;
}

Probe machine() {
    utsname name{};
    ::uname(&name);
    const std::string_view release = name.release;
    const unsigned major = leading_number(release);
    const unsigned minor = leading_number(release.substr(std::min(release.find('.'), release.size() - 1) + 1));
    const bool known = std::string_view(name.machine) == "x86_64";
    const bool recent = major > 6 || (major == 6 && minor >= 1);
    return judged("machine", known && recent, known ? Verdict::lacking : Verdict::broken,
                  fmt::format("{}, Linux {}", name.machine, release),
                  known ? "Linux 6.1 is the oldest that this was tried on" : "only x86_64 is supported");
}

Probe descriptors() {
    const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    const Fd copy(self ? static_cast<int>(::syscall(SYS_pidfd_getfd, self.get(), STDERR_FILENO, 0)) : -1);
    return judged("pidfd_getfd(2)", copy || (self && errno == EBADF), Verdict::broken, there(static_cast<bool>(copy)),
                  "descriptors of a session cannot be taken; needs Linux 5.6, and no filter of system calls");
}

Probe comparing() {
    const auto pid = ::getpid();
    const bool good = ::syscall(SYS_kcmp, pid, pid, KCMP_VM, 0, 0) == 0;
    return judged("kcmp(2)", good, Verdict::broken, there(good),
                  "what processes share cannot be told; needs a kernel with CONFIG_KCMP");
}

Probe pids() {
    const bool good = has_call(SYS_clone3, 0, 0);
    return judged("clone3(2)", good, Verdict::broken, there(good),
                  "processes cannot be given their old pids; needs Linux 5.5");
}

Probe mapped_files() {
    const bool good = ::access("/proc/self/map_files", F_OK) == 0;
    return judged("/proc/PID/map_files", good, Verdict::broken, there(good),
                  "mapped files cannot be told apart; needs a kernel with CONFIG_CHECKPOINT_RESTORE");
}

Probe namespace_of(const char *name, const char *cost) {
    const bool good = ::access(fmt::format("/proc/self/ns/{}", name).c_str(), F_OK) == 0;
    return judged(fmt::format("{} namespaces", name), good, Verdict::lacking, there(good), cost);
}

Probe vdso() {
    const auto sealed = os::own_vdso_is_sealed();
    if (!sealed)
        return {
            .name = "vDSO", .verdict = Verdict::broken, .found = sealed.error().message(), .cost = "/proc is needed"};
    return judged("vDSO", !*sealed, Verdict::broken, *sealed ? "sealed" : "can be put back",
                  "no session can be suspended: its vDSO could not be put back where its programs have it; boot a "
                  "kernel without CONFIG_MSEAL_SYSTEM_MAPPINGS");
}

Probe socket_diagnosis() {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    return judged("sock_diag(7)", static_cast<bool>(socket), Verdict::broken, there(static_cast<bool>(socket)),
                  "sockets cannot be examined; needs a kernel with CONFIG_UNIX_DIAG");
}

Probe control_groups() {
    struct statfs status {};
    const bool unified = ::statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
    return judged("cgroup v2", unified, Verdict::broken, unified ? "unified hierarchy" : "no unified hierarchy",
                  "a session cannot be frozen; boot with systemd.unified_cgroup_hierarchy=1");
}

Probe killing() {
    // The root cgroup has none: look at the one of system services
    const bool good = ::access("/sys/fs/cgroup/system.slice/cgroup.kill", F_OK) == 0;
    return judged("cgroup.kill", good, Verdict::lacking, there(good),
                  "processes of a suspended session are ended one by one; needs Linux 5.14");
}

Probe filling() {
    const Fd memory(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)));
    return judged("userfaultfd(2)", static_cast<bool>(memory), Verdict::lacking, there(static_cast<bool>(memory)),
                  "large memory takes twice as long to resume; needs Linux 5.11 with CONFIG_USERFAULTFD");
}

// An empty range: it is looked at, and nothing found in it.
Probe page_scan() {
    const auto pagemap = open_file("/proc/self/pagemap", O_RDONLY);
    kernel::PagemapScan scan{};
    scan.size = sizeof scan;
    const bool good = pagemap && ::ioctl(pagemap->get(), kernel::pagemap_scan, &scan) >= 0;
    return judged("PAGEMAP_SCAN", good, Verdict::lacking, there(good),
                  "looking for written pages takes longer, and with it the standstill; needs Linux 6.7");
}

// Only root is answered.
Probe packet_filter() {
    const auto can = os::can_lock();
    if (!can && ::geteuid() != 0)
        return {.name = "nftables", .found = "not examined: only root can"};
    return judged(
        "nftables", can.has_value(), Verdict::lacking, can ? "yes" : can.error().message(),
        "connections to the outside cannot be kept over a suspend ([[peer]] action = \"keep\"); needs Linux 5.12 "
        "with CONFIG_NF_TABLES_INET");
}

// The bounding set tells what the service can have, whoever runs this.
Probe capabilities() {
    struct Needed {
        unsigned bit;
        const char *name;
        bool essential;
    };
    // Numbers of <linux/capability.h>
    constexpr std::array needed{Needed{1, "CAP_DAC_OVERRIDE", true}, Needed{19, "CAP_SYS_PTRACE", true},
                                Needed{21, "CAP_SYS_ADMIN", true}, Needed{40, "CAP_CHECKPOINT_RESTORE", false},
                                Needed{24, "CAP_SYS_RESOURCE", false}};
    uint64_t bounding = 0;
    if (const auto status = read_file("/proc/self/status")) {
        constexpr std::string_view label = "CapBnd:\t";
        if (const auto at = status->find(label); at != std::string::npos) {
            const auto *begin = status->data() + at + label.size();
            (void)std::from_chars(begin, status->data() + status->size(), bounding, 16);
        }
    }
    Probe probe{.name = "capabilities", .found = "all that are needed"};
    std::string missing;
    for (const auto &[bit, name, essential] : needed)
        if ((bounding >> bit & 1U) == 0) {
            missing += missing.empty() ? name : std::string(", ") + name;
            if (essential)
                probe.verdict = Verdict::broken;
            else if (probe.verdict == Verdict::good)
                probe.verdict = Verdict::lacking;
        }
    if (!missing.empty()) {
        probe.found = "not: " + missing;
        probe.cost = probe.verdict == Verdict::broken
                         ? "the service may not examine or make processes; this container or machine withholds them"
                         : "hard limits of processes cannot be raised above the service's own";
    }
    return probe;
}

// A file system that may be a module which nobody has needed yet.
Probe nilfs2() {
    utsname name{};
    ::uname(&name);
    const auto known = read_file("/proc/filesystems").value_or("");
    const auto modules = read_file(fmt::format("/lib/modules/{}/modules.dep", name.release)).value_or("");
    const bool there = known.find("\tnilfs2\n") != std::string::npos;
    const bool loadable = modules.find("/nilfs2.ko") != std::string::npos;
    return {.name = "nilfs2",
            .found = there ? "yes"
                     : loadable
                         ? "as a module"
                         : "no (CONFIG_NILFS2_FS): homes cannot lie there, [home] provider = \"nilfs2\" is refused"};
}

// How much is left of an interrupted wait, and a few other things, are read from the kernel by a program in BPF, which
// finds them by the kernel's description of itself.
Probe kernel_reading() {
    const bool described = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
    bool allowed = true;
    if (::geteuid() == 0) { // others may not in any case, and the worker is root
        bpf_attr map = {};
        map.map_type = BPF_MAP_TYPE_ARRAY;
        map.key_size = map.value_size = sizeof(uint32_t);
        map.max_entries = 1;
        allowed = static_cast<bool>(Fd(static_cast<int>(::syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map))));
    }
    return judged(
        "BPF and BTF", described && allowed, Verdict::lacking,
        described ? there(allowed) : "no /sys/kernel/btf/vmlinux",
        "most sleeps and waits that a suspend interrupts begin anew, with all of their time; how often a timer "
        "has run over is lost; a fanotify group may be refused. Needs CONFIG_DEBUG_INFO_BTF and bpf(2)");
}

} // namespace

unsigned leading_number(std::string_view version) {
    unsigned number = 0;
    (void)std::from_chars(version.begin(), version.end(), number);
    return number;
}

std::vector<Probe> kernel_probes() {
    return {machine(),
            control_groups(),
            killing(),
            descriptors(),
            comparing(),
            pids(),
            mapped_files(),
            vdso(),
            socket_diagnosis(),
            namespace_of("pid", "a session can only be resumed while its pids are free"),
            namespace_of("time", "after a reboot the clocks of resumed programs go backwards"),
            filling(),
            page_scan(),
            packet_filter(),
            kernel_reading(),
            nilfs2(),
            capabilities()};
}

} // namespace abey::ctl
