// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::FileIdentity &from, pb::FileIdentity &to) {
    to.set_device(from.device);
    to.set_fsid(from.fsid);
    to.set_subvolume(from.subvolume);
    to.set_number(from.number);
    to.set_generation(from.generation);
    to.set_fs_type(from.fs_type);
}

Result<> get(const pb::FileIdentity &from, model::FileIdentity &to) {
    to.device = from.device();
    to.fsid = from.fsid();
    to.subvolume = from.subvolume();
    to.number = from.number();
    to.generation = from.generation();
    to.fs_type = from.fs_type();
    return {};
}

void put(const model::FailedTry &from, pb::FailedTry &to) {
    to.set_strategy(static_cast<uint32_t>(from.strategy));
    to.set_reason(from.reason);
}

Result<> get(const pb::FailedTry &from, model::FailedTry &to) {
    to.strategy = TRY(enumerator(from.strategy(), model::Strategy::fail, "FailedTry.strategy"));
    to.reason = from.reason();
    return {};
}

void put(const model::Kept &from, pb::Kept &to) {
    to.set_strategy(static_cast<uint32_t>(from.strategy));
    to.set_rule(from.rule);
    to.set_blob(from.blob);
    to.set_place(from.place);
    for (const auto &each : from.tried)
        put(each, *to.add_tried());
}

Result<> get(const pb::Kept &from, model::Kept &to) {
    to.strategy = TRY(enumerator(from.strategy(), model::Strategy::pin, "Kept.strategy"));
    to.rule = from.rule();
    to.blob = from.blob();
    to.place = from.place();
    TRY(get_all(from.tried(), to.tried));
    return {};
}

void put(const model::Content &from, pb::Content &to) {
    to.set_known(from.known);
    to.set_build_id(from.build_id);
    to.set_digest(from.digest);
}

Result<> get(const pb::Content &from, model::Content &to) {
    to.known = from.known();
    to.build_id = from.build_id();
    to.digest = from.digest();
    return {};
}

void put(const model::Above &from, pb::Above &to) {
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    put(from.atime, *to.mutable_atime());
    put(from.mtime, *to.mutable_mtime());
    for (const auto &[name, value] : from.xattrs) {
        auto &each = *to.add_xattrs();
        each.set_name(name);
        each.set_value(value);
    }
}

Result<> get(const pb::Above &from, model::Above &to) {
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    TRY(get(from.atime(), to.atime));
    TRY(get(from.mtime(), to.mtime));
    for (const auto &each : from.xattrs())
        to.xattrs.emplace_back(each.name(), each.value());
    return {};
}

void put(const model::Inode &from, pb::Inode &to) {
    to.set_id(from.id);
    put(from.identity, *to.mutable_identity());
    to.set_naming(static_cast<uint32_t>(from.naming));
    to.set_path(from.path);
    to.set_other_path(from.other_path);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_links(from.links);
    to.set_size(from.size);
    to.set_rdev(from.rdev);
    put(from.atime, *to.mutable_atime());
    put(from.mtime, *to.mutable_mtime());
    put(from.ctime, *to.mutable_ctime());
    for (const auto &[name, value] : from.xattrs) {
        auto &each = *to.add_xattrs();
        each.set_name(name);
        each.set_value(value);
    }
    put(from.kept, *to.mutable_kept());
    put(from.content, *to.mutable_content());
    to.set_flags(from.flags);
    to.set_mount_namespace(from.mount_namespace);
    to.set_mount(from.mount);
    to.set_remade(from.remade);
    to.set_target(from.target);
    for (const auto &directory : from.above)
        put(directory, *to.add_above());
    to.set_unheld(from.unheld);
    put(from.file_system_made, *to.mutable_file_system_made());
}

Result<> get(const pb::Inode &from, model::Inode &to) {
    to.id = from.id();
    TRY(get(from.identity(), to.identity));
    to.naming = TRY(enumerator(from.naming(), model::Naming::tmpfile, "Inode.naming"));
    to.path = from.path();
    to.other_path = from.other_path();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.links = from.links();
    to.size = from.size();
    to.rdev = from.rdev();
    TRY(get(from.atime(), to.atime));
    TRY(get(from.mtime(), to.mtime));
    TRY(get(from.ctime(), to.ctime));
    for (const auto &each : from.xattrs())
        to.xattrs.emplace_back(each.name(), each.value());
    TRY(get(from.kept(), to.kept));
    TRY(get(from.content(), to.content));
    to.flags = from.flags();
    to.mount_namespace = from.mount_namespace();
    to.mount = from.mount();
    to.remade = from.remade();
    to.target = from.target();
    for (const auto &directory : from.above())
        TRY(get(directory, to.above.emplace_back()));
    to.unheld = from.unheld();
    return get(from.file_system_made(), to.file_system_made);
}

void put(const model::DiskFile &from, pb::DiskFile &to) {
    to.set_inode(from.inode);
    to.set_name(from.name);
    to.set_unlinked(from.unlinked);
}

Result<> get(const pb::DiskFile &from, model::DiskFile &to) {
    to.inode = from.inode();
    to.name = from.name();
    to.unlinked = from.unlinked();
    return {};
}

void put(const model::Device &from, pb::Device &to) { to.set_inode(from.inode); }

Result<> get(const pb::Device &from, model::Device &to) {
    to.inode = from.inode();
    return {};
}

void put(const model::PipeEnd &from, pb::PipeEnd &to) { to.set_pipe(from.pipe); }

Result<> get(const pb::PipeEnd &from, model::PipeEnd &to) {
    to.pipe = from.pipe();
    return {};
}

void put(const model::SharedMemoryFile &from, pb::SharedMemoryFile &to) { to.set_memory(from.memory); }

Result<> get(const pb::SharedMemoryFile &from, model::SharedMemoryFile &to) {
    to.memory = from.memory();
    return {};
}

void put(const model::EventCounter &from, pb::EventCounter &to) {
    to.set_count(from.count);
    to.set_semaphore(from.semaphore);
}

Result<> get(const pb::EventCounter &from, model::EventCounter &to) {
    to.count = from.count();
    to.semaphore = from.semaphore();
    return {};
}

void put(const model::SignalReceiver &from, pb::SignalReceiver &to) { to.set_mask(from.mask); }

Result<> get(const pb::SignalReceiver &from, model::SignalReceiver &to) {
    to.mask = from.mask();
    return {};
}

void put(const model::TimerFile &from, pb::TimerFile &to) {
    to.set_clock(from.clock);
    to.set_ticks(from.ticks);
    to.set_settime_flags(from.settime_flags);
    put(from.value, *to.mutable_value());
    put(from.interval, *to.mutable_interval());
    put(from.seen, *to.mutable_seen());
}

Result<> get(const pb::TimerFile &from, model::TimerFile &to) {
    to.clock = from.clock();
    to.ticks = from.ticks();
    to.settime_flags = from.settime_flags();
    TRY(get(from.value(), to.value));
    TRY(get(from.interval(), to.interval));
    TRY(get(from.seen(), to.seen));
    return {};
}

void put(const model::PollTarget &from, pb::PollTarget &to) {
    to.set_number(from.number);
    to.set_open_file(from.open_file);
    to.set_events(from.events);
    to.set_data(from.data);
}

Result<> get(const pb::PollTarget &from, model::PollTarget &to) {
    to.number = from.number();
    to.open_file = from.open_file();
    to.events = from.events();
    to.data = from.data();
    return {};
}

void put(const model::PollSet &from, pb::PollSet &to) {
    for (const auto &each : from.targets)
        put(each, *to.add_targets());
}

Result<> get(const pb::PollSet &from, model::PollSet &to) {
    TRY(get_all(from.targets(), to.targets));
    return {};
}

void put(const model::SocketFile &from, pb::SocketFile &to) { to.set_socket(from.socket); }

Result<> get(const pb::SocketFile &from, model::SocketFile &to) {
    to.socket = from.socket();
    return {};
}

void put(const model::TerminalEnd &from, pb::TerminalEnd &to) {
    to.set_terminal(from.terminal);
    to.set_master(from.master);
    to.set_by_dev_tty(from.by_dev_tty);
}

Result<> get(const pb::TerminalEnd &from, model::TerminalEnd &to) {
    to.terminal = from.terminal();
    to.master = from.master();
    to.by_dev_tty = from.by_dev_tty();
    return {};
}

void put(const model::SignalOwner &from, pb::SignalOwner &to) {
    to.set_type(from.type);
    to.set_pid(from.pid);
    to.set_signal(from.signal);
    to.set_uid(from.uid);
    to.set_euid(from.euid);
}

Result<> get(const pb::SignalOwner &from, model::SignalOwner &to) {
    to.type = from.type();
    to.pid = from.pid();
    to.signal = from.signal();
    to.uid = from.uid();
    to.euid = from.euid();
    return {};
}

void put(const model::FileLock &from, pb::FileLock &to) {
    to.set_kind(static_cast<uint32_t>(from.kind));
    to.set_write(from.write);
    to.set_pid(from.pid);
    to.set_start(from.start);
    to.set_end(from.end);
    to.set_breaking(from.breaking);
}

Result<> get(const pb::FileLock &from, model::FileLock &to) {
    to.kind = TRY(enumerator(from.kind(), model::FileLock::Kind::lease, "FileLock.kind"));
    to.write = from.write();
    to.pid = from.pid();
    to.start = from.start();
    to.end = from.end();
    to.breaking = from.breaking();
    return {};
}

void put(const model::OpenFile &from, pb::OpenFile &to) {
    to.set_id(from.id);
    to.set_flags(from.flags);
    to.set_position(from.position);
    put(from.owner, *to.mutable_owner());
    for (const auto &each : from.locks)
        put(each, *to.add_locks());
    if (const auto *is = std::get_if<model::DiskFile>(&from.payload))
        put(*is, *to.mutable_disk_file());
    if (const auto *is = std::get_if<model::Device>(&from.payload))
        put(*is, *to.mutable_device());
    if (const auto *is = std::get_if<model::PipeEnd>(&from.payload))
        put(*is, *to.mutable_pipe_end());
    if (const auto *is = std::get_if<model::SharedMemoryFile>(&from.payload))
        put(*is, *to.mutable_shared_memory_file());
    if (const auto *is = std::get_if<model::EventCounter>(&from.payload))
        put(*is, *to.mutable_event_counter());
    if (const auto *is = std::get_if<model::SignalReceiver>(&from.payload))
        put(*is, *to.mutable_signal_receiver());
    if (const auto *is = std::get_if<model::TimerFile>(&from.payload))
        put(*is, *to.mutable_timer_file());
    if (const auto *is = std::get_if<model::PollSet>(&from.payload))
        put(*is, *to.mutable_poll_set());
    if (const auto *is = std::get_if<model::SocketFile>(&from.payload))
        put(*is, *to.mutable_socket_file());
    if (const auto *is = std::get_if<model::TerminalEnd>(&from.payload))
        put(*is, *to.mutable_terminal_end());
    if (const auto *is = std::get_if<model::InetSocketFile>(&from.payload))
        put(*is, *to.mutable_inet_socket_file());
    if (const auto *is = std::get_if<model::NetlinkSocket>(&from.payload))
        put(*is, *to.mutable_netlink_socket());
    if (const auto *is = std::get_if<model::PacketSocket>(&from.payload))
        put(*is, *to.mutable_packet_socket());
    if (const auto *is = std::get_if<model::FileWatches>(&from.payload))
        put(*is, *to.mutable_file_watches());
    if (const auto *is = std::get_if<model::FileMarks>(&from.payload))
        put(*is, *to.mutable_file_marks());
    if (const auto *is = std::get_if<model::ProcessHandle>(&from.payload))
        put(*is, *to.mutable_process_handle());
    if (const auto *is = std::get_if<model::ProcessFile>(&from.payload))
        put(*is, *to.mutable_process_file());
    if (const auto *is = std::get_if<model::NamespaceFile>(&from.payload))
        put(*is, *to.mutable_namespace_file());
    if (const auto *is = std::get_if<model::MessageQueue>(&from.payload))
        put(*is, *to.mutable_message_queue());
}

Result<> get(const pb::OpenFile &from, model::OpenFile &to) {
    to.id = from.id();
    to.flags = from.flags();
    to.position = from.position();
    TRY(get(from.owner(), to.owner));
    TRY(get_all(from.locks(), to.locks));
    switch (from.payload_case()) {
    case pb::OpenFile::kDiskFile:
        return get(from.disk_file(), to.payload.emplace<model::DiskFile>());
    case pb::OpenFile::kDevice:
        return get(from.device(), to.payload.emplace<model::Device>());
    case pb::OpenFile::kPipeEnd:
        return get(from.pipe_end(), to.payload.emplace<model::PipeEnd>());
    case pb::OpenFile::kSharedMemoryFile:
        return get(from.shared_memory_file(), to.payload.emplace<model::SharedMemoryFile>());
    case pb::OpenFile::kEventCounter:
        return get(from.event_counter(), to.payload.emplace<model::EventCounter>());
    case pb::OpenFile::kSignalReceiver:
        return get(from.signal_receiver(), to.payload.emplace<model::SignalReceiver>());
    case pb::OpenFile::kTimerFile:
        return get(from.timer_file(), to.payload.emplace<model::TimerFile>());
    case pb::OpenFile::kPollSet:
        return get(from.poll_set(), to.payload.emplace<model::PollSet>());
    case pb::OpenFile::kSocketFile:
        return get(from.socket_file(), to.payload.emplace<model::SocketFile>());
    case pb::OpenFile::kTerminalEnd:
        return get(from.terminal_end(), to.payload.emplace<model::TerminalEnd>());
    case pb::OpenFile::kNetlinkSocket:
        return get(from.netlink_socket(), to.payload.emplace<model::NetlinkSocket>());
    case pb::OpenFile::kPacketSocket:
        return get(from.packet_socket(), to.payload.emplace<model::PacketSocket>());
    case pb::OpenFile::kInetSocketFile:
        return get(from.inet_socket_file(), to.payload.emplace<model::InetSocketFile>());
    case pb::OpenFile::kFileMarks:
        return get(from.file_marks(), to.payload.emplace<model::FileMarks>());
    case pb::OpenFile::kFileWatches:
        return get(from.file_watches(), to.payload.emplace<model::FileWatches>());
    case pb::OpenFile::kProcessHandle:
        return get(from.process_handle(), to.payload.emplace<model::ProcessHandle>());
    case pb::OpenFile::kProcessFile:
        return get(from.process_file(), to.payload.emplace<model::ProcessFile>());
    case pb::OpenFile::kNamespaceFile:
        return get(from.namespace_file(), to.payload.emplace<model::NamespaceFile>());
    case pb::OpenFile::kMessageQueue:
        return get(from.message_queue(), to.payload.emplace<model::MessageQueue>());
    case pb::OpenFile::PAYLOAD_NOT_SET:
        break;
    }
    return fail(0, "object {} (open file) is of a kind that this program does not know", to.id);
}

void put(const model::Descriptor &from, pb::Descriptor &to) {
    to.set_number(from.number);
    to.set_close_on_exec(from.close_on_exec);
    to.set_open_file(from.open_file);
}

Result<> get(const pb::Descriptor &from, model::Descriptor &to) {
    to.number = from.number();
    to.close_on_exec = from.close_on_exec();
    to.open_file = from.open_file();
    return {};
}

void put(const model::DescriptorTable &from, pb::DescriptorTable &to) {
    to.set_id(from.id);
    for (const auto &each : from.descriptors)
        put(each, *to.add_descriptors());
}

Result<> get(const pb::DescriptorTable &from, model::DescriptorTable &to) {
    to.id = from.id();
    TRY(get_all(from.descriptors(), to.descriptors));
    return {};
}

void put(const model::FsContext &from, pb::FsContext &to) {
    to.set_id(from.id);
    to.set_directory(from.directory);
    to.set_root(from.root);
    to.set_umask(from.umask);
}

Result<> get(const pb::FsContext &from, model::FsContext &to) {
    to.id = from.id();
    to.directory = from.directory();
    to.root = from.root();
    to.umask = from.umask();
    return {};
}

} // namespace abey::image
