// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/pictures.h"

#include "session/connection.h"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>

namespace abey::session {
namespace {

using Clock = std::chrono::steady_clock;

class Asking {
  public:
    Asking(std::string path, std::chrono::milliseconds limit) : path_(std::move(path)), end_(Clock::now() + limit) {}

    // Nothing (a descriptor that is not valid) when nobody listens there.
    Result<Fd> connect() {
        auto connection = connect_packets(path_, TRY(left()));
        if (!connection && is_nobodys(connection.error().code()))
            return Fd();
        return connection;
    }
    Result<KeeperMessage> next(const Fd &connection) {
        const auto time = TRY(left());
        TRY(limit_time(connection, time));
        const auto packet = TRY(receive_packet(connection));
        if (packet.empty())
            return fail(ECONNRESET, "the keeper has gone");
        return parse_keeper_message(packet);
    }

  private:
    Result<std::chrono::milliseconds> left() {
        const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now());
        if (time.count() <= 0)
            return fail(ETIMEDOUT, "the keeper does not answer in time");
        return time;
    }

    std::string path_;
    Clock::time_point end_;
};

} // namespace

Result<Pictures> pictures_of(const std::string &session, std::chrono::milliseconds limit,
                             const std::string &directory) {
    Pictures all;
    Asking asking(TRY(socket_path(directory, session)), limit);
    std::vector<TerminalEntry> terminals;
    {
        const auto connection = TRY(asking.connect());
        if (!connection)
            return all;
        TRY(send_packet(connection, encode(ClientMessage(List()))));
        const auto answer = TRY(asking.next(connection));
        if (const auto *list = std::get_if<Terminals>(&answer))
            terminals = list->entries;
    }
    size_t size = 0;
    for (const auto &terminal : terminals) {
        const auto connection = TRY(asking.connect());
        if (!connection)
            return all;
        TRY(send_packet(connection, encode(ClientMessage(Picture{terminal.index}))));
        std::string picture;
        for (;;) {
            const auto answer = TRY(asking.next(connection));
            const auto *output = std::get_if<Output>(&answer);
            if (output == nullptr)
                break; // Ended: that was all
            size += output->data.size();
            if (size > pictures_limit)
                return fail(EFBIG, "the keeper shows more than {} bytes", pictures_limit);
            picture += output->data;
        }
        if (!picture.empty())
            all.emplace(terminal.index, std::move(picture));
    }
    return all;
}

} // namespace abey::session
