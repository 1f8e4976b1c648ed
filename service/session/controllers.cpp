// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/controllers.h"

#include "engine/os/fd.h"

#include <cerrno>

namespace abey::session {

Result<> refuse_controllers(const std::string &cgroup) {
    std::string controllers = TRY(read_file(cgroup + "/cgroup.subtree_control"));
    while (!controllers.empty() && (controllers.back() == '\n' || controllers.back() == ' '))
        controllers.pop_back();
    if (controllers.empty())
        return {};
    return fail(
        ENOTSUP,
        "its programs have cgroups of their own with controllers ({}), which a resumed session cannot give them "
        "again; end those programs first",
        controllers);
}

} // namespace abey::session
