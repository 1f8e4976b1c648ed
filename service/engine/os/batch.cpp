// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/batch.h"

#include "engine/os/batch_layout.h"

#include <algorithm>
#include <stdexcept>

namespace abey::os {

namespace {
constexpr size_t alignment = 16;
constexpr size_t aligned(size_t size) { return (size + alignment - 1) / alignment * alignment; }
} // namespace

uint64_t Batch::data_base() const { return base_ + batch_layout::entries_offset + batch_layout::entries_size(size_); }

uint64_t Batch::put(std::span<const std::byte> bytes) {
    const uint64_t address = data_base() + data_.size();
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    data_.resize(aligned(data_.size()));
    return address;
}

uint64_t Batch::put_string(const std::string &text) {
    return put(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

uint64_t Batch::reserve(size_t size) {
    const uint64_t address = data_base() + data_.size();
    data_.resize(aligned(data_.size() + size));
    return address;
}

size_t Batch::room() const {
    const size_t entries_room = batch_layout::entries_size(size_) / sizeof(Entry);
    const size_t data_room = size_ - batch_layout::entries_offset - batch_layout::entries_size(size_);
    if (entries_.size() >= entries_room || data_.size() >= data_room)
        return 0;
    return std::min((entries_room - entries_.size()) * sizeof(Entry), data_room - data_.size());
}

std::span<const std::byte> Batch::output(uint64_t address, size_t size) const {
    const uint64_t offset = address - data_base();
    if (address < data_base() || offset + size > data_.size())
        throw std::out_of_range("Batch::output"); // a mistake of the caller, not of the world
    return std::span(data_).subspan(offset, size);
}

void Batch::clear() {
    entries_.clear();
    what_.clear();
    data_.clear();
}

size_t Batch::append(std::string what, bool must, long number, std::array<uint64_t, 6> arguments) {
    entries_.push_back({number, arguments, 0, must ? 1ULL : 0ULL});
    what_.push_back(std::move(what));
    return entries_.size() - 1;
}

} // namespace abey::os
