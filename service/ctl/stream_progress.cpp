// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/stream_progress.h"

#include "ctl/text.h"

#include <cstdio>

#include <unistd.h>

namespace abey::ctl {
namespace {

constexpr uint64_t step = 4U << 20U; // bytes between two pictures

} // namespace

StreamProgress::StreamProgress(std::string verb) : verb_(std::move(verb)), wanted_(::isatty(STDERR_FILENO) != 0) {}

StreamProgress::~StreamProgress() {
    if (shown_)
        fmt::print(stderr, "\r\x1b[K");
}

transfer::Progress StreamProgress::callback() {
    return [this](uint64_t done, uint64_t all) { show(done, all); };
}

void StreamProgress::show(uint64_t done, uint64_t all) {
    if (!wanted_ || (shown_ && done - last_ < step))
        return;
    last_ = done;
    shown_ = true;
    const auto percent = all == 0 ? 0 : static_cast<uint32_t>(done / (all / 100 + 1));
    fmt::print(stderr, "\r\x1b[K{}", progress_line(verb_, human_size(done), percent));
    (void)std::fflush(stderr);
}

} // namespace abey::ctl
