// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Open files through which the kernel tells about something else: watches, processes, namespaces.
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::Watch &from, pb::Watch &to) {
    to.set_number(from.number);
    to.set_mask(from.mask);
    to.set_inode(from.inode);
    to.set_path(from.path);
    to.set_file(from.file);
}

Result<> get(const pb::Watch &from, model::Watch &to) {
    to.number = from.number();
    to.mask = from.mask();
    to.inode = from.inode();
    to.path = from.path();
    to.file = from.file();
    return {};
}

void put(const model::FileWatches &from, pb::FileWatches &to) {
    for (const auto &each : from.watches)
        put(each, *to.add_watches());
    to.set_unread(from.unread);
}

Result<> get(const pb::FileWatches &from, model::FileWatches &to) {
    TRY(get_all(from.watches(), to.watches));
    to.unread = from.unread();
    return {};
}

void put(const model::FileMark &from, pb::FileMark &to) {
    to.set_kind(from.kind);
    to.set_flags(from.flags);
    to.set_ignored(from.ignored);
    put(from.watch, *to.mutable_watch());
}

Result<> get(const pb::FileMark &from, model::FileMark &to) {
    to.kind = from.kind();
    to.flags = from.flags();
    to.ignored = from.ignored();
    return get(from.watch(), to.watch);
}

void put(const model::FileMarks &from, pb::FileMarks &to) {
    to.set_flags(from.flags);
    to.set_event_flags(from.event_flags);
    to.set_privileged(from.privileged);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    for (const auto &each : from.marks)
        put(each, *to.add_marks());
}

Result<> get(const pb::FileMarks &from, model::FileMarks &to) {
    to.flags = from.flags();
    to.event_flags = from.event_flags();
    to.privileged = from.privileged();
    to.uid = from.uid();
    to.gid = from.gid();
    return get_all(from.marks(), to.marks);
}

void put(const model::ProcessHandle &from, pb::ProcessHandle &to) {
    to.set_pid(from.pid);
    to.set_number(from.number);
}

Result<> get(const pb::ProcessHandle &from, model::ProcessHandle &to) {
    to.pid = from.pid();
    to.number = from.number();
    return {};
}

void put(const model::ProcessFile &from, pb::ProcessFile &to) {
    to.set_pid(from.pid);
    to.set_path(from.path);
    to.set_dead(from.dead);
}

Result<> get(const pb::ProcessFile &from, model::ProcessFile &to) {
    to.pid = from.pid();
    to.path = from.path();
    to.dead = from.dead();
    return {};
}

void put(const model::NamespaceFile &from, pb::NamespaceFile &to) {
    to.set_pid(from.pid);
    to.set_name(from.name);
    to.set_own_namespace(from.own_namespace);
}

Result<> get(const pb::NamespaceFile &from, model::NamespaceFile &to) {
    to.pid = from.pid();
    to.name = from.name();
    to.own_namespace = from.own_namespace();
    return {};
}

void put(const model::PosixMessage &from, pb::PosixMessage &to) {
    to.set_priority(from.priority);
    to.set_text(from.text);
}

Result<> get(const pb::PosixMessage &from, model::PosixMessage &to) {
    to.priority = from.priority();
    to.text = from.text();
    return {};
}

void put(const model::MessageQueue &from, pb::MessageQueue &to) {
    to.set_number(from.number);
    to.set_name(from.name);
    to.set_unlinked(from.unlinked);
    to.set_most_messages(from.most_messages);
    to.set_message_size(from.message_size);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_ipc_namespace(from.ipc_namespace);
    for (const auto &each : from.messages)
        put(each, *to.add_messages());
}

Result<> get(const pb::MessageQueue &from, model::MessageQueue &to) {
    to.number = from.number();
    to.name = from.name();
    to.unlinked = from.unlinked();
    to.most_messages = from.most_messages();
    to.message_size = from.message_size();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.ipc_namespace = from.ipc_namespace();
    return get_all(from.messages(), to.messages);
}

} // namespace abey::image
