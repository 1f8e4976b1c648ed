// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/parallel.h"

#include "engine/os/mapped.h"
#include "engine/os/one_cpu.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace abey::os {

namespace {

constexpr size_t most_threads = 4;

} // namespace

Result<> in_parallel(size_t count, size_t buffer_size,
                     const std::function<Result<>(size_t, std::span<std::byte>)> &work) {
    std::atomic<size_t> next = 0;
    std::mutex lock;
    std::optional<Error> error;
    const auto run = [&] {
        const Mapped buffer(buffer_size, read_write, ones_own);
        for (size_t block = next++; block < count; block = next++) {
            auto done = buffer.bytes().empty() ? Result<>(fail(ENOMEM, "no memory for a block buffer"))
                                               : work(block, buffer.bytes());
            if (!done) {
                const std::lock_guard guard(lock);
                if (!error)
                    error = std::move(done).error();
                next = count;
            }
        }
    };
    size_t wanted = std::min(count, most_threads);
    if (wanted > 1) // the library reads a file of /sys to tell
        wanted = std::min(wanted, static_cast<size_t>(std::max(1U, std::thread::hardware_concurrency())));
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < wanted; ++i) {
        try {
            helpers.emplace_back([&] {
                use_all_cpus(); // the caller may be held on one
                run();
            });
        } catch (const std::system_error &) {
            break; // no more threads: the others, at least this one, do the work
        }
    }
    run();
    helpers.clear(); // joins
    if (error)
        return std::unexpected(std::move(*error));
    return {};
}

} // namespace abey::os
