// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/network.h"

#include "engine/os/fd.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <sstream>
#include <vector>

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace abey::os {

namespace {

Result<Fd> control_socket() {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket)
        return fail(errno, "cannot ask about the network");
    return socket;
}

ifreq about_loopback() {
    ifreq request = {};
    std::memcpy(&request.ifr_name, "lo", 3);
    return request;
}

std::string net_file(std::string_view name) {
    return read_file(fmt::format("/proc/thread-self/net/{}", name)).value_or("");
}

// The first word of each line behind the two of the head.
std::string network_devices() {
    std::istringstream lines(net_file("dev"));
    std::string line, names, name;
    for (int number = 0; std::getline(lines, line); ++number)
        if (std::istringstream words(line); number >= 2 && words >> name)
            names += name.substr(0, name.find(':')) + "\n";
    return names;
}

// Without the counters that each line has.
std::string routes_of_ipv6() {
    std::istringstream lines(net_file("ipv6_route"));
    std::string line, all;
    while (std::getline(lines, line)) {
        std::istringstream fields(line);
        std::array<std::string, 10> field; // destination to device: proc_net(5) counts them so
        for (auto &one : field)
            fields >> one;
        field[6] = field[7] = "";
        for (const auto &one : field)
            all += one + " ";
        all += "\n";
    }
    return all;
}

// The answer to a question for everything of a kind, without the end mark; "" when the kernel knows no such question.
Result<std::string> network_dump(int protocol, uint16_t type, uint8_t family) {
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    if (!socket)
        return std::string();
    const timeval patience = {.tv_sec = 5, .tv_usec = 0}; // the answer is there at once; tasks stand still meanwhile
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
        return fail(errno, "cannot ask about the network");
    struct {
        nlmsghdr header;
        std::array<uint8_t, 16> body; // rtmsg, fib_rule_hdr, nfgenmsg: the family comes first in each
    } question = {};
    question.header.nlmsg_len =
        static_cast<uint32_t>(NLMSG_LENGTH(protocol == NETLINK_NETFILTER ? sizeof(nfgenmsg) : 12));
    question.header.nlmsg_type = type;
    question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    question.body[0] = family;
    if (::send(socket.get(), &question, question.header.nlmsg_len, 0) < 0)
        return fail(errno, "cannot ask about the network");
    std::string all;
    std::vector<char> buffer(size_t{64} << 10U);
    for (;;) {
        const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "cannot read about the network");
        auto rest = std::span(buffer).first(static_cast<size_t>(size));
        while (rest.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header = {};
            std::memcpy(&header, rest.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size())
                return fail(EPROTO, "a message about the network is malformed");
            if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR)
                return all;
            all.append(rest.data() + sizeof header, header.nlmsg_len - sizeof header);
            rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
        }
    }
}

std::map<std::string, std::string> network_settings() {
    namespace fs = std::filesystem;
    std::map<std::string, std::string> all;
    std::error_code error;
    for (fs::recursive_directory_iterator entry("/proc/sys/net", error), end; !error && entry != end;
         entry.increment(error)) {
        std::error_code gone;
        const auto status = entry->status(gone);
        if (gone || !fs::is_regular_file(status) || (status.permissions() & fs::perms::owner_write) == fs::perms::none)
            continue;
        if (auto value = read_file(entry->path())) // some can only be written
            all.emplace(entry->path().string().substr(std::strlen("/proc/sys/")), std::move(*value));
    }
    return all;
}

} // namespace

Result<Network> Network::look() {
    Network seen;
    const Fd control = TRY(control_socket());
    ifreq flags = about_loopback(), size = about_loopback();
    if (::ioctl(control.get(), SIOCGIFFLAGS, &flags) < 0 || ::ioctl(control.get(), SIOCGIFMTU, &size) < 0)
        return fail(errno, "cannot ask about the loopback device");
    seen.loopback_up = (flags.ifr_flags & IFF_UP) != 0;
    seen.parts["devices"] = network_devices();
    seen.parts["the loopback device's settings"] = fmt::format("{:x} {}", flags.ifr_flags, size.ifr_mtu);
    seen.parts["addresses and routes"] = net_file("fib_trie");
    seen.parts["addresses (IPv6)"] = net_file("if_inet6");
    seen.parts["routes (IPv6)"] = routes_of_ipv6();
    seen.parts["routing rules"] = TRY(network_dump(NETLINK_ROUTE, RTM_GETRULE, AF_INET));
    seen.parts["routing rules (IPv6)"] = TRY(network_dump(NETLINK_ROUTE, RTM_GETRULE, AF_INET6));
    seen.parts["packet filters"] =
        TRY(network_dump(NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES << 8U | NFT_MSG_GETTABLE, 0)) +
        net_file("ip_tables_names") + net_file("ip6_tables_names");
    seen.settings = network_settings();
    return seen;
}

Result<> raise_loopback() {
    const Fd control = TRY(control_socket());
    ifreq request = about_loopback();
    if (::ioctl(control.get(), SIOCGIFFLAGS, &request) < 0)
        return fail(errno, "cannot ask about the loopback device");
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(control.get(), SIOCSIFFLAGS, &request) < 0)
        return fail(errno, "cannot raise the loopback device");
    return {};
}

} // namespace abey::os
