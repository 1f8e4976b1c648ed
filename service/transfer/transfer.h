// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A checkpoint as one stream, to be taken to another machine with the same software: its image, the state of the home
// (by tar), all by zstd. Whoever may import can have any process run as anybody at the resume: root alone.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"
#include "store/store.h"

#include <cstdint>
#include <functional>
#include <string>

namespace abey::transfer {

// How much has passed, and how much there will be, about.
using Progress = std::function<void(uint64_t done, uint64_t all)>;

// Writes a checkpoint that waits; it stays as it is. Refused are those that would not be whole elsewhere: whose home
// was not saved, and whose kept files lie outside of image and home. ECANCELED: `stop` had become readable.
Result<> export_checkpoint(const store::Store &store, const std::string &id, const Fd &out, const Progress &progress,
                           const Fd &stop = Fd());

struct Imported {
    std::string id, user;
    bool kept_running = false; // the session went on after it
};

// Makes a checkpoint of what export_checkpoint() wrote. Checked beforehand: versions, machine, user and home, room; on
// the way: names, sizes, order; afterwards: checksums, and the home compared with its list. On error nothing remains;
// what a killed one has left goes with the next of the same checkpoint, or at abeyd's next start. ECANCELED: `stop` had
// become readable.
Result<Imported> import_checkpoint(const store::Store &store, const Fd &in, const Progress &progress,
                                   const Fd &stop = Fd());

} // namespace abey::transfer
