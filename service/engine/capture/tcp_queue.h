// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What is on its way through a TCP connection, looked at without taking anything out.
#pragma once

#include "engine/model/inet_socket.h"
#include "engine/os/fd.h"

namespace abey::capture {

// Repair mode (tcp(7), TCP_REPAIR) of a socket for as long as this lives. A process that held it meanwhile could not
// receive, so its holders must stand still.
class RepairMode {
  public:
    static Result<RepairMode> of(const Fd &socket);
    RepairMode(RepairMode &&other) noexcept
        : socket_(std::exchange(other.socket_, -1)), reuse_address_(other.reuse_address_) {}
    RepairMode(const RepairMode &) = delete;
    RepairMode &operator=(const RepairMode &) = delete;
    RepairMode &operator=(RepairMode &&) = delete;
    ~RepairMode();

    // The sequence numbers after the last byte that the program has sent, and after the last that has come; FIN counts
    // as one.
    [[nodiscard]] Result<uint32_t> end_of_sent() const;
    [[nodiscard]] Result<uint32_t> end_of_received() const;
    // Sent and not acknowledged, or not yet sent.
    [[nodiscard]] Result<model::Bytes> unacknowledged() const;
    [[nodiscard]] Result<model::TcpRepair> parameters() const;

    // The socket stays in repair mode: closing it sends nothing.
    void keep() noexcept { socket_ = -1; }

  private:
    RepairMode(int socket, int reuse_address) : socket_(socket), reuse_address_(reuse_address) {}
    [[nodiscard]] Result<> choose(int queue) const;
    int socket_;
    int reuse_address_; // which repair mode forgets
};

// Bytes that wait for an acknowledgement, FIN included.
Result<size_t> waiting_to_be_acknowledged(const Fd &socket);
// Of these, those that have never been sent.
Result<size_t> waiting_to_be_sent(const Fd &socket);

// What the program has not read yet; out-of-band data is an error.
Result<model::Bytes> peek_stream_data(const Fd &socket);

// What TCP_INFO tells of the parameters.
struct StreamInfo {
    int state = 0;
    uint32_t waiting = 0, backlog = 0; // of a listener
    uint32_t announced_segment = 0;    // the largest that it has asked the peer for
    model::TcpRepair parameters;
};
Result<StreamInfo> stream_info(const Fd &socket);

} // namespace abey::capture
