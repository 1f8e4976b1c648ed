// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files of /proc/PID/ns (namespaces(7)), of the namespaces that their holder itself or a process of the tree is in.
#include "engine/capture/kinds.h"
#include "engine/capture/namespaces.h"

#include <algorithm>
#include <array>

namespace abey::capture {
namespace namespace_file {
namespace {

constexpr std::array<std::string_view, 10> names = {
    "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts", "pid_for_children", "time_for_children"};

// "net:[4026531840]"
bool matches(const Seen &seen) {
    const std::string_view link = seen.link;
    return std::ranges::any_of(names, [&](std::string_view name) {
        return link.starts_with(name) && link.substr(name.size()).starts_with(":[");
    });
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const auto &all = context.state<Namespaces>();
    if (const auto known = all.by_link.find(seen.link); known != all.by_link.end())
        return model::NamespaceFile{
            .pid = seen.pid, .name = all.held.at(known->second).type, .own_namespace = known->second};
    for (const std::string_view name : names) {
        const auto own = read_link(fmt::format("/proc/{}/ns/{}", seen.pid, name));
        if (own && *own == seen.link)
            return model::NamespaceFile{.pid = seen.pid, .name = std::string(name)};
    }
    return fail(0, "it is a descriptor of a namespace other than the session's own, which cannot be brought back; end "
                   "the program that holds it");
}

} // namespace
} // namespace namespace_file

Kind namespace_file_kind() {
    return {.name = "namespace",
            .matches = namespace_file::matches,
            .capture = namespace_file::capture,
            .complete = nullptr};
}

} // namespace abey::capture
