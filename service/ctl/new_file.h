// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A file that gets its name when all of it is there.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"

#include <string>
#include <utility>

#include <sys/types.h>

namespace abey::ctl {

class NewFile {
  public:
    // EEXIST: there is something by that name.
    static Result<NewFile> create(const std::string &path, mode_t mode);
    NewFile(NewFile &&other) noexcept
        : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})), fd_(std::move(other.fd_)) {}
    NewFile &operator=(NewFile &&) = delete;
    NewFile(const NewFile &) = delete;
    NewFile &operator=(const NewFile &) = delete;
    ~NewFile(); // without keep() nothing is left

    [[nodiscard]] const Fd &fd() const { return fd_; }
    // Where a file cannot be without a name (O_TMPFILE of open(2)) it has another one until then, and stays when the
    // process is killed.
    [[nodiscard]] bool has_name() const { return !temporary_.empty(); }
    // Brings it to disk, and gives it its name.
    Result<> keep();

  private:
    NewFile() = default;
    std::string path_;
    std::string temporary_;
    Fd fd_;
};

} // namespace abey::ctl
