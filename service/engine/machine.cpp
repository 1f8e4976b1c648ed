// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/machine.h"

#include "engine/image/digest.h"
#include "engine/os/procfs.h"
#include "engine/os/vdso.h"
#include "engine/os/xstate.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include <cpuid.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace abey::engine {

namespace {

constexpr int64_t nanoseconds = 1000000000;

int64_t now(clockid_t clock) {
    timespec time = {};
    (void)::clock_gettime(clock, &time); // these clocks are always there
    return time.tv_sec * nanoseconds + time.tv_nsec;
}

struct Offsets {
    int64_t monotonic = 0, boottime = 0;
};

Result<Offsets> offsets_of(int pid) {
    Offsets offsets;
    const auto text = os::read_proc(pid, "timens_offsets");
    if (!text)
        return offsets; // no time namespaces in this kernel
    std::array<char, 16> name{};
    long long seconds = 0;
    long long rest = 0;
    for (size_t at = 0; at < text->size();) {
        if (std::sscanf(text->c_str() + at, "%15s %lld %lld", name.data(), &seconds, &rest) ==
            3) { // NOLINT(cert-err34-c)
            auto &offset = std::string_view(name.data()) == "monotonic" ? offsets.monotonic : offsets.boottime;
            offset = seconds * nanoseconds + rest;
        }
        const size_t end = text->find('\n', at);
        at = end == std::string::npos ? text->size() : end + 1;
    }
    return offsets;
}

} // namespace

Result<std::string> boot_id() {
    auto text = TRY(read_file("/proc/sys/kernel/random/boot_id", 64));
    text.erase(text.find_last_not_of('\n') + 1);
    return text;
}

Result<model::Machine> this_machine() {
    model::Machine machine;
    utsname name = {};
    ::uname(&name);
    machine.kernel_release = static_cast<const char *>(name.release);
    machine.boot_id = TRY(boot_id());
    machine.vdso = TRY(os::own_vdso());
    machine.vdso_digest = image::to_hex(image::digest(std::as_bytes(std::span(machine.vdso))));
    machine.xfeatures = os::enabled_xfeatures();
    std::array<unsigned, 12> brand{};
    for (unsigned i = 0; i < 3; ++i)
        (void)__get_cpuid(0x80000002U + i, &brand.at(4UL * i), &brand.at(4UL * i + 1), &brand.at(4UL * i + 2),
                          &brand.at(4UL * i + 3));
    std::string model(reinterpret_cast<const char *>(brand.data()), sizeof brand);
    machine.cpu_model = model.substr(0, model.find('\0'));
    return machine;
}

Result<model::Clocks> clocks_of(int pid) {
    const Offsets own = TRY(offsets_of(::getpid()));
    const Offsets theirs = TRY(offsets_of(pid));
    model::Clocks clocks;
    clocks.realtime = now(CLOCK_REALTIME);
    clocks.monotonic = now(CLOCK_MONOTONIC) - own.monotonic + theirs.monotonic;
    clocks.boottime = now(CLOCK_BOOTTIME) - own.boottime + theirs.boottime;
    clocks.monotonic_raw = now(CLOCK_MONOTONIC_RAW) - own.monotonic + theirs.monotonic;
    return clocks;
}

Result<model::Clocks> initial_clocks() {
    const Offsets own = TRY(offsets_of(::getpid()));
    return model::Clocks{now(CLOCK_REALTIME), now(CLOCK_MONOTONIC) - own.monotonic, now(CLOCK_BOOTTIME) - own.boottime,
                         now(CLOCK_MONOTONIC_RAW) - own.monotonic};
}

ClockOffsets offsets_to_go_on(const model::Clocks &saved, const model::Clocks &initial) {
    ClockOffsets offsets{saved.monotonic - initial.monotonic, saved.boottime - initial.boottime};
    const int64_t raw = saved.monotonic_raw == 0 ? INT64_MIN : saved.monotonic_raw - initial.monotonic_raw;
    if (raw > offsets.monotonic) {
        offsets.boottime += raw - offsets.monotonic; // never less than what CLOCK_MONOTONIC says
        offsets.monotonic = raw;
    }
    return offsets;
}

Result<> check_machine(const model::Machine &saved, const model::Machine &here) {
    if ((saved.xfeatures & ~here.xfeatures) != 0)
        return fail(ENOTSUP,
                    "the checkpoint was made on \"{}\" with extended registers {:#x}, this CPU \"{}\" has {:#x}; "
                    "resume it on a machine like the first",
                    saved.cpu_model, saved.xfeatures, here.cpu_model, here.xfeatures);
    return {};
}

Result<os::VdsoBridge> vdso_bridge(const model::Machine &saved, const model::Machine &here) {
    if (saved.vdso.empty())
        return fail(
            ENOTSUP,
            "the checkpoint was made under kernel {}, whose vDSO differs from that of {}, by a release that did "
            "not save it; boot the former to resume it",
            saved.kernel_release, here.kernel_release);
    return TRY_IN(os::VdsoBridge::make(saved.vdso, here.vdso),
                  "the checkpoint was made under kernel {}; boot that to resume it", saved.kernel_release);
}

} // namespace abey::engine
