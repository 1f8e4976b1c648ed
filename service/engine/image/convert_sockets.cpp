// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::SocketOption &from, pb::SocketOption &to) {
    to.set_level(from.level);
    to.set_name(from.name);
    to.set_value(from.value);
}

Result<> get(const pb::SocketOption &from, model::SocketOption &to) {
    to.level = from.level();
    to.name = from.name();
    to.value = from.value();
    return {};
}

void put(const model::SocketSettings &from, pb::SocketSettings &to) {
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_send_buffer(from.send_buffer);
    to.set_receive_buffer(from.receive_buffer);
    to.set_buffer_locks(from.buffer_locks);
    for (const auto &each : from.options)
        put(each, *to.add_options());
}

Result<> get(const pb::SocketSettings &from, model::SocketSettings &to) {
    to.uid = from.uid();
    to.gid = from.gid();
    to.send_buffer = from.send_buffer();
    to.receive_buffer = from.receive_buffer();
    to.buffer_locks = from.buffer_locks();
    TRY(get_all(from.options(), to.options));
    return {};
}

void put(const model::GroupMembership &from, pb::GroupMembership &to) {
    to.set_interface(from.interface);
    to.set_group(from.group);
    to.set_only_sources(from.only_sources);
    for (const auto &each : from.sources)
        to.add_sources(each);
}

Result<> get(const pb::GroupMembership &from, model::GroupMembership &to) {
    to.interface = from.interface();
    to.group = from.group();
    to.only_sources = from.only_sources();
    to.sources.assign(from.sources().begin(), from.sources().end());
    return {};
}

void put(const model::InetDatagram &from, pb::InetDatagram &to) {
    to.set_source(from.source);
    to.set_data(from.data);
}

Result<> get(const pb::InetDatagram &from, model::InetDatagram &to) {
    to.source = from.source();
    to.data = from.data();
    return {};
}

void put(const model::TcpRepair &from, pb::TcpRepair &to) {
    to.set_send_sequence(from.send_sequence);
    to.set_receive_sequence(from.receive_sequence);
    to.set_largest_segment(from.largest_segment);
    to.set_window_scaling(from.window_scaling);
    to.set_selective_acknowledgement(from.selective_acknowledgement);
    to.set_timestamps(from.timestamps);
    to.set_send_scale(from.send_scale);
    to.set_receive_scale(from.receive_scale);
    to.set_timestamp(from.timestamp);
    to.set_window(from.window);
    to.set_state(from.state);
    to.set_unsent(from.unsent);
}

Result<> get(const pb::TcpRepair &from, model::TcpRepair &to) {
    to.send_sequence = from.send_sequence();
    to.receive_sequence = from.receive_sequence();
    to.largest_segment = from.largest_segment();
    to.window_scaling = from.window_scaling();
    to.selective_acknowledgement = from.selective_acknowledgement();
    to.timestamps = from.timestamps();
    to.send_scale = from.send_scale();
    to.receive_scale = from.receive_scale();
    to.timestamp = from.timestamp();
    to.window = from.window();
    to.state = from.state();
    to.unsent = from.unsent();
    return {};
}

void put(const model::InetSocket &from, pb::InetSocket &to) {
    to.set_id(from.id);
    to.set_number(from.number);
    to.set_family(from.family);
    to.set_type(from.type);
    to.set_protocol(from.protocol);
    to.set_state(static_cast<uint32_t>(from.state));
    to.set_local(from.local);
    to.set_remote(from.remote);
    put(from.settings, *to.mutable_settings());
    to.set_backlog(from.backlog);
    to.set_read_shut(from.read_shut);
    to.set_write_shut(from.write_shut);
    for (const auto &each : from.groups)
        put(each, *to.add_groups());
    for (const auto &each : from.datagrams)
        put(each, *to.add_datagrams());
    to.set_peer(from.peer);
    to.set_listener(from.listener);
    to.set_end_received(from.end_received);
    to.set_error_pending(from.error_pending);
    to.set_action(static_cast<uint32_t>(from.action));
    to.set_unread(from.unread);
    to.set_unacknowledged(from.unacknowledged);
    put(from.repair, *to.mutable_repair());
}

Result<> get(const pb::InetSocket &from, model::InetSocket &to) {
    to.id = from.id();
    to.number = from.number();
    to.family = from.family();
    to.type = from.type();
    to.protocol = from.protocol();
    to.state = TRY(enumerator(from.state(), model::InetState::dead, "InetSocket.state"));
    to.local = from.local();
    to.remote = from.remote();
    TRY(get(from.settings(), to.settings));
    to.backlog = from.backlog();
    to.read_shut = from.read_shut();
    to.write_shut = from.write_shut();
    TRY(get_all(from.groups(), to.groups));
    TRY(get_all(from.datagrams(), to.datagrams));
    to.peer = from.peer();
    to.listener = from.listener();
    to.end_received = from.end_received();
    to.error_pending = from.error_pending();
    to.action = TRY(enumerator(from.action(), model::PeerAction::fail, "InetSocket.action"));
    to.unread = from.unread();
    to.unacknowledged = from.unacknowledged();
    TRY(get(from.repair(), to.repair));
    return {};
}

void put(const model::InetSocketFile &from, pb::InetSocketFile &to) { to.set_socket(from.socket); }

Result<> get(const pb::InetSocketFile &from, model::InetSocketFile &to) {
    to.socket = from.socket();
    return {};
}

void put(const model::NetlinkSocket &from, pb::NetlinkSocket &to) {
    put(from.settings, *to.mutable_settings());
    to.set_type(from.type);
    to.set_protocol(from.protocol);
    to.set_port(from.port);
    for (const auto &each : from.groups)
        to.add_groups(each);
    to.set_connected(from.connected);
    to.set_peer_port(from.peer_port);
    to.set_peer_groups(from.peer_groups);
}

Result<> get(const pb::NetlinkSocket &from, model::NetlinkSocket &to) {
    TRY(get(from.settings(), to.settings));
    to.type = from.type();
    to.protocol = from.protocol();
    to.port = from.port();
    to.groups.assign(from.groups().begin(), from.groups().end());
    to.connected = from.connected();
    to.peer_port = from.peer_port();
    to.peer_groups = from.peer_groups();
    return {};
}

void put(const model::PacketRing &from, pb::PacketRing &to) {
    to.set_block_size(from.block_size);
    to.set_blocks(from.blocks);
    to.set_frame_size(from.frame_size);
    to.set_frames(from.frames);
    to.set_timeout(from.timeout);
    to.set_private_size(from.private_size);
    to.set_features(from.features);
}

Result<> get(const pb::PacketRing &from, model::PacketRing &to) {
    to.block_size = from.block_size();
    to.blocks = from.blocks();
    to.frame_size = from.frame_size();
    to.frames = from.frames();
    to.timeout = from.timeout();
    to.private_size = from.private_size();
    to.features = from.features();
    return {};
}

void put(const model::PacketMembership &from, pb::PacketMembership &to) {
    to.set_device(from.device);
    to.set_type(from.type);
    to.set_count(from.count);
    to.set_address(from.address);
}

Result<> get(const pb::PacketMembership &from, model::PacketMembership &to) {
    to.device = from.device();
    to.type = from.type();
    to.count = from.count();
    to.address = from.address();
    return {};
}

void put(const model::PacketSocket &from, pb::PacketSocket &to) {
    put(from.settings, *to.mutable_settings());
    to.set_type(from.type);
    to.set_protocol(from.protocol);
    to.set_device(from.device);
    to.set_version(from.version);
    to.set_reserve(from.reserve);
    to.set_copy_threshold(from.copy_threshold);
    to.set_timestamp(from.timestamp);
    to.set_fanout(from.fanout);
    for (const auto &each : from.memberships)
        put(each, *to.add_memberships());
    put(from.receive_ring, *to.mutable_receive_ring());
    put(from.send_ring, *to.mutable_send_ring());
}

Result<> get(const pb::PacketSocket &from, model::PacketSocket &to) {
    TRY(get(from.settings(), to.settings));
    to.type = from.type();
    to.protocol = from.protocol();
    to.device = from.device();
    to.version = from.version();
    to.reserve = from.reserve();
    to.copy_threshold = from.copy_threshold();
    to.timestamp = from.timestamp();
    to.fanout = from.fanout();
    TRY(get_all(from.memberships(), to.memberships));
    TRY(get(from.receive_ring(), to.receive_ring));
    return get(from.send_ring(), to.send_ring);
}

} // namespace abey::image
