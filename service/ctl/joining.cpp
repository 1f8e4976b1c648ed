// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/joining.h"

#include "session/detach_key.h"

#include <cstdlib>

#include <unistd.h>

namespace abey::ctl {

Result<std::string> detach_key_of(const std::string &option) {
    if (!option.empty())
        return session::parse_detach_key(option);
    const char *usual = std::getenv("ABEYANCE_DETACH_KEY"); // NOLINT(concurrency-mt-unsafe): one thread
    if (usual == nullptr || *usual == '\0')
        return std::string(session::default_detach_key);
    return TRY_IN(session::parse_detach_key(usual), "ABEYANCE_DETACH_KEY");
}

Result<> check_terminal() {
    if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0)
        return fail(0, "standard input and output must be the terminal that the session is to appear on");
    return {};
}

} // namespace abey::ctl
