// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/inet_queue.h"

#include "engine/os/inet_address.h"
#include "engine/socket_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <memory>
#include <sstream>

#include <net/if.h>
#include <poll.h>

namespace abey::capture {
namespace {

constexpr size_t longest_datagram = size_t{1} << 17U; // more than any of IP
constexpr size_t most_datagrams = 1U << 20U;
constexpr size_t most_sources = 1024;
constexpr int most_errors = 16;

// Sets SO_PEEK_OFF back to what it was.
class PeekFrom {
  public:
    PeekFrom(const Fd &socket, int before) : socket_(socket.get()), before_(before) {}
    PeekFrom(const PeekFrom &) = delete;
    PeekFrom &operator=(const PeekFrom &) = delete;
    ~PeekFrom() { static_cast<void>(::setsockopt(socket_, SOL_SOCKET, SO_PEEK_OFF, &before_, sizeof before_)); }

  private:
    int socket_;
    int before_;
};

Result<std::vector<std::string>> lines_of(const char *path) {
    std::istringstream text(TRY(read_file(path)));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);)
        lines.push_back(std::move(line));
    return lines;
}

// A device line ("2 eth0 : 1 V3"), then a line for each group, indented, the address as a number of this machine.
Result<> add_groups(std::vector<JoinedGroup> &groups) {
    std::string device;
    for (const std::string &line : TRY(lines_of("/proc/self/net/igmp"))) {
        std::istringstream words(line);
        std::string first;
        if (!line.starts_with('\t')) {
            words >> first >> device;
            continue;
        }
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        words >> std::hex >> address.sin_addr.s_addr;
        if (words)
            groups.push_back(
                {device, ::if_nametoindex(device.c_str()), {reinterpret_cast<const char *>(&address), sizeof address}});
    }
    return {};
}

// "2 eth0 ff020000000000000000000000000001 1 0000000C 0"
Result<> add_groups_6(std::vector<JoinedGroup> &groups) {
    const auto lines = lines_of("/proc/self/net/igmp6");
    if (!lines)
        return {}; // no IPv6 in this kernel
    for (const std::string &line : *lines) {
        std::istringstream words(line);
        uint32_t index = 0;
        std::string device, hex;
        words >> index >> device >> hex;
        if (!words || hex.size() != 32)
            continue;
        sockaddr_in6 address = {};
        address.sin6_family = AF_INET6;
        for (size_t i = 0; i < 16; ++i)
            address.sin6_addr.s6_addr[i] = static_cast<uint8_t>(std::stoul(hex.substr(i * 2, 2), nullptr, 16));
        groups.push_back({device, index, {reinterpret_cast<const char *>(&address), sizeof address}});
    }
    return {};
}

// "0100007F:0000": numbers of this machine, 32 bits each, and the port
std::string parse_hex_address(std::string_view text) {
    const size_t digits = text.find(':');
    std::array<uint32_t, 4> words = {};
    if (digits != 8 && digits != 32)
        return {};
    for (size_t i = 0; i < digits / 8; ++i)
        std::from_chars(text.data() + i * 8, text.data() + i * 8 + 8, words.at(i), 16);
    if (digits == 8) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = words[0];
        return {reinterpret_cast<const char *>(&address), sizeof address};
    }
    sockaddr_in6 address = {};
    address.sin6_family = AF_INET6;
    std::memcpy(&address.sin6_addr, words.data(), sizeof address.sin6_addr);
    return {reinterpret_cast<const char *>(&address), sizeof address};
}

} // namespace

Result<std::string> peer_without_port(int family, int type, uint64_t inode) {
    const std::string path =
        fmt::format("/proc/self/net/{}{}", type == SOCK_RAW ? "raw" : "icmp", family == AF_INET6 ? "6" : "");
    for (const std::string &line : TRY(lines_of(path.c_str()))) {
        std::istringstream text(line);
        const std::vector<std::string> words(std::istream_iterator<std::string>(text), {});
        // sl local_address rem_address st queues timers retrnsmt uid timeout inode
        if (words.size() > 9 && words[9] == std::to_string(inode))
            return words[3] == "01" ? parse_hex_address(words[2]) : std::string();
    }
    return "";
}

Result<std::vector<model::InetDatagram>> peek_datagrams(const Fd &socket) {
    const int before = TRY(engine::int_option(socket, SOL_SOCKET, SO_PEEK_OFF));
    const PeekFrom restore(socket, before);
    const int start = 0;
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_PEEK_OFF, &start, sizeof start) < 0)
        return fail(errno, "cannot set the socket's peek offset");
    std::vector<model::InetDatagram> datagrams;
    const auto buffer = std::make_unique_for_overwrite<char[]>(longest_datagram);
    int errors = 0;
    while (datagrams.size() < most_datagrams) {
        sockaddr_storage from = {};
        socklen_t from_size = sizeof from;
        const ssize_t size = ::recvfrom(socket.get(), buffer.get(), longest_datagram, MSG_PEEK | MSG_DONTWAIT,
                                        reinterpret_cast<sockaddr *>(&from), &from_size);
        if (size < 0 && errno == EAGAIN)
            return datagrams;
        if (size < 0 && ++errors < most_errors)
            continue; // one that was pending (ICMP) is told once
        if (size < 0)
            return fail(errno, "cannot look at what is unread in the socket");
        datagrams.push_back(
            {{reinterpret_cast<const char *>(&from), from_size}, {buffer.get(), static_cast<size_t>(size)}});
    }
    return fail(EMSGSIZE, "more than {} datagrams are unread", most_datagrams);
}

bool has_unread(const Fd &socket) {
    pollfd ask = {.fd = socket.get(), .events = POLLIN, .revents = 0};
    return ::poll(&ask, 1, 0) == 1 && (static_cast<unsigned>(ask.revents) & POLLIN) != 0;
}

Result<std::vector<JoinedGroup>> joined_groups() {
    std::vector<JoinedGroup> groups;
    TRY(add_groups(groups));
    TRY(add_groups_6(groups));
    return groups;
}

Result<std::vector<model::GroupMembership>> memberships(const Fd &socket, int family,
                                                        const std::vector<JoinedGroup> &groups) {
    std::vector<model::GroupMembership> found;
    std::vector<char> memory(GROUP_FILTER_SIZE(most_sources));
    for (const JoinedGroup &group : groups) {
        const bool four = group.address.size() == sizeof(sockaddr_in);
        if (!four && family != AF_INET6)
            continue;
        auto *filter = reinterpret_cast<group_filter *>(memory.data());
        std::memset(filter, 0, sizeof *filter);
        filter->gf_interface = group.index;
        filter->gf_numsrc = most_sources;
        std::memcpy(&filter->gf_group, group.address.data(), group.address.size());
        auto size = static_cast<socklen_t>(memory.size());
        if (::getsockopt(socket.get(), four ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, filter, &size) < 0)
            continue; // EADDRNOTAVAIL: not a member
        model::GroupMembership membership;
        membership.interface = group.interface;
        membership.group = group.address;
        membership.only_sources = filter->gf_fmode == MCAST_INCLUDE;
        for (size_t i = 0; i < std::min<size_t>(filter->gf_numsrc, most_sources); ++i)
            membership.sources.emplace_back(reinterpret_cast<const char *>(memory.data() + GROUP_FILTER_SIZE(i)),
                                            four ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
        found.push_back(std::move(membership));
    }
    return found;
}

} // namespace abey::capture
