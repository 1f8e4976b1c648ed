// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::IpcIdentity &from, pb::IpcIdentity &to) {
    to.set_identifier(from.identifier);
    to.set_key(from.key);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_creator_uid(from.creator_uid);
    to.set_creator_gid(from.creator_gid);
    to.set_mode(from.mode);
}

Result<> get(const pb::IpcIdentity &from, model::IpcIdentity &to) {
    to.identifier = from.identifier();
    to.key = from.key();
    to.uid = from.uid();
    to.gid = from.gid();
    to.creator_uid = from.creator_uid();
    to.creator_gid = from.creator_gid();
    to.mode = from.mode();
    return {};
}

void put(const model::Semaphore &from, pb::Semaphore &to) {
    to.set_value(from.value);
    to.set_last_user(from.last_user);
}

Result<> get(const pb::Semaphore &from, model::Semaphore &to) {
    to.value = from.value();
    to.last_user = from.last_user();
    return {};
}

void put(const model::SemaphoreSet &from, pb::SemaphoreSet &to) {
    to.set_id(from.id);
    put(from.identity, *to.mutable_identity());
    for (const auto &each : from.semaphores)
        put(each, *to.add_semaphores());
    to.set_ipc_namespace(from.ipc_namespace);
}

Result<> get(const pb::SemaphoreSet &from, model::SemaphoreSet &to) {
    to.id = from.id();
    TRY(get(from.identity(), to.identity));
    to.ipc_namespace = from.ipc_namespace();
    return get_all(from.semaphores(), to.semaphores);
}

void put(const model::IpcMessage &from, pb::IpcMessage &to) {
    to.set_type(from.type);
    to.set_text(from.text);
}

Result<> get(const pb::IpcMessage &from, model::IpcMessage &to) {
    to.type = from.type();
    to.text = from.text();
    return {};
}

void put(const model::IpcQueue &from, pb::IpcQueue &to) {
    to.set_id(from.id);
    put(from.identity, *to.mutable_identity());
    to.set_most_bytes(from.most_bytes);
    to.set_last_sender(from.last_sender);
    to.set_last_receiver(from.last_receiver);
    for (const auto &each : from.messages)
        put(each, *to.add_messages());
    to.set_ipc_namespace(from.ipc_namespace);
}

Result<> get(const pb::IpcQueue &from, model::IpcQueue &to) {
    to.id = from.id();
    TRY(get(from.identity(), to.identity));
    to.most_bytes = from.most_bytes();
    to.last_sender = from.last_sender();
    to.last_receiver = from.last_receiver();
    to.ipc_namespace = from.ipc_namespace();
    return get_all(from.messages(), to.messages);
}

} // namespace abey::image
