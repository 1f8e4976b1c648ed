// SPDX-License-Identifier: LGPL-2.1-or-later
#include "policy/address.h"

#include <charconv>

#include <arpa/inet.h>

namespace abey::policy {

namespace {

// The first `bits` of both are the same, and `network` has no others.
bool same_start(std::string_view network, std::string_view address, size_t bits) {
    const size_t whole = bits / 8;
    if (network.substr(0, whole) != address.substr(0, whole))
        return false;
    if (bits % 8 == 0)
        return true;
    const auto mask = static_cast<unsigned>(0xff00U >> (bits % 8)) & 0xffU;
    return ((static_cast<unsigned char>(network[whole]) ^ static_cast<unsigned char>(address[whole])) & mask) == 0;
}

bool rest_is_zero(std::string_view network, size_t bits) {
    for (size_t i = bits; i < network.size() * 8; ++i)
        if ((static_cast<unsigned char>(network[i / 8]) & (0x80U >> (i % 8))) != 0)
            return false;
    return true;
}

} // namespace

std::expected<AddressRange, std::string> AddressRange::parse(std::string_view text) {
    const size_t slash = text.find('/');
    const std::string host(text.substr(0, slash));
    AddressRange range;
    range.network_.resize(sizeof(in6_addr));
    if (::inet_pton(AF_INET, host.c_str(), range.network_.data()) == 1) {
        range.family_ = AF_INET;
        range.network_.resize(sizeof(in_addr));
    } else if (::inet_pton(AF_INET6, host.c_str(), range.network_.data()) == 1) {
        range.family_ = AF_INET6;
    } else {
        return std::unexpected("not an address: expected one as \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\" "
                               "(names are not looked up)");
    }
    range.bits_ = range.network_.size() * 8;
    if (slash == std::string_view::npos)
        return range;
    const std::string_view length = text.substr(slash + 1);
    size_t bits = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits);
    if (error != std::errc() || end != length.data() + length.size() || bits > range.bits_)
        return std::unexpected(fmt::format("the length after \"/\" lies between 0 and {}", range.bits_));
    if (!rest_is_zero(range.network_, bits))
        return std::unexpected(fmt::format("the address has more than {} bits: its end must be zero", bits));
    range.bits_ = bits;
    return range;
}

bool AddressRange::contains(const os::InetAddress &address) const {
    const os::InetAddress plain = address.plain();
    return plain.family() == family_ && same_start(network_, plain.raw(), bits_);
}

} // namespace abey::policy
