// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of /proc/PID/ns (namespaces(7)).
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/own_namespaces.h"

namespace abey::rebuild {
namespace namespace_file {
namespace {

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &ns = std::get<model::NamespaceFile>(file.payload);
    if (ns.own_namespace != 0) {
        const Fd *made = TRY(own_namespace(context, ns.own_namespace));
        return abey::open_file(fmt::format("/proc/self/fd/{}", made->get()),
                               static_cast<int>(file.flags & (O_PATH | O_NONBLOCK)));
    }
    return abey::open_file(fmt::format("/proc/{}/ns/{}", TRY(context.pid_here(ns.pid)), ns.name),
                           static_cast<int>(file.flags & (O_PATH | O_NONBLOCK)));
}

} // namespace
} // namespace namespace_file

Kind namespace_file_kind() {
    return {.name = "namespace",
            .payload = payload_index<model::NamespaceFile>(),
            .create = namespace_file::create,
            .fill = nullptr,
            .in_task = nullptr,
            .finish = nullptr};
}

} // namespace abey::rebuild
