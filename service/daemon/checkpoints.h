// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the bus shows of the checkpoints in the store.
#pragma once

#include "engine/os/result.h"
#include "store/store.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace abey::daemon {

struct Checkpoint {
    std::string id;
    uint32_t uid = 0;
    std::string user;
    std::string session;       // logind's id at the suspend
    uint64_t created = 0;      // microseconds since 1970
    uint64_t size = 0;         // bytes on disk
    uint64_t exclusive = 0;    // bytes of data that the home's snapshot alone holds; UINT64_MAX: not known
    std::string state;         // "waiting", "resumed"
    std::string problem;       // why the home could not be brought back
    bool kept_running = false; // the session went on after it
    bool pinned = false;
    std::string trigger;     // what asked for it; empty: a person
    bool this_boot = true;   // made since the machine was started: its session may run still
    std::string information; // JSON
};

// A home that a resume has put aside.
struct DisplacedHome {
    std::string name; // of its record
    uint32_t uid = 0;
    std::string home;
    std::string place;      // where it is now
    std::string checkpoint; // that the resume was of
    uint64_t created = 0;   // microseconds since 1970
    bool needed = false;    // by a resume that has not ended, or its checkpoint is pinned
};

// Oldest first.
Result<std::vector<DisplacedHome>> displaced_homes();
// What checkpoints take on disk: measured once, since images do not change. What they share changes with each that
// comes or goes; then all is to be forgotten.
class Sizes {
  public:
    Result<uint64_t> of(const store::Store &store, const std::string &id);
    void forget() { known_.clear(); }
    [[nodiscard]] size_t count() const { return known_.size(); }

  private:
    std::map<std::string, uint64_t> known_;
};

// Oldest first; without those that cannot be read, or are being removed. Of one user, or of all. Without `sizes` they
// have none.
Result<std::vector<Checkpoint>> checkpoints(const store::Store &store = store::Store(), std::optional<uint32_t> of = {},
                                            Sizes *sizes = nullptr);
// ENOENT: there is none of that id.
Result<Checkpoint> checkpoint(const std::string &id, Sizes *sizes = nullptr);

// For retention: neither removed by it nor, while pinned, at a request. EBUSY: somebody works on it.
Result<> set_pinned(const std::string &id, bool pinned);
// Bytes that are free in the store.
Result<uint64_t> free_space();

// An id that no checkpoint has, half-made ones included: the time and the session, for people who look into the store.
Result<std::string> new_checkpoint_id(const std::string &session);

// What a crash left half made or half removed, and nobody can see.
struct Leftover {
    std::string id;
    uint32_t uid = 0;
};
Result<std::vector<Leftover>> leftovers();

} // namespace abey::daemon
