// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/files.h"

namespace abey::engine {

std::string FileUse::described() const {
    if (descriptor >= 0)
        return fmt::format("process {} ({}), descriptor {}", pid, comm, descriptor);
    if (mapping_end != 0)
        return fmt::format("process {} ({}), mapping {:x}-{:x}", pid, comm, mapping_start, mapping_end);
    return fmt::format("process {} ({})", pid, comm);
}

} // namespace abey::engine
