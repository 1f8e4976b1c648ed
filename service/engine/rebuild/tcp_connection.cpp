// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/tcp_connection.h"

#include "engine/os/inet_diag.h"

namespace abey::rebuild {

Result<> clear_leftovers(const os::InetAddress &local) {
    for (const auto &diag : TRY(os::dump_tcp()))
        if (diag.inode == 0 && diag.local.port() == local.port() &&
            (diag.state == os::TcpState::time_wait || diag.state == os::TcpState::fin_wait_2 ||
             diag.state == os::TcpState::fin_wait_1 || diag.state == os::TcpState::last_ack ||
             diag.state == os::TcpState::closing))
            TRY(os::destroy_tcp(diag));
    return {};
}

} // namespace abey::rebuild
