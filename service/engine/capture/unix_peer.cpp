// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/unix_peer.h"

#include "engine/capture/inet_socket.h"
#include "engine/capture/journal_stream.h"
#include "engine/os/procfs.h"

#include <algorithm>

#include <sys/socket.h>

namespace abey::capture {
namespace {

using model::PeerAction;

// "process 812 (dbus-daemon)", as far as the socket tells
std::string peer_process(const model::UnixSocket &socket) {
    if (socket.peer_pid <= 0)
        return "a process";
    std::string comm = read_file(fmt::format("/proc/{}/comm", socket.peer_pid)).value_or("?");
    comm.resize(std::min(comm.find('\n'), comm.size()));
    return fmt::format("process {} ({})", socket.peer_pid, comm);
}

// Why it cannot be connected again; empty when it can.
std::string hindrance(const model::UnixSocket &socket) {
    if (socket.peer_name.empty())
        return "the other end has no name";
    if (socket.peer_name.front() != '/' && socket.peer_name.front() != '\0')
        return "the name is a relative path";
    if (!socket.name.empty())
        return "it is bound to a name itself";
    return "";
}

} // namespace

std::string name_for_people(std::string name) {
    if (name.empty())
        return "an unnamed socket";
    std::ranges::replace(name, '\0', '@');
    return name;
}

Result<> decide_unix_peer(Context &context, const Seen &seen, uint64_t peer, model::UnixSocket &socket) {
    socket.peer_outside = true;
    const std::string name = name_for_people(socket.peer_name);
    const auto choice =
        context.unix_peers ? context.unix_peers(socket.peer_name.empty() ? "" : name) : engine::PeerChoice();
    std::string why = choice.rule.empty() ? "" : fmt::format(" ({})", choice.rule);
    if (choice.action == PeerAction::fail) {
        context.findings.push_back(
            socket_finding(seen, fmt::format("it is connected to {} outside, and the policy says `fail`{}", name, why),
                           "close the connection, or choose another action in a [[peer]] rule", true));
        return {};
    }
    if (socket.type == SOCK_DGRAM && !socket.peer_name.empty()) {
        context.findings.push_back(socket_finding(
            seen,
            fmt::format("it sends to {} outside: it will be connected again to what is there at the restore", name)));
        return {};
    }
    const std::string against = hindrance(socket);
    if (choice.action == PeerAction::reconnect && against.empty()) {
        socket.reconnect = true;
        // Who connects is who holds it: nobody gets a connection that they could not make themselves.
        const auto status = TRY(os::read_status(seen.pid));
        socket.owner_uid = status.uids[1]; // effective
        socket.owner_gid = status.gids[1];
        if (socket.peer_name == journal_socket)
            socket.greeting = journal_greeting(peer, seen.comm);
        context.findings.push_back(socket_finding(
            seen, fmt::format("it is connected to {} of {} outside: after the restore it will be a new connection to "
                              "there{}",
                              name, peer_process(socket), why)));
        return {};
    }
    if (choice.action == PeerAction::reconnect)
        why += fmt::format("; it cannot be connected again: {}", against);
    context.findings.push_back(
        socket_finding(seen,
                       fmt::format("it is connected to {} of {} outside: after the restore it will be closed{}", name,
                                   peer_process(socket), why),
                       "the program must connect again by itself"));
    return {};
}

} // namespace abey::capture
