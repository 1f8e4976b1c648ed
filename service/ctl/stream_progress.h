// SPDX-License-Identifier: LGPL-2.1-or-later
//
// One line on standard error, while it is a terminal, that tells how far a stream is; gone with this object.
#pragma once

#include "transfer/transfer.h"

#include <cstdint>
#include <string>

namespace abey::ctl {

class StreamProgress {
  public:
    explicit StreamProgress(std::string verb);
    StreamProgress(const StreamProgress &) = delete;
    StreamProgress &operator=(const StreamProgress &) = delete;
    ~StreamProgress();

    // Must not outlive this.
    transfer::Progress callback();

  private:
    void show(uint64_t done, uint64_t all);

    std::string verb_;
    bool wanted_ = false, shown_ = false;
    uint64_t last_ = 0;
};

} // namespace abey::ctl
