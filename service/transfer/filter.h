// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A program that stands in a stream of ours: zstd(1), tar(1). We feed it or read from it while it runs.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"

#include <string>
#include <vector>

#include <sys/types.h>

namespace abey::transfer {

class Filter {
  public:
    // `in` and `out` become its standard input and output; close what you hold of its ends of pipes, or nobody sees an
    // end of file. ENOENT: there is no such program.
    static Result<Filter> start(const std::vector<std::string> &arguments, const Fd &in, const Fd &out);
    Filter(Filter &&other) noexcept
        : child_(std::exchange(other.child_, 0)), name_(std::move(other.name_)), errors_(std::move(other.errors_)) {}
    Filter &operator=(Filter &&) = delete;
    Filter(const Filter &) = delete;
    Filter &operator=(const Filter &) = delete;
    ~Filter(); // kills it, unless it was waited for

    // For its end; an error holds the last line that it wrote to standard error.
    Result<> wait();

  private:
    Filter() = default;
    pid_t child_ = 0;
    std::string name_;
    Fd errors_; // memfd
};

struct Pipe {
    Fd read, write;
};
Result<Pipe> make_pipe();

} // namespace abey::transfer
