// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::Pipe &from, pb::Pipe &to) {
    to.set_id(from.id);
    to.set_number(from.number);
    to.set_size(from.size);
    to.set_contents(from.contents);
    to.set_inode(from.inode);
    for (const auto &each : from.packets)
        to.add_packets(each);
}

Result<> get(const pb::Pipe &from, model::Pipe &to) {
    to.id = from.id();
    to.number = from.number();
    to.size = from.size();
    to.contents = from.contents();
    to.inode = from.inode();
    to.packets.assign(from.packets().begin(), from.packets().end());
    return {};
}

void put(const model::SocketMessage &from, pb::SocketMessage &to) {
    to.set_data(from.data);
    for (const auto &each : from.rights)
        to.add_rights(each);
    to.set_source(from.source);
    to.set_sender_pid(from.sender_pid);
    to.set_sender_uid(from.sender_uid);
    to.set_sender_gid(from.sender_gid);
}

Result<> get(const pb::SocketMessage &from, model::SocketMessage &to) {
    to.data = from.data();
    to.rights.assign(from.rights().begin(), from.rights().end());
    to.source = from.source();
    to.sender_pid = from.sender_pid();
    to.sender_uid = from.sender_uid();
    to.sender_gid = from.sender_gid();
    return {};
}

void put(const model::SocketOptions &from, pb::SocketOptions &to) {
    to.set_send_buffer(from.send_buffer);
    to.set_receive_buffer(from.receive_buffer);
    to.set_pass_credentials(from.pass_credentials);
    to.set_pass_security(from.pass_security);
    to.set_peek_offset(from.peek_offset);
    to.set_linger(from.linger);
    to.set_linger_seconds(from.linger_seconds);
    to.set_receive_timeout_us(from.receive_timeout_us);
    to.set_send_timeout_us(from.send_timeout_us);
    to.set_priority(from.priority);
    to.set_low_water(from.low_water);
}

Result<> get(const pb::SocketOptions &from, model::SocketOptions &to) {
    to.send_buffer = from.send_buffer();
    to.receive_buffer = from.receive_buffer();
    to.pass_credentials = from.pass_credentials();
    to.pass_security = from.pass_security();
    to.peek_offset = from.peek_offset();
    to.linger = from.linger();
    to.linger_seconds = from.linger_seconds();
    to.receive_timeout_us = from.receive_timeout_us();
    to.send_timeout_us = from.send_timeout_us();
    to.priority = from.priority();
    to.low_water = from.low_water();
    return {};
}

void put(const model::UnixSocket &from, pb::UnixSocket &to) {
    to.set_id(from.id);
    to.set_number(from.number);
    to.set_type(from.type);
    to.set_state(static_cast<uint32_t>(from.state));
    to.set_name(from.name);
    to.set_name_mode(from.name_mode);
    to.set_name_uid(from.name_uid);
    to.set_name_gid(from.name_gid);
    to.set_name_unlinked(from.name_unlinked);
    to.set_directory(from.directory);
    to.set_backlog(from.backlog);
    to.set_peer(from.peer);
    to.set_peer_outside(from.peer_outside);
    to.set_reconnect(from.reconnect);
    to.set_greeting(from.greeting);
    to.set_peer_name(from.peer_name);
    to.set_read_shut(from.read_shut);
    to.set_write_shut(from.write_shut);
    put(from.options, *to.mutable_options());
    for (const auto &each : from.queue)
        put(each, *to.add_queue());
    for (const auto &each : from.pending)
        to.add_pending(each);
    to.set_owner_pid(from.owner_pid);
    to.set_owner_uid(from.owner_uid);
    to.set_owner_gid(from.owner_gid);
    to.mutable_owner_groups()->Add(from.owner_groups.begin(), from.owner_groups.end());
    to.set_peer_pid(from.peer_pid);
    to.set_peer_uid(from.peer_uid);
    to.set_peer_gid(from.peer_gid);
    to.mutable_peer_groups()->Add(from.peer_groups.begin(), from.peer_groups.end());
}

Result<> get(const pb::UnixSocket &from, model::UnixSocket &to) {
    to.id = from.id();
    to.number = from.number();
    to.type = from.type();
    to.state = TRY(enumerator(from.state(), model::SocketState::connected, "UnixSocket.state"));
    to.name = from.name();
    to.name_mode = from.name_mode();
    to.name_uid = from.name_uid();
    to.name_gid = from.name_gid();
    to.name_unlinked = from.name_unlinked();
    to.directory = from.directory();
    to.backlog = from.backlog();
    to.peer = from.peer();
    to.peer_outside = from.peer_outside();
    to.reconnect = from.reconnect();
    to.greeting = from.greeting();
    to.peer_name = from.peer_name();
    to.read_shut = from.read_shut();
    to.write_shut = from.write_shut();
    TRY(get(from.options(), to.options));
    TRY(get_all(from.queue(), to.queue));
    to.pending.assign(from.pending().begin(), from.pending().end());
    to.owner_pid = from.owner_pid();
    to.owner_uid = from.owner_uid();
    to.owner_gid = from.owner_gid();
    to.owner_groups.assign(from.owner_groups().begin(), from.owner_groups().end());
    to.peer_pid = from.peer_pid();
    to.peer_uid = from.peer_uid();
    to.peer_gid = from.peer_gid();
    to.peer_groups.assign(from.peer_groups().begin(), from.peer_groups().end());
    return {};
}

void put(const model::Terminal &from, pb::Terminal &to) {
    to.set_id(from.id);
    to.set_index(from.index);
    to.set_master_inside(from.master_inside);
    to.set_settings(from.settings);
    to.set_locked_settings(from.locked_settings);
    to.set_rows(from.rows);
    to.set_columns(from.columns);
    to.set_x_pixels(from.x_pixels);
    to.set_y_pixels(from.y_pixels);
    to.set_session(from.session);
    to.set_foreground(from.foreground);
    to.set_packet_mode(from.packet_mode);
    to.set_exclusive(from.exclusive);
    to.set_locked(from.locked);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    for (const auto &line : from.lines)
        to.add_lines(line);
    to.set_input(from.input);
    to.set_output(from.output);
    to.set_replaced(from.replaced);
}

Result<> get(const pb::Terminal &from, model::Terminal &to) {
    to.id = from.id();
    to.index = from.index();
    to.master_inside = from.master_inside();
    to.settings = from.settings();
    to.locked_settings = from.locked_settings();
    to.rows = TRY(narrow(from.rows(), "Terminal.rows"));
    to.columns = TRY(narrow(from.columns(), "Terminal.columns"));
    to.x_pixels = TRY(narrow(from.x_pixels(), "Terminal.x_pixels"));
    to.y_pixels = TRY(narrow(from.y_pixels(), "Terminal.y_pixels"));
    to.session = from.session();
    to.foreground = from.foreground();
    to.packet_mode = from.packet_mode();
    to.exclusive = from.exclusive();
    to.locked = from.locked();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.lines.assign(from.lines().begin(), from.lines().end());
    to.input = from.input();
    to.output = from.output();
    to.replaced = from.replaced();
    return {};
}

} // namespace abey::image
