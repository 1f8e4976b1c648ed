// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of /proc/PID/ns (namespaces(7)).
#include "engine/rebuild/kinds.h"

namespace abey::rebuild {
namespace {

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &ns = std::get<model::NamespaceFile>(file.payload);
    return abey::open_file(fmt::format("/proc/{}/ns/{}", TRY(context.pid_here(ns.pid)), ns.name),
                           static_cast<int>(file.flags & (O_PATH | O_NONBLOCK)));
}

} // namespace

Kind namespace_file_kind() {
    return {.name = "namespace",
            .payload = payload_index<model::NamespaceFile>(),
            .create = create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
