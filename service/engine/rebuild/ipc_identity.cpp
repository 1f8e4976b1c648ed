// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/ipc_identity.h"

#include "engine/os/fd.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace abey::rebuild {

AsCreator::AsCreator(uint32_t uid, uint32_t gid) : changed_(uid != 0 || gid != 0) {
    if (changed_ && (::syscall(SYS_setresgid, -1, gid, -1) < 0 || ::syscall(SYS_setresuid, -1, uid, -1) < 0))
        failed_ = true;
}

AsCreator::~AsCreator() {
    if (!changed_)
        return;
    ::syscall(SYS_setresuid, -1, 0, -1);
    ::syscall(SYS_setresgid, -1, 0, -1);
}

Result<> choose_next_id(const char *kind, int identifier) {
    const Fd file = TRY(abey::open_file(fmt::format("/proc/sys/kernel/{}_next_id", kind), O_WRONLY));
    return write_all(file, std::to_string(identifier));
}

} // namespace abey::rebuild
