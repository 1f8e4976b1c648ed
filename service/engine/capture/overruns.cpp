// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/overruns.h"

#include "engine/model/queued_signal.h"
#include "engine/os/task_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace abey::capture {

namespace {

// Calls `visit` with each queued signal of a timer and that timer's id.
template <class Visit> void each_of_timers(model::Task &task, Visit visit) {
    const auto look = [&visit](std::vector<model::Bytes> &pending) {
        for (model::Bytes &info : pending)
            if (const auto id = model::timer_of(info))
                visit(info, *id);
    };
    look(task.pending);
    for (model::Thread &thread : task.threads)
        look(thread.pending);
}

// Context::state: made when the first process needs it, for it takes a while.
struct TimerReader {
    std::optional<Result<os::TaskReader>> reader;
};

Result<os::TaskReader> open_reader() { return os::TaskReader::of_timers(TRY(os::KernelTypes::read())); }

} // namespace

void tell_overruns(Context &context, int tid, model::Task &task) {
    bool any = false;
    each_of_timers(task, [&any](model::Bytes & /*info*/, int32_t /*id*/) { any = true; });
    if (!any)
        return;
    auto &reader = context.state<TimerReader>().reader;
    if (!reader)
        reader = open_reader();
    const auto timers = *reader ? (*reader)->read(tid) : Result<std::string>("");
    if (!timers)
        return;
    each_of_timers(task, [&](model::Bytes &info, int32_t id) {
        const size_t known = std::min(task.posix_timers.size() * os::TaskReader::timer_size, timers->size());
        for (size_t at = 0; at + os::TaskReader::timer_size <= known; at += os::TaskReader::timer_size) {
            int32_t own = 0;
            int64_t overrun = 0;
            std::memcpy(&own, timers->data() + at, sizeof own);
            std::memcpy(&overrun, timers->data() + at + sizeof(uint64_t), sizeof overrun);
            if (own != id)
                continue;
            const auto told = static_cast<int32_t>(std::clamp<int64_t>(overrun, 0, INT32_MAX));
            std::memcpy(info.data() + model::overrun_in_signal, &told, sizeof told);
        }
    });
}

} // namespace abey::capture
