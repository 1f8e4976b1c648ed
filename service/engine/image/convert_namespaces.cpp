// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert_parts.h"

namespace abey::image {

void put(const model::CgroupFile &from, pb::CgroupFile &to) {
    to.set_name(from.name);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_value(from.value);
}

Result<> get(const pb::CgroupFile &from, model::CgroupFile &to) {
    to = {from.name(), from.mode(), from.uid(), from.gid(), from.value()};
    return {};
}

void put(const model::Cgroup &from, pb::Cgroup &to) {
    to.set_path(from.path);
    to.set_threaded(from.threaded);
    to.set_mode(from.mode);
    to.set_uid(from.uid);
    to.set_gid(from.gid);
    to.set_controllers(from.controllers);
    for (const auto &each : from.files)
        put(each, *to.add_files());
}

Result<> get(const pb::Cgroup &from, model::Cgroup &to) {
    to.path = from.path();
    to.threaded = from.threaded();
    to.mode = from.mode();
    to.uid = from.uid();
    to.gid = from.gid();
    to.controllers = from.controllers();
    return get_all(from.files(), to.files);
}

void put(const model::NamespaceSetting &from, pb::NamespaceSetting &to) {
    to.set_name(from.name);
    to.set_value(from.value);
}

Result<> get(const pb::NamespaceSetting &from, model::NamespaceSetting &to) {
    to.name = from.name();
    to.value = from.value();
    return {};
}

void put(const model::IdRange &from, pb::IdRange &to) {
    to.set_inside(from.inside);
    to.set_outside(from.outside);
    to.set_count(from.count);
}

Result<> get(const pb::IdRange &from, model::IdRange &to) {
    to.inside = from.inside();
    to.outside = from.outside();
    to.count = from.count();
    return {};
}

void put(const model::Namespace &from, pb::Namespace &to) {
    to.set_id(from.id);
    to.set_type(from.type);
    for (const auto &each : from.settings)
        put(each, *to.add_settings());
    to.set_host_name(from.host_name);
    to.set_domain_name(from.domain_name);
    to.set_owner(from.owner);
    to.set_creator(from.creator);
    for (const auto &each : from.uids)
        put(each, *to.add_uids());
    for (const auto &each : from.gids)
        put(each, *to.add_gids());
    to.set_setgroups_denied(from.setgroups_denied);
    to.set_loopback_up(from.loopback_up);
    for (const auto &each : from.mounts)
        put(each, *to.add_mounts());
    to.set_parent(from.parent);
    to.set_cgroup(from.cgroup);
    to.set_monotonic(from.monotonic);
    to.set_boottime(from.boottime);
}

Result<> get(const pb::Namespace &from, model::Namespace &to) {
    to.id = from.id();
    to.type = from.type();
    TRY(get_all(from.settings(), to.settings));
    to.host_name = from.host_name();
    to.domain_name = from.domain_name();
    to.owner = from.owner();
    to.creator = from.creator();
    TRY(get_all(from.uids(), to.uids));
    TRY(get_all(from.gids(), to.gids));
    to.setgroups_denied = from.setgroups_denied();
    to.loopback_up = from.loopback_up();
    TRY(get_all(from.mounts(), to.mounts));
    to.parent = from.parent();
    to.cgroup = from.cgroup();
    to.monotonic = from.monotonic();
    to.boottime = from.boottime();
    return {};
}

} // namespace abey::image
