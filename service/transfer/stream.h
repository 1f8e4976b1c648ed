// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A checkpoint on its way, below the compression (docs/IMAGE-FORMAT.md): a first line, then records, each a line "NAME
// SIZE" and SIZE bytes; the last one, "end", holds the digest of all before it.
#pragma once

#include "engine/image/digest.h"
#include "engine/os/fd.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::transfer {

inline constexpr std::string_view first_line = "abeyance-export 1\n";
inline constexpr size_t piece_size = 1U << 20U; // of what has no size known beforehand

// Told of bytes that have passed.
using Passed = std::function<void(uint64_t bytes)>;

// Takes the digest of all that passes, in blocks as image files are.
class Running {
  public:
    void add(std::string_view data);
    std::string finish();

  private:
    std::string block_;
    std::vector<image::Digest> digests_;
};

class Writer {
  public:
    // Both descriptors outlive it. It writes no further when `stop`, which may be none, is readable.
    Writer(const Fd &out, Passed passed, const Fd &stop) : out_(out), stop_(stop), passed_(std::move(passed)) {}

    Result<> begin();
    Result<> record(std::string_view name, std::string_view data);
    // Of a file, `size` bytes of it.
    Result<> file(std::string_view name, const Fd &from, uint64_t size);
    Result<> end();

  private:
    Result<> write(std::string_view data);

    const Fd &out_;
    const Fd &stop_;
    Passed passed_;
    Running digest_;
};

struct Record {
    std::string name;
    uint64_t size = 0;
};

class Reader {
  public:
    // Both descriptors outlive it. It reads no further when `stop`, which may be none, is readable.
    Reader(const Fd &in, Passed passed, const Fd &stop) : in_(in), stop_(stop), passed_(std::move(passed)) {}

    Result<> begin();
    // The header of the next record; what it holds has to be read before the next but one. `end` is checked, and
    // nothing may follow it.
    Result<Record> next();
    // The next record must be of that name and at most so large.
    Result<std::string> record(std::string_view name, size_t limit);
    // `size` bytes of the present record, handed on in pieces.
    Result<> pass(uint64_t size, const std::function<Result<>(std::string_view piece)> &taker);
    // ECANCELED: it is to stop.
    [[nodiscard]] Result<> go_on() const { return wait(false); }

  private:
    // For something to read.
    [[nodiscard]] Result<> wait(bool for_more) const;
    // Bytes that are there, at most `most`; empty at the end of the stream.
    Result<std::string_view> some(size_t most);
    Result<std::string> line();

    const Fd &in_;
    const Fd &stop_;
    Passed passed_;
    Running digest_;
    std::string buffer_;
    size_t at_ = 0;
};

} // namespace abey::transfer
