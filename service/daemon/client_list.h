// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Clients with the users behind them, by unique name. Nobody takes the places of others: a user has so many, and root's
// clients always find one. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include <sys/types.h>

namespace abey::daemon {

class ClientList {
  public:
    static constexpr size_t user_limit = 128;
    static constexpr size_t limit = 4096; // of all users but root

    // False: there is no place for it.
    bool add(const std::string &name, uid_t uid) {
        if (uids_.contains(name))
            return true;
        if (uid != 0) {
            const auto own = counts_.find(uid);
            if (all_ >= limit || (own != counts_.end() && own->second >= user_limit))
                return false;
            counts_[uid]++;
            all_++;
        }
        uids_.emplace(name, uid);
        return true;
    }

    void remove(const std::string &name) {
        const auto found = uids_.find(name);
        if (found == uids_.end())
            return;
        if (const auto own = counts_.find(found->second); own != counts_.end()) {
            all_--;
            if (--own->second == 0)
                counts_.erase(own);
        }
        uids_.erase(found);
    }

    [[nodiscard]] auto begin() const { return uids_.begin(); }
    [[nodiscard]] auto end() const { return uids_.end(); }

  private:
    std::map<std::string, uid_t> uids_;
    std::map<uid_t, size_t> counts_; // of users but root
    size_t all_ = 0;
};

} // namespace abey::daemon
