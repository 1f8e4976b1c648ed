// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Calls whose caller the kernel remembers as long as the socket lives, and tells its peer (SO_PEERCRED, SO_PEERGROUPS
// and SO_PEERPIDFD, unix(7)): made in the husk of the process that made them once, as the user that it was.
#pragma once

#include "engine/os/fd.h"
#include "engine/rebuild/husk.h"
#include "engine/rebuild/unix_names.h"

#include <span>

namespace abey::rebuild {

struct SocketPair {
    Fd first, second;
};

// All of it is to be called by the thread that holds the husks, while their descriptor tables are empty.
class AsProcess {
  public:
    // `pid` of the tree. When it is none of the tree's processes, it had ended, and one that lives only for the call
    // has its id. 0, or when another has that id, or the tree has a pid namespace of its own: this process makes the
    // calls; the user is right then at least.
    AsProcess(Context &context, int32_t pid, uint32_t uid, uint32_t gid, std::span<const uint32_t> groups);

    // The caller's pid as this process sees it.
    [[nodiscard]] int pid() const;

    Result<SocketPair> pair(int type);
    Result<> listen(const Fd &socket, uint32_t backlog);
    // `directory`: what a relative path leads from. EACCES and the like are for the caller to judge.
    Result<> connect(const Fd &socket, const UnixAddress &address, const Fd *directory = nullptr);
    // `node`: O_PATH of the path that the other one is bound to. ENOENT where that process sees no /proc.
    Result<> connect_to(const Fd &socket, const Fd &node);

  private:
    class Turn;
    // `call`: system calls only, with our descriptors; they fail by errno. Notes the id.
    template <class Call> Result<> by_ourselves(const char *what, Call call);
    Husk *husk_ = nullptr;
    int former_ = 0; // the id of one that has ended
    uint32_t uid_, gid_;
    std::span<const uint32_t> groups_;
};

} // namespace abey::rebuild
