// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A range of internet addresses: "192.0.2.7", "10.0.0.0/8", "2001:db8::/32".
#pragma once

#include "engine/os/inet_address.h"

#include <expected>
#include <string>
#include <string_view>

namespace abey::policy {

class AddressRange {
  public:
    // The range, or what is wrong with the text.
    static std::expected<AddressRange, std::string> parse(std::string_view text);

    // Takes no notice of the port; IPv4 in IPv6 counts as IPv4.
    [[nodiscard]] bool contains(const os::InetAddress &address) const;

  private:
    int family_ = 0;
    std::string network_; // in network order
    size_t bits_ = 0;     // of it that count
};

} // namespace abey::policy
