// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::Time &from, pb::Time &to) {
    to.set_seconds(from.seconds);
    to.set_nanoseconds(from.nanoseconds);
}

Result<> get(const pb::Time &from, model::Time &to) {
    to.seconds = from.seconds();
    to.nanoseconds = from.nanoseconds();
    return {};
}

void put(const model::Machine &from, pb::Machine &to) {
    to.set_kernel_release(from.kernel_release);
    to.set_boot_id(from.boot_id);
    to.set_vdso_digest(from.vdso_digest);
    to.set_vdso(from.vdso);
    to.set_xfeatures(from.xfeatures);
    to.set_cpu_model(from.cpu_model);
}

Result<> get(const pb::Machine &from, model::Machine &to) {
    to.kernel_release = from.kernel_release();
    to.boot_id = from.boot_id();
    to.vdso_digest = from.vdso_digest();
    to.vdso = from.vdso();
    to.xfeatures = from.xfeatures();
    to.cpu_model = from.cpu_model();
    return {};
}

void put(const model::Clocks &from, pb::Clocks &to) {
    to.set_realtime(from.realtime);
    to.set_monotonic(from.monotonic);
    to.set_boottime(from.boottime);
    to.set_monotonic_raw(from.monotonic_raw);
}

Result<> get(const pb::Clocks &from, model::Clocks &to) {
    to.realtime = from.realtime();
    to.monotonic = from.monotonic();
    to.boottime = from.boottime();
    to.monotonic_raw = from.monotonic_raw();
    return {};
}

} // namespace abey::image
