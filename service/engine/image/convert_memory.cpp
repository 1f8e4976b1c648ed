// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::PageRun &from, pb::PageRun &to) {
    to.set_address(from.address);
    to.set_length(from.length);
    to.set_offset(from.offset);
}

Result<> get(const pb::PageRun &from, model::PageRun &to) {
    to.address = from.address();
    to.length = from.length();
    to.offset = from.offset();
    return {};
}

void put(const model::Mapping &from, pb::Mapping &to) {
    to.set_start(from.start);
    to.set_end(from.end);
    to.set_protection(from.protection);
    to.set_shared(from.shared);
    to.set_grows_down(from.grows_down);
    to.set_kind(static_cast<uint32_t>(from.kind));
    to.set_file(from.file);
    to.set_file_offset(from.file_offset);
    for (const auto &each : from.vm_flags)
        to.add_vm_flags(each);
    to.set_anonymous_name(from.anonymous_name);
    to.set_huge_page_shift(from.huge_page_shift);
}

Result<> get(const pb::Mapping &from, model::Mapping &to) {
    to.start = from.start();
    to.end = from.end();
    to.protection = from.protection();
    to.shared = from.shared();
    to.grows_down = from.grows_down();
    to.kind = TRY(enumerator(from.kind(), model::MappingKind::request_ring, "Mapping.kind"));
    to.file = from.file();
    to.file_offset = from.file_offset();
    to.vm_flags.assign(from.vm_flags().begin(), from.vm_flags().end());
    to.anonymous_name = from.anonymous_name();
    to.huge_page_shift = from.huge_page_shift();
    return {};
}

void put(const model::MemoryLayout &from, pb::MemoryLayout &to) {
    to.set_start_code(from.start_code);
    to.set_end_code(from.end_code);
    to.set_start_data(from.start_data);
    to.set_end_data(from.end_data);
    to.set_start_brk(from.start_brk);
    to.set_brk(from.brk);
    to.set_start_stack(from.start_stack);
    to.set_arg_start(from.arg_start);
    to.set_arg_end(from.arg_end);
    to.set_env_start(from.env_start);
    to.set_env_end(from.env_end);
    to.set_auxv(from.auxv);
}

Result<> get(const pb::MemoryLayout &from, model::MemoryLayout &to) {
    to.start_code = from.start_code();
    to.end_code = from.end_code();
    to.start_data = from.start_data();
    to.end_data = from.end_data();
    to.start_brk = from.start_brk();
    to.brk = from.brk();
    to.start_stack = from.start_stack();
    to.arg_start = from.arg_start();
    to.arg_end = from.arg_end();
    to.env_start = from.env_start();
    to.env_end = from.env_end();
    to.auxv = from.auxv();
    return {};
}

void put(const model::RequestRing &from, pb::RequestRing &to) {
    to.set_address(from.address);
    to.set_count(from.count);
    to.set_head(from.head);
    to.set_tail(from.tail);
    to.set_events(from.events);
}

Result<> get(const pb::RequestRing &from, model::RequestRing &to) {
    to.address = from.address();
    to.count = from.count();
    to.head = from.head();
    to.tail = from.tail();
    to.events = from.events();
    return {};
}

void put(const model::AddressSpace &from, pb::AddressSpace &to) {
    to.set_id(from.id);
    put(from.layout, *to.mutable_layout());
    to.set_executable(from.executable);
    for (const auto &each : from.mappings)
        put(each, *to.add_mappings());
    for (const auto &each : from.pages)
        put(each, *to.add_pages());
    for (const auto &each : from.guards)
        put(each, *to.add_guards());
    for (const auto &each : from.rings)
        put(each, *to.add_rings());
}

Result<> get(const pb::AddressSpace &from, model::AddressSpace &to) {
    to.id = from.id();
    TRY(get(from.layout(), to.layout));
    to.executable = from.executable();
    TRY(get_all(from.mappings(), to.mappings));
    TRY(get_all(from.pages(), to.pages));
    TRY(get_all(from.guards(), to.guards));
    return get_all(from.rings(), to.rings);
}

void put(const model::SharedMemory &from, pb::SharedMemory &to) {
    to.set_id(from.id);
    to.set_kind(static_cast<uint32_t>(from.kind));
    to.set_name(from.name);
    to.set_size(from.size);
    to.set_seals(from.seals);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_key(from.key);
    to.set_identifier(from.identifier);
    to.set_creator_uid(from.creator_uid);
    to.set_creator_gid(from.creator_gid);
    to.set_removed(from.removed);
    to.set_ipc_namespace(from.ipc_namespace);
    to.set_huge_pages(from.huge_pages);
    to.set_huge_page_shift(from.huge_page_shift);
    for (const auto &each : from.pages)
        put(each, *to.add_pages());
}

Result<> get(const pb::SharedMemory &from, model::SharedMemory &to) {
    to.id = from.id();
    to.kind = TRY(enumerator(from.kind(), model::SharedMemory::Kind::system_v, "SharedMemory.kind"));
    to.name = from.name();
    to.size = from.size();
    to.seals = from.seals();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.key = from.key();
    to.identifier = from.identifier();
    to.creator_uid = from.creator_uid();
    to.creator_gid = from.creator_gid();
    to.removed = from.removed();
    to.ipc_namespace = from.ipc_namespace();
    to.huge_pages = from.huge_pages();
    to.huge_page_shift = from.huge_page_shift();
    TRY(get_all(from.pages(), to.pages));
    return {};
}

} // namespace abey::image
