// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A batch: system calls to be made by another process, in order, in one go. See remote.h for how it is run.
#pragma once

#include "engine/os/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace abey::os {

// Arguments are plain integers; memory that a call reads or writes lies in the batch itself and is named by its address
// in the task, which put() and reserve() return. The layout in the task: code page, entries, data.
class Batch {
  public:
    // `base`: where the batch's region lies in the task, `size` its length in bytes (both page-aligned).
    Batch(uint64_t base, size_t size) : base_(base), size_(size) {}

    // Appends a call that must succeed: run() stops after it when it fails, and the error says `what`.
    // Returns its index for result().
    template <class... Args> size_t must(std::string what, long number, Args... args) {
        return append(std::move(what), true, number, {to_word(args)...});
    }
    // Appends a call that may fail; the caller looks at result().
    template <class... Args> size_t may(long number, Args... args) {
        return append({}, false, number, {to_word(args)...});
    }

    // A copy of `bytes` in the batch's data; its address in the task, 16-byte aligned.
    uint64_t put(std::span<const std::byte> bytes);
    template <class T>
    requires std::is_trivially_copyable_v<T> uint64_t put(const T &value) {
        return put(std::as_bytes(std::span(&value, 1)));
    }
    uint64_t put_string(const std::string &text); // with the final NUL
    // Room for a call's output, zeroed; its address in the task.
    uint64_t reserve(size_t size);

    [[nodiscard]] bool empty() const { return entries_.empty(); }
    [[nodiscard]] size_t count() const { return entries_.size(); }
    // How many bytes of calls and data still fit. A batch over its size makes run() fail with E2BIG; long work is split
    // by looking at room() and running what there is.
    [[nodiscard]] size_t room() const;

    // After run():
    [[nodiscard]] long result(size_t call) const { return entries_.at(call).result; }
    // What the calls wrote at an address that reserve() or put() returned.
    [[nodiscard]] std::span<const std::byte> output(uint64_t address, size_t size) const;
    template <class T> T output(uint64_t address) const {
        T value = {};
        auto bytes = output(address, sizeof value);
        std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte *>(&value));
        return value;
    }

    void clear();

    // As the code in the task reads it. must: the walk ends here when result is an error.
    struct Entry {
        int64_t number;
        std::array<uint64_t, 6> arguments;
        int64_t result;
        uint64_t must;
    };

  private:
    friend class Remote;
    template <class T> static uint64_t to_word(T value) {
        if constexpr (std::is_pointer_v<T>)
            return reinterpret_cast<uint64_t>(value);
        else
            return static_cast<uint64_t>(value);
    }
    size_t append(std::string what, bool must, long number, std::array<uint64_t, 6> arguments);
    [[nodiscard]] uint64_t data_base() const;

    uint64_t base_;
    size_t size_;
    std::vector<Entry> entries_;
    std::vector<std::string> what_; // by entry
    std::vector<std::byte> data_;
};

} // namespace abey::os
