// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The small JSON files beside an image.
#pragma once

#include "store/store.h"

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace abey::image {
class Reader;
class Writer;
} // namespace abey::image

namespace abey::store {

inline constexpr size_t record_limit = 1U << 20U; // bytes

// In the image's description: the name of the lock that holds back packets of connections until the resume.
inline constexpr const char *network_lock = "network_lock";

// What stands in an image beside the processes.
struct Description {
    std::string id;
    bool keep_running = false;
    std::string info;                    // JSON object about the session, kept as it is; may be empty
    std::optional<snapshot::Saved> home; // none: no home was saved
    std::string lock;                    // network_lock; may be empty
};

// With this the image is complete.
Result<> commit(image::Writer &image, const Description &description);
Result<std::optional<snapshot::Saved>> home_of(const image::Reader &image);
std::string network_lock_of(const image::Reader &image);

// Empty when there is none, or what stands there is no name of a lock.
std::string network_lock_of(const nlohmann::json &about);

// A checkpoint that will not be resumed: packets of connections that it has held back pass again, so that their peers
// learn that nobody is here any more. `images`: its directory, which need not be complete.
Result<> unlock(const std::string &images);

// What the bus tells of a checkpoint beyond its properties.
std::string information_of(const Checkpoint &checkpoint);

std::string to_json(const snapshot::Saved &saved);
Result<snapshot::Saved> saved_from_json(std::string_view text);
struct DisplacedBy {
    snapshot::Displaced home;
    std::string attempt;
};
std::string to_json(const DisplacedBy &displaced);
Result<DisplacedBy> displaced_from_json(std::string_view text);
std::string to_json(const PrivateHome &home);
Result<PrivateHome> private_home_from_json(std::string_view text);
std::string to_json(const DisplacedHome &displaced);
Result<DisplacedHome> displaced_home_from_json(std::string_view text);
inline constexpr size_t pictures_limit = 32U << 20U; // bytes of that record
std::string to_json(const std::map<uint32_t, std::string> &pictures);
Result<std::map<uint32_t, std::string>> pictures_from_json(std::string_view text);
std::string to_json(const std::map<std::string, uint64_t> &figures);
Result<std::map<std::string, uint64_t>> figures_from_json(std::string_view text);
std::string to_json(const Measured &measured);
Result<Measured> measured_from_json(std::string_view text);

} // namespace abey::store
