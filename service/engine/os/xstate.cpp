// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/xstate.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <cpuid.h>

namespace abey::os {

namespace {

constexpr uint32_t area_leaf = 0xd;
constexpr size_t legacy_size = 576; // x87, SSE and the header
constexpr uint32_t first_extended = 2, end_of_features = 63;
// where the kernel tells the features of an area (struct _fpx_sw_bytes of arch/x86/include/uapi/asm/sigcontext.h)
constexpr size_t features_offset = 464;

} // namespace

uint64_t enabled_xfeatures() {
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    constexpr uint32_t osxsave = 1U << 27U;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0)
        return 0;
    uint32_t low = 0;
    uint32_t high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64_t>(high) << 32U) | low;
}

size_t xstate_size(uint64_t features) {
    size_t size = legacy_size;
    for (uint32_t feature = first_extended; feature < end_of_features; ++feature) {
        uint32_t length = 0;
        uint32_t offset = 0;
        uint32_t c = 0;
        uint32_t d = 0;
        if ((features >> feature & 1U) != 0 && __get_cpuid_count(area_leaf, feature, &length, &offset, &c, &d) != 0)
            size = std::max<size_t>(size, size_t{offset} + length);
    }
    return size;
}

Result<std::string> fit_xstate(std::string area) {
    static const size_t own = xstate_size(enabled_xfeatures()); // asked once: a virtual machine is left for each CPUID
    if (area.size() == own)
        return area;
    uint64_t features = 0;
    if (area.size() >= features_offset + sizeof features)
        std::memcpy(&features, area.data() + features_offset, sizeof features);
    if (area.size() > own || features == 0 || area.size() != xstate_size(features))
        return fail(ENOTSUP,
                    "the extended registers ({} bytes, features {:#x}) have other places on this CPU; resume on a CPU "
                    "like the first",
                    area.size(), features);
    area.resize(own);
    return area;
}

} // namespace abey::os
