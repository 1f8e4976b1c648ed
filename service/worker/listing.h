// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A list in the answer of a worker, which must fit into the result of a job: what comes first has room there, the rest
// is only counted. Pure.
#pragma once

#include "job/job.h"

#include <cstddef>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

namespace abey::worker {

// Paths are bytes; what is no UTF-8 is shown as U+FFFD.
inline std::string to_text(const nlohmann::json &json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class Listing {
  public:
    explicit Listing(size_t most, size_t size = job::answer_limit) : most_(most), left_(size) {}

    // `make` gives the entry, and is called only when there may be room. After the first that has none all are counted:
    // nobody would look for a gap in a list.
    template <class Make> void add(Make make) {
        if (more_ > 0 || list_.size() == most_) {
            more_++;
            return;
        }
        nlohmann::json entry = make();
        // The answer stands in the result as a text: quoted once more.
        const auto size = to_text(nlohmann::json(to_text(entry))).size();
        if (size > left_) {
            more_++;
            return;
        }
        left_ -= size;
        list_.push_back(std::move(entry));
    }
    [[nodiscard]] size_t more() const { return more_; }
    nlohmann::json take() { return std::exchange(list_, nlohmann::json::array()); }

  private:
    size_t most_, left_;
    size_t more_ = 0;
    nlohmann::json list_ = nlohmann::json::array();
};

} // namespace abey::worker
