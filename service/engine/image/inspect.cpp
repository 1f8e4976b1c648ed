// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/inspect.h"

#include "engine/os/inet_address.h"

#include <array>
#include <string_view>

#include <fmt/format.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>

namespace abey::image {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 8> strategies = {"none",    "embed", "copy", "relink",
                                                        "reflink", "empty", "fail", "pin"};
constexpr std::array<std::string_view, 5> namings = {"named", "deleted", "replaced", "moved", "tmpfile"};
constexpr std::array<std::string_view, 3> states = {"running", "stopped", "zombie"};
constexpr std::array<std::string_view, 6> mapping_kinds = {"anonymous", "file",        "vdso",
                                                           "vvar",      "vvar_vclock", "request ring"};

template <class T, class Names> std::string name_of(T value, const Names &names) {
    return std::string(names.at(static_cast<size_t>(value)));
}

// What is behind an open file, in a few words; names are bytes and may be anything.
struct Described {
    const model::Tree &tree;
    std::string operator()(const std::monostate & /*none*/) const { return "?"; }
    std::string operator()(const model::DiskFile &file) const { return inode(file.inode); }
    std::string operator()(const model::Device &file) const { return inode(file.inode); }
    std::string operator()(const model::PipeEnd &end) const { return fmt::format("pipe #{}", end.pipe); }
    std::string operator()(const model::SharedMemoryFile &file) const {
        const auto &memory = tree.shared_memory.at(file.memory);
        return fmt::format("shared memory #{} {} ({} bytes)", memory.id, memory.name, memory.size);
    }
    std::string operator()(const model::EventCounter &file) const { return fmt::format("eventfd {}", file.count); }
    std::string operator()(const model::SignalReceiver &file) const { return fmt::format("signalfd {:x}", file.mask); }
    std::string operator()(const model::TimerFile &file) const { return fmt::format("timerfd clock {}", file.clock); }
    std::string operator()(const model::PollSet &set) const { return fmt::format("epoll of {}", set.targets.size()); }
    std::string operator()(const model::ProcessHandle &handle) const {
        return handle.pid == 0 ? "pidfd of a process that has ended" : fmt::format("pidfd of process {}", handle.pid);
    }
    std::string operator()(const model::ProcessFile &file) const {
        return fmt::format("/proc/{}/{}{}", file.pid, file.path, file.dead ? " (of a process that has ended)" : "");
    }
    std::string operator()(const model::NamespaceFile &file) const { return fmt::format("{} namespace", file.name); }
    std::string operator()(const model::MessageQueue &queue) const {
        return fmt::format("message queue {}", queue.name);
    }
    std::string operator()(const model::FileWatches &file) const {
        return fmt::format("inotify of {} files", file.watches.size());
    }
    std::string operator()(const model::FileMarks &file) const {
        return fmt::format("fanotify with {} marks", file.marks.size());
    }
    std::string operator()(const model::SocketFile &file) const {
        const auto &socket = tree.unix_sockets.at(file.socket);
        return fmt::format("unix socket #{}{}{}", socket.id,
                           socket.peer != 0 ? fmt::format(" to #{}", socket.peer) : "",
                           socket.reconnect      ? " to outside, to be connected again"
                           : socket.peer_outside ? " to outside"
                                                 : "");
    }
    std::string operator()(const model::NetlinkSocket &socket) const {
        return fmt::format("netlink socket of protocol {}, port {}", socket.protocol, socket.port);
    }
    std::string operator()(const model::PacketSocket &socket) const {
        return fmt::format("packet socket of protocol {:#06x}{}", ntohs(static_cast<uint16_t>(socket.protocol)),
                           socket.device.empty() ? "" : " on " + socket.device);
    }
    std::string operator()(const model::InetSocketFile &file) const {
        const auto &socket = tree.inet_sockets.at(file.socket);
        const auto text = [](const model::Bytes &address) {
            return os::InetAddress::parse(address).value_or(os::InetAddress()).text();
        };
        return fmt::format("internet socket #{}, {}{}{}", socket.id, text(socket.local),
                           socket.remote.empty() ? "" : " to " + text(socket.remote),
                           socket.peer != 0 ? fmt::format(" (#{})", socket.peer) : "");
    }
    std::string operator()(const model::TerminalEnd &end) const {
        const auto &terminal = tree.terminals.at(end.terminal);
        if (!terminal.replaced.empty())
            return fmt::format("{}, to be /dev/pts/{}", terminal.replaced, terminal.index);
        return fmt::format("/dev/pts/{}{}", terminal.index, end.master ? " (master)" : "");
    }
    [[nodiscard]] std::string inode(model::ObjRef id) const {
        const auto &inode = tree.inodes.at(id);
        return fmt::format("{}{}", inode.path,
                           inode.naming == model::Naming::named ? "" : " (" + name_of(inode.naming, namings) + ")");
    }
};

void describe_task(const model::Tree &tree, const model::Task &task, int depth, std::string &text) {
    const std::string indent(static_cast<size_t>(depth) * 2, ' ');
    text += fmt::format("{}{} {} [{}], group {}, session {}", indent, task.pid, task.comm, name_of(task.state, states),
                        task.process_group, task.session);
    if (task.state != model::TaskState::zombie) {
        const auto &space = tree.address_spaces.at(task.address_space);
        uint64_t bytes = 0;
        for (const model::PageRun &run : space.pages)
            bytes += run.length;
        text += fmt::format(", {} threads, {} mappings, {} KiB in the image\n", task.threads.size(),
                            space.mappings.size(), bytes / 1024);
        for (const model::Descriptor &descriptor : tree.descriptor_tables.at(task.descriptors).descriptors) {
            const auto &file = tree.open_files.at(descriptor.open_file);
            text += fmt::format("{}  {:>3} -> #{} {}\n", indent, descriptor.number, file.id,
                                std::visit(Described{tree}, file.payload));
        }
    } else {
        text += fmt::format(", status {}\n", task.exit_code);
    }
    for (const model::Task &child : tree.tasks)
        if (child.parent == task.pid)
            describe_task(tree, child, depth + 1, text);
}

json to_json(const model::Inode &inode) {
    json tried = json::array();
    for (const model::FailedTry &attempt : inode.kept.tried)
        tried.push_back({{"strategy", name_of(attempt.strategy, strategies)}, {"reason", attempt.reason}});
    return {{"id", inode.id},
            {"path", inode.path},
            {"naming", name_of(inode.naming, namings)},
            {"mode", inode.mode},
            {"uid", inode.uid},
            {"gid", inode.gid},
            {"size", inode.size},
            {"links", inode.links},
            {"number", inode.identity.number},
            {"strategy", name_of(inode.kept.strategy, strategies)},
            {"rule", inode.kept.rule},
            {"place", inode.kept.place},
            {"blob", inode.kept.blob},
            {"digest", inode.content.digest},
            {"held", !inode.unheld},
            {"tried", std::move(tried)}};
}

json to_json(const model::AddressSpace &space) {
    json mappings = json::array();
    for (const model::Mapping &mapping : space.mappings)
        mappings.push_back({{"start", mapping.start},
                            {"end", mapping.end},
                            {"protection", mapping.protection},
                            {"shared", mapping.shared},
                            {"kind", name_of(mapping.kind, mapping_kinds)},
                            {"file", mapping.file},
                            {"offset", mapping.file_offset}});
    json pages = json::array();
    for (const model::PageRun &run : space.pages)
        pages.push_back({{"address", run.address}, {"length", run.length}, {"offset", run.offset}});
    return {{"id", space.id},
            {"executable", space.executable},
            {"mappings", std::move(mappings)},
            {"pages", std::move(pages)}};
}

json to_json(const model::Task &task) {
    json threads = json::array();
    for (const model::Thread &thread : task.threads)
        threads.push_back({{"tid", thread.tid},
                           {"comm", thread.comm},
                           {"uid", thread.credentials.uid},
                           {"gid", thread.credentials.gid},
                           {"signal_mask", thread.signal_mask},
                           {"pending", thread.pending.size()}});
    return {{"pid", task.pid},
            {"parent", task.parent},
            {"process_group", task.process_group},
            {"session", task.session},
            {"state", name_of(task.state, states)},
            {"exit_code", task.exit_code},
            {"comm", task.comm},
            {"threads", std::move(threads)},
            {"address_space", task.address_space},
            {"descriptors", task.descriptors},
            {"fs", task.fs},
            {"terminal", task.terminal}};
}

} // namespace

std::string describe(const model::Tree &tree) {
    std::string text;
    for (const model::Task &task : tree.tasks)
        if (task.parent == 0)
            describe_task(tree, task, 0, text);
    bool any = false;
    for (const auto &[id, inode] : tree.inodes) {
        if (inode.kept.strategy == model::Strategy::none)
            continue;
        text += any ? "" : "kept files:\n";
        any = true;
        text += fmt::format("  #{} {} ({}, {} bytes): {} by {}\n", id, inode.path, name_of(inode.naming, namings),
                            inode.size, name_of(inode.kept.strategy, strategies), inode.kept.rule);
        for (const model::FailedTry &attempt : inode.kept.tried)
            text += fmt::format("      {}: {}\n", name_of(attempt.strategy, strategies), attempt.reason);
    }
    return text;
}

json to_json(const model::Tree &tree) {
    json all = {{"machine", {{"kernel", tree.machine.kernel_release}, {"cpu", tree.machine.cpu_model}}},
                {"clocks", {{"realtime", tree.clocks.realtime}, {"monotonic", tree.clocks.monotonic}}}};
    for (const char *list : {"tasks", "address_spaces", "descriptor_tables", "open_files", "inodes"})
        all[list] = json::array();
    for (const model::Task &task : tree.tasks)
        all["tasks"].push_back(to_json(task));
    for (const auto &[id, space] : tree.address_spaces)
        all["address_spaces"].push_back(to_json(space));
    for (const auto &[id, table] : tree.descriptor_tables) {
        json descriptors = json::array();
        for (const model::Descriptor &descriptor : table.descriptors)
            descriptors.push_back({{"number", descriptor.number}, {"open_file", descriptor.open_file}});
        all["descriptor_tables"].push_back({{"id", id}, {"descriptors", std::move(descriptors)}});
    }
    for (const auto &[id, file] : tree.open_files)
        all["open_files"].push_back({{"id", id},
                                     {"flags", file.flags},
                                     {"position", file.position},
                                     {"what", std::visit(Described{tree}, file.payload)}});
    for (const auto &[id, inode] : tree.inodes)
        all["inodes"].push_back(to_json(inode));
    return all;
}

} // namespace abey::image
