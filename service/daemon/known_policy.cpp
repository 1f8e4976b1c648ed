// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/known_policy.h"

#include "policy/policy.h"

#include <algorithm>
#include <ctime>

#include <sys/stat.h>

#include <fmt/format.h>

namespace abey::daemon {
namespace {

// File systems tell times in ticks of the kernel's clock: two changes within one look the same.
constexpr time_t settled = 2; // seconds

struct Stamp {
    std::string text;
    time_t changed = 0; // the youngest
};

Stamp stamp_of(const std::vector<std::string> &paths) {
    Stamp stamp;
    for (const auto &path : paths) {
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0)
            status = {};
        stamp.text += fmt::format("{}:{}:{}:{}:{}.{};", path, status.st_dev, status.st_ino, status.st_size,
                                  status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
        stamp.changed = std::max(stamp.changed, status.st_ctim.tv_sec);
    }
    return stamp;
}

bool is_read(const std::string &path) { // a link to /dev/null masks
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

} // namespace

void KnownPolicy::look() {
    auto files = policy::Policy::system_files(root_);
    if (!files) {
        stamp_.clear();
        problem_ = files.error().message();
        files_.clear();
        return;
    }
    const auto [stamp, changed] = stamp_of(*files);
    if (!stamp_.empty() && stamp == stamp_)
        return;
    const auto policy = policy::Policy::load_system(root_);
    problem_ = policy ? "" : policy.error().message();
    stamp_ = std::time(nullptr) - changed > settled ? stamp : "";
    std::erase_if(*files, [](const std::string &path) { return !is_read(path); });
    files_ = std::move(*files);
}

const std::string &KnownPolicy::problem() {
    look();
    return problem_;
}

const std::vector<std::string> &KnownPolicy::files() {
    look();
    return files_;
}

} // namespace abey::daemon
