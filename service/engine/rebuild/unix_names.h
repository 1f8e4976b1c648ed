// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Names of unix sockets. A socket shows the very string that it was bound by, whatever root directory that string was
// looked up in. So sockets which only have to show a name, and not to be reached by it, are bound in an empty file
// system of their own that goes away by itself.
#pragma once

#include "engine/os/fd.h"

#include <functional>
#include <string>

#include <sys/socket.h>
#include <sys/un.h>

namespace abey::rebuild {

struct UnixAddress {
    sockaddr_un address = {};
    socklen_t size = 0;
    [[nodiscard]] const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&address); }
};
Result<UnixAddress> to_address(const std::string &name);

// Runs `work` in a thread whose root, working directory and umask are its own; with `empty_root` in a mount namespace
// of its own, too, whose root is an empty tmpfs. Descriptors are those of the process.
Result<> run_aside(bool empty_root, const std::function<Result<>()> &work);

// The effective user and group of this thread, as SO_PEERCRED (unix(7)) will tell them; root again at the end.
class ActingAs {
  public:
    ActingAs(uint32_t uid, uint32_t gid);
    ActingAs(const ActingAs &) = delete;
    ActingAs &operator=(const ActingAs &) = delete;
    ~ActingAs();
};

// Within run_aside(true, ...): binds, making the directories above the name.
Result<> bind_aside(const Fd &socket, const std::string &name);

struct NodeAttributes {
    uint32_t mode = 0, uid = 0, gid = 0;
};

// Within run_aside(false, ...): binds at the real path, as the owner would, so that no more is allowed than the owner
// may. What is in the way is removed when it is a socket that nobody listens on; anything else is an error. A relative
// path leads from `directory`, which becomes the working directory; otherwise that is empty.
Result<> bind_in_place(const Fd &socket, int type, const std::string &directory, const std::string &path,
                       const NodeAttributes &attributes);

struct BoundName {
    std::string path;
    NodeAttributes attributes;
};

// What bind_in_place() made goes again, as its owner: the directories above it may be theirs to exchange, and root
// would remove for them what they cannot.
void remove_name(const BoundName &name) noexcept;

} // namespace abey::rebuild
