// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::FileSystemEntry &from, pb::FileSystemEntry &to) {
    to.set_path(from.path);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_rdev(from.rdev);
    put(from.atime, *to.mutable_atime());
    put(from.mtime, *to.mutable_mtime());
    to.set_target(from.target);
    to.set_inode(from.inode);
    to.set_link(from.link);
    for (const auto &[name, value] : from.xattrs) {
        auto &each = *to.add_xattrs();
        each.set_name(name);
        each.set_value(value);
    }
}

Result<> get(const pb::FileSystemEntry &from, model::FileSystemEntry &to) {
    to.path = from.path();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.rdev = from.rdev();
    TRY(get(from.atime(), to.atime));
    TRY(get(from.mtime(), to.mtime));
    to.target = from.target();
    to.inode = from.inode();
    to.link = from.link();
    for (const auto &each : from.xattrs())
        to.xattrs.emplace_back(each.name(), each.value());
    return {};
}

void put(const model::FileSystem &from, pb::FileSystem &to) {
    to.set_id(from.id);
    to.set_type(from.type);
    to.set_source(from.source);
    to.set_options(from.options);
    to.set_read_only(from.read_only);
    to.set_owner(from.owner);
    to.set_ns(from.ns);
    for (const auto &each : from.entries)
        put(each, *to.add_entries());
}

Result<> get(const pb::FileSystem &from, model::FileSystem &to) {
    to.id = from.id();
    to.type = from.type();
    to.source = from.source();
    to.options = from.options();
    to.read_only = from.read_only();
    to.owner = from.owner();
    to.ns = from.ns();
    return get_all(from.entries(), to.entries);
}

void put(const model::Mount &from, pb::Mount &to) {
    to.set_parent(from.parent);
    to.set_place(from.place);
    to.set_file_system(from.file_system);
    to.set_root(from.root);
    to.set_type(from.type);
    to.set_source_place(from.source_place);
    to.set_source_level(from.source_level);
    to.set_source_path(from.source_path);
    put(from.inode, *to.mutable_inode());
    to.set_attributes(from.attributes);
    to.set_unbindable(from.unbindable);
    to.set_shared(from.shared);
    to.set_master(from.master);
    to.set_shared_with_session(from.shared_with_session);
    to.set_slave_of_session(from.slave_of_session);
    to.set_locked(from.locked);
    to.set_locked_attributes(from.locked_attributes);
}

Result<> get(const pb::Mount &from, model::Mount &to) {
    to.parent = from.parent();
    to.place = from.place();
    to.file_system = from.file_system();
    to.root = from.root();
    to.type = from.type();
    to.source_place = from.source_place();
    to.source_level = from.source_level();
    to.source_path = from.source_path();
    TRY(get(from.inode(), to.inode));
    to.attributes = from.attributes();
    to.unbindable = from.unbindable();
    to.shared = from.shared();
    to.master = from.master();
    to.shared_with_session = from.shared_with_session();
    to.slave_of_session = from.slave_of_session();
    to.locked = from.locked();
    to.locked_attributes = from.locked_attributes();
    return {};
}

} // namespace abey::image
