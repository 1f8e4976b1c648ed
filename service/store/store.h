// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Checkpoints on disk, one directory each below the store's root:
//   ID/about.json      whose session it was; written first
//   ID/home.json       the snapshot of the home, as soon as there is one
//   ID/image/          the engine's image; its manifest is written last of all
//   ID/displaced.json  where a resume has put the home that it displaced
//   ID/private.json    where a resume that has not ended makes a copy of the saved home for its session alone
//   ID/report.json     the figures of the suspend; may be missing
//   ID/pictures.json   what its terminals showed at last; may be missing
//   ID/measured.json   what was last found out about its home; may be missing
//   ID/resumed         it was resumed and does not wait any more
//   ID/pinned          neither retention nor a request removes it
//   .removing-ID/      on its way out
//   .displaced/NAME    a home that a resume has displaced, as long as it is there: it outlives its checkpoint
//   .pins/             copies of system files that checkpoints share, each with a further name in each image that uses
//   it
// There is no index: the directories are the state, and each step is one rename or one new name, so that a crash leaves
// either what was or what is to be. All paths are the store's own; nothing here follows a symlink out of it.
#pragma once

#include "engine/os/fd.h"
#include "engine/os/result.h"
#include "snapshot/provider.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace abey::store {

inline constexpr const char *default_root = "/var/lib/abeyance";

inline constexpr uint64_t kept_free = 64U << 20U; // bytes

// What is known before the suspend begins.
struct About {
    std::string id;
    uint32_t uid = 0;
    std::string user;          // login name
    std::string home;          // absolute path; empty: none
    std::string session;       // logind's id
    std::string service;       // PAM service that had opened it
    std::string tty;           // without "/dev/"
    uint64_t created = 0;      // microseconds since 1970
    bool kept_running = false; // the session went on after it
    std::string trigger;       // what asked for it: "sleep", "shutdown", "battery", ..., "timer"; empty: a person
    std::string boot;          // boot id of the machine then: sessions of another boot run no more
};

enum class State : uint8_t {
    incomplete, // no manifest: being made, or its worker died
    waiting,
    resumed,
    removing,
};
std::string_view name_of(State state);

// Found out from time to time, not at each look.
struct Measured {
    std::optional<uint64_t> exclusive; // bytes of data that the saved home alone holds
    std::string problem;               // why the home could not be brought back; empty: nothing is known against it
};

// A copy of the saved home that only the session is to see. Once that runs it is its user's, and we know it no more.
struct PrivateHome {
    std::string place;   // absolute
    std::string attempt; // that makes it
};

struct Checkpoint {
    About about;
    State state = State::incomplete;
    std::optional<snapshot::Saved> home;
    std::optional<snapshot::Displaced> displaced;
    std::string displaced_by; // the attempt
    std::optional<PrivateHome> private_home;
    std::map<std::string, uint64_t> figures; // of the suspend
    Measured measured;
    bool pinned = false;
};

// A home that a resume has put aside, and which is kept until retention or somebody removes it.
struct DisplacedHome {
    std::string name; // of the record, a plain file name
    uint32_t uid = 0;
    std::string checkpoint; // that the resume was of
    std::string provider;
    snapshot::Displaced home;
    uint64_t created = 0; // microseconds since 1970
};

// Is it what a resume of this checkpoint, which has not ended, may still have to bring back?
bool is_under_way(const Checkpoint &checkpoint, const DisplacedHome &home);

// Users fill root's disk with checkpoints: each holds their memory, and what changes in the home stays there twice.
struct Quota {
    size_t checkpoints = 16;
    uint64_t size = 64ULL << 30U; // bytes, without the homes' snapshots
};

class Store {
  public:
    explicit Store(std::string root = default_root) : root_(std::move(root)) {}

    // May this user have one more? EDQUOT: as many as the quota allows wait or are being made, or these take as much
    // disk as it allows. ENOSPC: too little is free for anything but the store's own upkeep; whether an image fits
    // is known when it is claimed.
    [[nodiscard]] Result<> check_room(uint32_t uid, const Quota &quota) const;
    // Bytes that are free for checkpoints.
    [[nodiscard]] Result<uint64_t> free_space() const;
    // Makes the directory of a new checkpoint. EEXIST: there is one of that id.
    [[nodiscard]] Result<> begin(const About &about) const;
    // The same if check_room() allows it; nobody else begins one in between.
    [[nodiscard]] Result<> begin(const About &about, const Quota &quota) const;
    // Before this many more bytes are written into a checkpoint that is being made: together with what its user has
    // and with what others have claimed they fit (EDQUOT, ENOSPC), and are counted from now on. The last claim holds.
    [[nodiscard]] Result<> claim(const std::string &id, uint64_t bytes, const Quota &quota) const;
    [[nodiscard]] std::string directory(const std::string &id) const;
    // Where the engine writes its image; does not exist before it does. Also of a checkpoint that is being removed.
    [[nodiscard]] std::string images(const std::string &id) const;
    // Where checkpoints share copies of system files; may not exist.
    [[nodiscard]] std::string pins() const { return root_ + "/.pins"; }
    // Who makes, resumes or removes a checkpoint holds it, until the descriptor is closed or the holder dies. EBUSY:
    // somebody else does; ENOENT: as find(). A begun removal does not end it. What was found before may be no more.
    [[nodiscard]] Result<Fd> hold(const std::string &id) const;
    // The home's snapshot. Durable before the image is, which would be worth nothing without it.
    [[nodiscard]] Result<> record_home(const std::string &id, const snapshot::Saved &saved) const;
    // Durable as well, like all that follows. On error nothing has changed.
    // `attempt` names who has displaced it, uniquely for all times: nobody else may take it back without a look.
    [[nodiscard]] Result<> record_displaced(const std::string &id, const snapshot::Displaced &displaced,
                                            const std::string &attempt) const;
    [[nodiscard]] Result<> forget_displaced(const std::string &id) const;
    // Before it is made; and when it has been taken away again.
    [[nodiscard]] Result<> record_private_home(const std::string &id, const PrivateHome &home) const;
    [[nodiscard]] Result<> forget_private_home(const std::string &id) const;
    // Those of all resumes, oldest first, as recorded: who cannot look into homes must know them, too.
    [[nodiscard]] Result<std::vector<DisplacedHome>> displaced_homes() const;
    // Forgets those that somebody has removed or moved.
    [[nodiscard]] Result<> sweep_displaced_homes() const;
    // It was removed: by its record's name.
    [[nodiscard]] Result<> forget_displaced_home(const std::string &name) const;
    [[nodiscard]] Result<> record_figures(const std::string &id, const std::map<std::string, uint64_t> &figures) const;
    // What the terminals showed: N of /dev/pts/N -> what draws it. Empty: nobody knew.
    [[nodiscard]] Result<> record_pictures(const std::string &id,
                                           const std::map<uint32_t, std::string> &pictures) const;
    [[nodiscard]] Result<std::map<uint32_t, std::string>> pictures(const std::string &id) const;
    // Not durable: it can be found out again.
    [[nodiscard]] Result<> record_measured(const std::string &id, const Measured &measured) const;
    [[nodiscard]] Result<> mark_resumed(const std::string &id) const;
    // Both ways harmless when it is so already.
    [[nodiscard]] Result<> set_pinned(const std::string &id, bool pinned) const;

    // ENOENT: there is none of that id. EINVAL: not an id.
    [[nodiscard]] Result<Checkpoint> find(const std::string &id) const;
    // All of them, half-made ones too, oldest first. One that cannot be read is left out, and its error handed back.
    struct Listed {
        std::vector<Checkpoint> checkpoints;
        std::vector<Error> unreadable;
    };
    [[nodiscard]] Result<Listed> list() const;
    // Of this user: of others' no more is read than whose they are.
    [[nodiscard]] Result<Listed> list_of(uint32_t uid) const { return list_if(uid); }
    // Bytes on disk, without the home's snapshot. Of what checkpoints share each has its part.
    [[nodiscard]] Result<uint64_t> size_of(const std::string &id) const;

    // Two steps, so that what lies elsewhere (snapshot, kept files) can be removed in between, and again after a crash.
    [[nodiscard]] Result<> begin_removal(const std::string &id) const;
    [[nodiscard]] Result<> remove(const std::string &id) const;

  private:
    [[nodiscard]] std::string place_of(const std::string &id) const;
    [[nodiscard]] std::string displaced_records() const { return root_ + "/.displaced"; }
    [[nodiscard]] Result<Listed> list_if(std::optional<uint32_t> of) const;
    // Held for as long as it takes to count and to begin or claim: of all users, who share the disk.
    [[nodiscard]] Result<Fd> lock_room() const;
    struct Taken {
        size_t checkpoints = 0; // of the user, waiting or being made
        uint64_t size = 0;      // bytes that these take, or will
        uint64_t to_come = 0;   // bytes that are claimed, by whomever, and not written yet
    };
    // Without `but`, an id.
    [[nodiscard]] Result<Taken> taken(uint32_t uid, const std::string &but) const;

    std::string root_;
};

// Letters, digits, "-", "_" and ".", not beginning with a dot, at most 128: a plain file name.
bool is_id(std::string_view text);

std::string to_json(const About &about);
Result<About> about_from_json(std::string_view text);

} // namespace abey::store
