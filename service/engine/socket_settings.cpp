// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/socket_settings.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace abey::engine {
namespace {

enum class Form : uint8_t { integer, whole, filter }; // whole: as many bytes as there are

struct Option {
    int level = 0;
    int name = 0;
    Form form = Form::integer;
    Moment moment = Moment::at_end;
};

// Values which the headers of the oldest system we build on lack, or which clash between headers;
// include/uapi/linux/in.h, in6.h, tcp.h, udp.h, asm-generic/socket.h and netlink.h.
constexpr int ip_bind_address_no_port = 24, ip_recverr_rfc4884 = 26, ip_local_port_range = 51;
constexpr int ipv6_multicast_all = 29, ipv6_recverr_rfc4884 = 31, ipv6_flowinfo_send = 33, ipv6_addr_preferences = 72,
              ipv6_minhopcount = 73, ipv6_recvorigdstaddr = 74, ipv6_transparent = 75, ipv6_unicast_if = 76,
              ipv6_recvfragsize = 77, ipv6_freebind = 78;
constexpr int so_buf_lock = 72, so_rcvmark = 75;
constexpr int sol_udp = 17, udp_no_check6_tx = 101, udp_no_check6_rx = 102, udp_segment = 103, udp_gro = 104;
constexpr int sol_udplite = 136, udplite_send_coverage = 10, udplite_receive_coverage = 11;

// In the order in which they are set: IP_TOS changes SO_PRIORITY, the packet filter's lock comes after the filter.
constexpr std::array table = {
    Option{SOL_SOCKET, SO_REUSEADDR, Form::integer, Moment::before_bind},
    Option{SOL_SOCKET, SO_REUSEPORT, Form::integer, Moment::before_bind},
    Option{SOL_SOCKET, SO_BINDTODEVICE, Form::whole, Moment::before_bind},
    Option{SOL_IPV6, IPV6_V6ONLY, Form::integer, Moment::before_bind},
    Option{SOL_IP, IP_TRANSPARENT, Form::integer, Moment::before_bind},
    Option{SOL_IP, ip_bind_address_no_port, Form::integer, Moment::before_bind},
    Option{SOL_IP, ip_local_port_range, Form::integer, Moment::before_bind},
    Option{SOL_IP, IP_HDRINCL, Form::integer, Moment::before_bind},
    Option{SOL_SOCKET, SO_MARK, Form::integer, Moment::before_bind},
    Option{SOL_IPV6, ipv6_transparent, Form::integer, Moment::before_bind},
    Option{SOL_IP, IP_FREEBIND},
    Option{SOL_IP, IP_TOS},
    Option{SOL_IP, IP_TTL},
    Option{SOL_IP, IP_MTU_DISCOVER},
    Option{SOL_IP, IP_RECVERR},
    Option{SOL_IP, IP_PKTINFO},
    Option{SOL_IP, IP_RECVTTL},
    Option{SOL_IP, IP_RECVTOS},
    Option{SOL_IP, IP_RECVOPTS},
    Option{SOL_IP, IP_RETOPTS},
    Option{SOL_IP, IP_RECVORIGDSTADDR},
    Option{SOL_IP, IP_RECVFRAGSIZE},
    Option{SOL_IP, IP_CHECKSUM},
    Option{SOL_IP, IP_PASSSEC},
    Option{SOL_IP, IP_MINTTL},
    Option{SOL_IP, IP_MULTICAST_TTL},
    Option{SOL_IP, IP_MULTICAST_LOOP},
    Option{SOL_IP, IP_MULTICAST_ALL},
    Option{SOL_IP, IP_MULTICAST_IF},
    Option{SOL_IP, IP_UNICAST_IF},
    Option{SOL_IP, IP_OPTIONS, Form::whole},
    Option{SOL_IP, ip_recverr_rfc4884},
    Option{SOL_IPV6, ipv6_freebind},
    Option{SOL_IPV6, IPV6_UNICAST_HOPS},
    Option{SOL_IPV6, IPV6_MULTICAST_HOPS},
    Option{SOL_IPV6, IPV6_MULTICAST_LOOP},
    Option{SOL_IPV6, IPV6_MULTICAST_IF},
    Option{SOL_IPV6, ipv6_multicast_all},
    Option{SOL_IPV6, ipv6_unicast_if},
    Option{SOL_IPV6, IPV6_MTU_DISCOVER},
    Option{SOL_IPV6, IPV6_RECVERR},
    Option{SOL_IPV6, ipv6_recverr_rfc4884},
    Option{SOL_IPV6, IPV6_RECVPKTINFO},
    Option{SOL_IPV6, IPV6_RECVHOPLIMIT},
    Option{SOL_IPV6, IPV6_RECVRTHDR},
    Option{SOL_IPV6, IPV6_RECVHOPOPTS},
    Option{SOL_IPV6, IPV6_RECVDSTOPTS},
    Option{SOL_IPV6, IPV6_RECVTCLASS},
    Option{SOL_IPV6, IPV6_RECVPATHMTU},
    Option{SOL_IPV6, ipv6_recvorigdstaddr},
    Option{SOL_IPV6, ipv6_recvfragsize},
    Option{SOL_IPV6, IPV6_TCLASS},
    Option{SOL_IPV6, IPV6_DONTFRAG},
    Option{SOL_IPV6, IPV6_AUTOFLOWLABEL},
    Option{SOL_IPV6, ipv6_flowinfo_send},
    Option{SOL_IPV6, ipv6_addr_preferences},
    Option{SOL_IPV6, ipv6_minhopcount},
    Option{SOL_RAW, ICMP_FILTER, Form::whole},
    Option{IPPROTO_ICMPV6, ICMPV6_FILTER, Form::whole},
    Option{SOL_RAW, IPV6_CHECKSUM},
    Option{sol_udp, udp_no_check6_tx},
    Option{sol_udp, udp_no_check6_rx},
    Option{sol_udp, udp_segment},
    Option{sol_udp, udp_gro},
    Option{sol_udp, UDP_CORK},
    Option{sol_udplite, udplite_send_coverage},
    Option{sol_udplite, udplite_receive_coverage},
    Option{SOL_TCP, TCP_NODELAY},
    Option{SOL_TCP, TCP_KEEPIDLE},
    Option{SOL_TCP, TCP_KEEPINTVL},
    Option{SOL_TCP, TCP_KEEPCNT},
    Option{SOL_TCP, TCP_SYNCNT},
    Option{SOL_TCP, TCP_LINGER2},
    Option{SOL_TCP, TCP_DEFER_ACCEPT},
    Option{SOL_TCP, TCP_CONGESTION, Form::whole},
    Option{SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS},
    Option{SOL_TCP, TCP_USER_TIMEOUT},
    Option{SOL_TCP, TCP_FASTOPEN},
    Option{SOL_TCP, TCP_NOTSENT_LOWAT},
    Option{SOL_TCP, TCP_SAVE_SYN},
    Option{SOL_TCP, TCP_FASTOPEN_CONNECT},
    Option{SOL_TCP, TCP_FASTOPEN_NO_COOKIE},
    Option{SOL_TCP, TCP_INQ},
    Option{SOL_TCP, TCP_TX_DELAY},
    Option{SOL_TCP, TCP_CORK},
    Option{SOL_NETLINK, NETLINK_PKTINFO},
    Option{SOL_NETLINK, NETLINK_BROADCAST_ERROR},
    Option{SOL_NETLINK, NETLINK_NO_ENOBUFS},
    Option{SOL_NETLINK, NETLINK_LISTEN_ALL_NSID},
    Option{SOL_NETLINK, NETLINK_CAP_ACK},
    Option{SOL_NETLINK, NETLINK_EXT_ACK},
    Option{SOL_NETLINK, NETLINK_GET_STRICT_CHK},
    Option{SOL_PACKET, PACKET_AUXDATA},
    Option{SOL_PACKET, PACKET_ORIGDEV},
    Option{SOL_PACKET, PACKET_VNET_HDR},
    Option{SOL_PACKET, PACKET_QDISC_BYPASS},
    Option{SOL_PACKET, PACKET_LOSS},
    Option{SOL_PACKET, PACKET_IGNORE_OUTGOING},
    Option{SOL_SOCKET, SO_KEEPALIVE},
    Option{SOL_SOCKET, SO_BROADCAST},
    Option{SOL_SOCKET, SO_OOBINLINE},
    Option{SOL_SOCKET, SO_DONTROUTE},
    Option{SOL_SOCKET, SO_NO_CHECK},
    Option{SOL_SOCKET, SO_PRIORITY},
    Option{SOL_SOCKET, SO_LINGER, Form::whole},
    Option{SOL_SOCKET, SO_RCVTIMEO, Form::whole},
    Option{SOL_SOCKET, SO_SNDTIMEO, Form::whole},
    Option{SOL_SOCKET, SO_RCVLOWAT},
    Option{SOL_SOCKET, SO_PASSCRED},
    Option{SOL_SOCKET, SO_TIMESTAMP},
    Option{SOL_SOCKET, SO_TIMESTAMPNS},
    Option{SOL_SOCKET, SO_TIMESTAMPING},
    Option{SOL_SOCKET, SO_TIMESTAMP_NEW},
    Option{SOL_SOCKET, SO_TIMESTAMPNS_NEW},
    Option{SOL_SOCKET, SO_RXQ_OVFL},
    Option{SOL_SOCKET, SO_WIFI_STATUS},
    Option{SOL_SOCKET, SO_SELECT_ERR_QUEUE},
    Option{SOL_SOCKET, SO_PEEK_OFF},
    Option{SOL_SOCKET, SO_BUSY_POLL},
    Option{SOL_SOCKET, SO_PREFER_BUSY_POLL},
    Option{SOL_SOCKET, SO_MAX_PACING_RATE, Form::whole},
    Option{SOL_SOCKET, SO_ZEROCOPY},
    Option{SOL_SOCKET, so_rcvmark},
    Option{SOL_SOCKET, SO_ATTACH_FILTER, Form::filter},
    Option{SOL_SOCKET, SO_LOCK_FILTER},
};

// The kernel keeps other things there for TCP, and lets nobody set them.
bool is_for_groups(const Option &option) {
    constexpr std::array four = {IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IP_MULTICAST_IF};
    constexpr std::array six = {IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_MULTICAST_IF, ipv6_multicast_all};
    return (option.level == SOL_IP && std::ranges::find(four, option.name) != four.end()) ||
           (option.level == SOL_IPV6 && std::ranges::find(six, option.name) != six.end());
}

constexpr size_t longest_value = 64;

// Empty: the socket has no such option.
Result<model::Bytes> read_filter(const Fd &socket) {
    std::array<sock_filter, BPF_MAXINSNS> code = {};
    socklen_t count = code.size(); // in instructions here, as socket(7) forgets to say
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, code.data(), &count) < 0) {
        if (errno == EACCES)
            return fail(0, "it has a filter in eBPF (SO_ATTACH_BPF), which cannot be read; end the program");
        return model::Bytes();
    }
    return model::Bytes(reinterpret_cast<const char *>(code.data()), count * sizeof(sock_filter));
}

Result<model::Bytes> read_option(const Fd &socket, const Option &option) {
    if (option.form == Form::filter)
        return read_filter(socket);
    std::array<char, longest_value> value = {};
    auto size = static_cast<socklen_t>(option.form == Form::integer ? sizeof(int) : value.size());
    if (::getsockopt(socket.get(), option.level, option.name, value.data(), &size) < 0)
        return model::Bytes();
    return model::Bytes(value.data(), std::min<size_t>(size, value.size()));
}

Result<std::vector<model::Bytes>> read_all_options(const Fd &socket) {
    std::vector<model::Bytes> values;
    values.reserve(table.size());
    for (const Option &option : table)
        values.push_back(TRY(read_option(socket, option)));
    return values;
}

Result<const std::vector<model::Bytes> *> of_new_socket(int family, int type, int protocol, NewSocketOptions &known) {
    const std::tuple key = {family, type, protocol};
    if (const auto found = known.find(key); found != known.end())
        return &found->second;
    Fd fresh(::socket(family, type | SOCK_CLOEXEC, protocol));
    if (!fresh && (family == AF_INET || family == AF_INET6)) // ICMP sockets may be forbidden to us
        fresh = Fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP));
    if (!fresh)
        return fail(errno, "cannot make a socket to compare it with");
    return &known.emplace(key, TRY(read_all_options(fresh))).first->second;
}

Result<> set_filter(const Fd &socket, const model::Bytes &value) {
    if (value.empty() || value.size() % sizeof(sock_filter) != 0 || value.size() / sizeof(sock_filter) > BPF_MAXINSNS)
        return fail(EBADMSG, "the checkpoint has a packet filter of {} bytes", value.size());
    std::vector<sock_filter> code(value.size() / sizeof(sock_filter));
    std::memcpy(code.data(), value.data(), value.size());
    const sock_fprog program = {.len = static_cast<unsigned short>(code.size()), .filter = code.data()};
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
        return fail(errno, "cannot attach its packet filter again");
    return {};
}

Result<> set_option(const Fd &socket, const Option &option, const model::Bytes &value) {
    if (option.form == Form::filter)
        return set_filter(socket, value);
    if (::setsockopt(socket.get(), option.level, option.name, value.data(), static_cast<socklen_t>(value.size())) == 0)
        return {};
    if (option.level == SOL_TCP && option.name == TCP_CONGESTION && errno == ENOENT)
        return {}; // it keeps what this machine uses
    if (option.level == SOL_SOCKET && option.name == SO_BINDTODEVICE)
        return fail(errno, "cannot bind it to the network device {} again", value.c_str());
    return fail(errno, "cannot set option {} of level {} again", option.name, option.level);
}

Result<> set_int(const Fd &socket, int name, uint32_t value, std::string_view what) {
    if (::setsockopt(socket.get(), SOL_SOCKET, name, &value, sizeof value) < 0)
        return fail(errno, "cannot set {}", what);
    return {};
}

} // namespace

Result<int> int_option(const Fd &socket, int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(socket.get(), level, name, &value, &size) < 0)
        return fail(errno, "cannot ask the socket for option {} of level {}", name, level);
    return value;
}

Result<bool> is_in_our_network(const Fd &socket) {
    const Fd network(::ioctl(socket.get(), SIOCGSKNS));
    if (!network)
        return fail(errno, "cannot ask for the socket's network namespace");
    const Fd ours = TRY(open_file("/proc/self/ns/net", O_RDONLY));
    const struct stat a = TRY(stat_of(network));
    const struct stat b = TRY(stat_of(ours));
    return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

Result<model::SocketSettings> read_settings(const Fd &socket, NewSocketOptions &new_sockets) {
    model::SocketSettings settings;
    const struct stat st = TRY(stat_of(socket));
    settings.uid = st.st_uid;
    settings.gid = st.st_gid;
    settings.send_buffer = static_cast<uint32_t>(TRY(int_option(socket, SOL_SOCKET, SO_SNDBUF)));
    settings.receive_buffer = static_cast<uint32_t>(TRY(int_option(socket, SOL_SOCKET, SO_RCVBUF)));
    settings.buffer_locks = static_cast<uint32_t>(int_option(socket, SOL_SOCKET, so_buf_lock).value_or(0));
    const int family = TRY(int_option(socket, SOL_SOCKET, SO_DOMAIN));
    const int type = TRY(int_option(socket, SOL_SOCKET, SO_TYPE));
    const int protocol = TRY(int_option(socket, SOL_SOCKET, SO_PROTOCOL));
    const auto *usual = TRY(of_new_socket(family, type, protocol, new_sockets));
    const auto values = TRY(read_all_options(socket));
    for (size_t i = 0; i < table.size(); ++i)
        if (!values[i].empty() && values[i] != usual->at(i) && (type != SOCK_STREAM || !is_for_groups(table[i])))
            settings.options.push_back({table[i].level, table[i].name, values[i]});
    return settings;
}

Result<> apply_settings(const Fd &socket, const model::SocketSettings &settings, Moment moment) {
    if (moment == Moment::before_bind && ::fchown(socket.get(), settings.uid, settings.gid) < 0)
        return fail(errno, "cannot give the socket to user {}", settings.uid);
    for (const auto &saved : settings.options)
        if (std::ranges::none_of(table,
                                 [&](const Option &o) { return o.level == saved.level && o.name == saved.name; }))
            return fail(EBADMSG, "the checkpoint has option {} of level {} of a socket, which is not known", saved.name,
                        saved.level);
    for (const Option &option : table) {
        if (option.moment != moment)
            continue;
        const auto saved = std::ranges::find_if(settings.options, [&](const model::SocketOption &o) {
            return o.level == option.level && o.name == option.name;
        });
        if (saved != settings.options.end())
            TRY(set_option(socket, option, saved->value));
    }
    if (moment != Moment::at_end)
        return {};
    // getsockopt(2) tells twice what setsockopt(2) is given
    TRY(set_int(socket, SO_SNDBUFFORCE, settings.send_buffer / 2, "the size of its send buffer"));
    TRY(set_int(socket, SO_RCVBUFFORCE, settings.receive_buffer / 2, "the size of its receive buffer"));
    static_cast<void>(set_int(socket, so_buf_lock, settings.buffer_locks, "")); // Linux 5.14
    return {};
}

} // namespace abey::engine
