// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/network_lock.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/random.h>

namespace abey::os {
namespace {

constexpr size_t most_connections = 1024; // each packet of the machine is compared with all of them
constexpr uint32_t table_is_owned = 2;    // NFT_TABLE_F_OWNER
constexpr std::string_view prefix = "abeyance-";
constexpr std::string_view coming = "coming", going = "going";
constexpr int before_all_others = -400; // the connection tracker of netfilter has -200

// Messages of nfnetlink in one buffer, with nested attributes (netlink(7)). All numbers are in network order.
class Messages {
  public:
    void begin(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource = 0) {
        close();
        start_ = buffer_.size();
        const nlmsghdr header = {.nlmsg_len = 0,
                                 .nlmsg_type = type,
                                 .nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags),
                                 .nlmsg_seq = ++sequence_,
                                 .nlmsg_pid = 0};
        const nfgenmsg body = {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
        add(&header, sizeof header);
        add(&body, sizeof body);
    }
    void bytes(uint16_t type, const void *data, size_t size) {
        const nlattr attribute = {.nla_len = static_cast<uint16_t>(sizeof(nlattr) + size), .nla_type = type};
        add(&attribute, sizeof attribute);
        add(data, size);
        pad();
    }
    void text(uint16_t type, std::string_view value) {
        const std::string ended(value);
        bytes(type, ended.c_str(), ended.size() + 1);
    }
    void number(uint16_t type, uint32_t value) {
        const uint32_t big = htonl(value);
        bytes(type, &big, sizeof big);
    }
    template <class Inside> void nest(uint16_t type, Inside inside) {
        const size_t at = buffer_.size();
        const nlattr attribute = {.nla_len = 0, .nla_type = static_cast<uint16_t>(type | NLA_F_NESTED)};
        add(&attribute, sizeof attribute);
        inside();
        const auto size = static_cast<uint16_t>(buffer_.size() - at);
        std::memcpy(buffer_.data() + at, &size, sizeof size);
    }
    // The last one; the number under which the kernel confirms it.
    uint32_t acknowledged() {
        nlmsghdr header = {};
        std::memcpy(&header, buffer_.data() + start_, sizeof header);
        header.nlmsg_flags |= NLM_F_ACK;
        std::memcpy(buffer_.data() + start_, &header, sizeof header);
        return header.nlmsg_seq;
    }
    const std::vector<char> &finish() {
        close();
        return buffer_;
    }

  private:
    void add(const void *data, size_t size) {
        const auto *from = static_cast<const char *>(data);
        buffer_.insert(buffer_.end(), from, from + size);
    }
    void pad() { buffer_.resize((buffer_.size() + 3) & ~size_t{3}); }
    void close() {
        if (buffer_.empty())
            return;
        const auto size = static_cast<uint32_t>(buffer_.size() - start_);
        std::memcpy(buffer_.data() + start_, &size, sizeof size);
    }
    std::vector<char> buffer_;
    size_t start_ = 0;
    uint32_t sequence_ = 0;
};

constexpr uint16_t of_tables(int message) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message); }

template <class Data> void expression(Messages &messages, std::string_view name, Data data) {
    messages.nest(NFTA_LIST_ELEM, [&] {
        messages.text(NFTA_EXPR_NAME, name);
        messages.nest(NFTA_EXPR_DATA, data);
    });
}

void compare(Messages &messages, uint32_t how, const void *value, size_t size) {
    expression(messages, "cmp", [&] {
        messages.number(NFTA_CMP_SREG, NFT_REG_1);
        messages.number(NFTA_CMP_OP, how);
        messages.nest(NFTA_CMP_DATA, [&] { messages.bytes(NFTA_DATA_VALUE, value, size); });
    });
}

void match_meta(Messages &messages, uint32_t key, uint32_t how, const void *value, size_t size) {
    expression(messages, "meta", [&] {
        messages.number(NFTA_META_DREG, NFT_REG_1);
        messages.number(NFTA_META_KEY, key);
    });
    compare(messages, how, value, size);
}

void match_packet(Messages &messages, uint32_t base, uint32_t offset, std::string_view value) {
    expression(messages, "payload", [&] {
        messages.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
        messages.number(NFTA_PAYLOAD_BASE, base);
        messages.number(NFTA_PAYLOAD_OFFSET, offset);
        messages.number(NFTA_PAYLOAD_LEN, static_cast<uint32_t>(value.size()));
    });
    compare(messages, NFT_CMP_EQ, value.data(), value.size());
}

void drop(Messages &messages) {
    expression(messages, "immediate", [&] {
        messages.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
        messages.nest(NFTA_IMMEDIATE_DATA,
                      [&] { messages.nest(NFTA_DATA_VERDICT, [&] { messages.number(NFTA_VERDICT_CODE, NF_DROP); }); });
    });
}

void rule(Messages &messages, std::string_view table, std::string_view chain, const InetAddress &from,
          const InetAddress &to) {
    messages.begin(of_tables(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET);
    messages.text(NFTA_RULE_TABLE, table);
    messages.text(NFTA_RULE_CHAIN, chain);
    messages.nest(NFTA_RULE_EXPRESSIONS, [&] {
        const bool six = from.family() == AF_INET6;
        const uint8_t family = six ? NFPROTO_IPV6 : NFPROTO_IPV4;
        const uint8_t protocol = IPPROTO_TCP;
        const uint32_t source = six ? 8 : 12, destination = six ? 24 : 16; // in the header, RFC 791 and 8200
        const uint16_t from_port = htons(from.port()), to_port = htons(to.port());
        std::string ports(reinterpret_cast<const char *>(&from_port), sizeof from_port);
        ports.append(reinterpret_cast<const char *>(&to_port), sizeof to_port);
        match_meta(messages, NFT_META_NFPROTO, NFT_CMP_EQ, &family, sizeof family);
        match_meta(messages, NFT_META_L4PROTO, NFT_CMP_EQ, &protocol, sizeof protocol);
        match_meta(messages, NFT_META_MARK, NFT_CMP_NEQ, &lock_pass_mark, sizeof lock_pass_mark);
        match_packet(messages, NFT_PAYLOAD_NETWORK_HEADER, source, from.raw());
        match_packet(messages, NFT_PAYLOAD_NETWORK_HEADER, destination, to.raw());
        match_packet(messages, NFT_PAYLOAD_TRANSPORT_HEADER, 0, ports);
        drop(messages);
    });
}

void chain(Messages &messages, std::string_view table, std::string_view name, uint32_t hook) {
    messages.begin(of_tables(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_EXCL, NFPROTO_INET);
    messages.text(NFTA_CHAIN_TABLE, table);
    messages.text(NFTA_CHAIN_NAME, name);
    messages.nest(NFTA_CHAIN_HOOK, [&] {
        messages.number(NFTA_HOOK_HOOKNUM, hook);
        messages.number(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(before_all_others));
    });
    messages.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
    messages.text(NFTA_CHAIN_TYPE, "filter");
}

Result<Fd> nfnetlink() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket && errno == EPROTONOSUPPORT)
        return fail(errno, "this kernel has no netfilter to hold packets back with");
    if (!socket && errno == EAFNOSUPPORT) // what a service manager's filter says, too
        return fail(errno, "nftables cannot be reached: this process may not open netlink sockets (of a unit, "
                           "RestrictAddressFamilies= must name AF_NETLINK)");
    if (!socket)
        return fail(errno, "cannot open a socket to the kernel's nftables");
    constexpr int room = 8 << 20;
    static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room));
    static_cast<void>(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room));
    return socket;
}

// Waits for the answer to one message, or for the first error.
Result<> confirmed(const Fd &socket, uint32_t sequence) {
    std::vector<char> buffer(size_t{64} << 10U);
    for (;;) {
        const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(errno, "nftables does not answer");
        auto rest = std::string_view(buffer.data(), static_cast<size_t>(size));
        while (rest.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header = {};
            std::memcpy(&header, rest.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size())
                return fail(EPROTO, "nftables: a message is malformed");
            int code = 0;
            if (header.nlmsg_type == NLMSG_ERROR && header.nlmsg_len >= sizeof header + sizeof code) {
                std::memcpy(&code, rest.data() + sizeof header, sizeof code);
                if (code != 0)
                    return fail(-code, "the kernel's nftables refuse");
                if (header.nlmsg_seq == sequence)
                    return {};
            }
            rest.remove_prefix(std::min<size_t>((header.nlmsg_len + 3U) & ~3U, rest.size()));
        }
    }
}

Result<> send(const Fd &socket, Messages &messages, uint32_t sequence) {
    const auto &all = messages.finish();
    if (::send(socket.get(), all.data(), all.size(), 0) < 0)
        return fail(errno, "cannot speak to the kernel's nftables");
    return confirmed(socket, sequence);
}

enum class TableBatch : uint8_t { checked, done };

// The kernel takes a batch as a whole, or nothing of it; without its end it only says what it thinks of it.
Result<> make_table(const Fd &socket, std::string_view name, uint32_t flags, std::span<const Connection> connections,
                    TableBatch batch) {
    if (connections.size() > most_connections)
        return fail(E2BIG, "more than {} connections to peers outside cannot be kept", most_connections);
    Messages messages;
    messages.begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    messages.begin(of_tables(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_EXCL, NFPROTO_INET);
    messages.text(NFTA_TABLE_NAME, name);
    messages.number(NFTA_TABLE_FLAGS, flags);
    chain(messages, name, coming, NF_INET_LOCAL_IN); // NOLINT(readability-suspicious-call-argument): of this table
    chain(messages, name, going, NF_INET_LOCAL_OUT); // NOLINT(readability-suspicious-call-argument)
    for (const auto &[local, remote] : connections) {
        rule(messages, name, coming, remote.plain(), local.plain());
        rule(messages, name, going, local.plain(), remote.plain());
    }
    const uint32_t last = messages.acknowledged();
    if (batch == TableBatch::done)
        messages.begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    return send(socket, messages, last);
}

} // namespace

Result<> can_lock() {
    const Fd socket = TRY(nfnetlink());
    const std::vector<Connection> example = {{InetAddress::loopback(AF_INET), InetAddress::loopback(AF_INET)},
                                             {InetAddress::loopback(AF_INET6), InetAddress::loopback(AF_INET6)}};
    const std::string name = TRY(new_lock_name());
    return make_table(socket, name, table_is_owned, example, TableBatch::checked);
}

Result<NetworkLock> NetworkLock::of(std::span<const Connection> connections) {
    Fd socket = TRY(nfnetlink());
    const std::string name = TRY(new_lock_name());
    TRY(make_table(socket, name, table_is_owned, connections, TableBatch::done));
    return NetworkLock(std::move(socket));
}

Result<> lock_for_good(const std::string &name, std::span<const Connection> connections) {
    return make_table(TRY(nfnetlink()), name, 0, connections, TableBatch::done);
}

Result<> lift_lock(const std::string &name) {
    auto reached = nfnetlink();
    if (!reached && reached.error().code() == EPROTONOSUPPORT)
        return {}; // booted since, without what a table could be in
    if (!reached)
        return within(std::move(reached).error(), "cannot delete the table {} of nftables", name);
    const Fd socket = std::move(*reached);
    Messages messages;
    messages.begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    messages.begin(of_tables(NFT_MSG_DELTABLE), 0, NFPROTO_INET);
    messages.text(NFTA_TABLE_NAME, name);
    const uint32_t last = messages.acknowledged();
    messages.begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    auto lifted = send(socket, messages, last);
    if (!lifted && lifted.error().code() != ENOENT)
        return within(std::move(lifted).error(), "cannot delete the table {} of nftables", name);
    return {};
}

Result<bool> is_locked(const std::string &name) {
    const Fd socket = TRY(nfnetlink());
    Messages messages;
    messages.begin(of_tables(NFT_MSG_GETTABLE), 0, NFPROTO_INET);
    messages.text(NFTA_TABLE_NAME, name);
    const uint32_t last = messages.acknowledged();
    auto found = send(socket, messages, last);
    if (!found && found.error().code() != ENOENT)
        return std::unexpected(std::move(found).error());
    return found.has_value();
}

Result<std::string> new_lock_name() {
    uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number)
        return fail(errno, "cannot get random numbers");
    return fmt::format("{}{:016x}", prefix, number);
}

bool is_lock_name(std::string_view name) {
    return name.size() == prefix.size() + 16 && name.starts_with(prefix) &&
           name.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

} // namespace abey::os
