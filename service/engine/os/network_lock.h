// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Keeps the packets of TCP connections from coming and going, by tables of nftables in our network namespace, so that
// neither end learns that nobody is at the other for a while.
#pragma once

#include "engine/os/inet_address.h"

#include <span>

namespace abey::os {

struct Connection {
    InetAddress local, remote;
};

// Packets with this mark (socket(7), SO_MARK) pass the locks.
inline constexpr uint32_t lock_pass_mark = 0xabe7a;

// Would a lock be possible? Asks the kernel to check one and to take nothing of it. An error tells what is missing.
Result<> can_lock();

// A lock for as long as this lives: the kernel takes it away when we end, however that comes (NFT_TABLE_F_OWNER,
// Linux 5.12).
class NetworkLock {
  public:
    static Result<NetworkLock> of(std::span<const Connection> connections);

  private:
    explicit NetworkLock(Fd owner) : owner_(std::move(owner)) {}
    Fd owner_;
};

// A lock that stays until it is lifted or the machine is started anew.
Result<> lock_for_good(const std::string &name, std::span<const Connection> connections);
// Nothing happens when there is none.
Result<> lift_lock(const std::string &name);
Result<bool> is_locked(const std::string &name);

// A name that no other lock has.
Result<std::string> new_lock_name();
bool is_lock_name(std::string_view name);

} // namespace abey::os
