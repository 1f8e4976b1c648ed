// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/kernel_types.h"

#include "engine/os/fd.h"

#include <cerrno>
#include <cstring>

#include <linux/btf.h>

namespace abey::os {

namespace {

constexpr size_t largest_description = 128U << 20U;
constexpr uint32_t kind_enum64 = 19; // Linux 6.0
constexpr int deepest_type = 16;

uint32_t kind_of(uint32_t info) { return BTF_INFO_KIND(info); }

// What follows struct btf_type.
size_t rest_of(uint32_t info) {
    const size_t count = BTF_INFO_VLEN(info);
    switch (kind_of(info)) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG:
        return sizeof(uint32_t);
    case BTF_KIND_ARRAY:
        return sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return count * sizeof(btf_member);
    case BTF_KIND_ENUM:
        return count * sizeof(btf_enum);
    case BTF_KIND_FUNC_PROTO:
        return count * sizeof(btf_param);
    case BTF_KIND_DATASEC:
        return count * sizeof(btf_var_secinfo);
    case kind_enum64:
        return count * 3 * sizeof(uint32_t);
    default:
        return 0;
    }
}

} // namespace

uint32_t KernelTypes::word(size_t at) const {
    uint32_t value = 0;
    if (at + sizeof value <= bytes_.size())
        std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
}

std::string_view KernelTypes::string_at(uint32_t offset) const {
    if (offset >= strings_size_)
        return {};
    const std::string_view rest = std::string_view(bytes_).substr(strings_ + offset, strings_size_ - offset);
    return rest.substr(0, rest.find('\0'));
}

std::string_view KernelTypes::name_of(size_t type) const { return string_at(word(type)); }

Result<KernelTypes> KernelTypes::read() {
    return parse(TRY(read_file("/sys/kernel/btf/vmlinux", largest_description)));
}

Result<KernelTypes> KernelTypes::parse(std::string bytes) {
    KernelTypes all;
    all.bytes_ = std::move(bytes);
    btf_header header = {};
    if (all.bytes_.size() < sizeof header)
        return fail(EBADMSG, "the description of the kernel's types is too short");
    std::memcpy(&header, all.bytes_.data(), sizeof header);
    const size_t begin = static_cast<size_t>(header.hdr_len) + header.type_off;
    const size_t end = begin + header.type_len;
    all.strings_ = static_cast<size_t>(header.hdr_len) + header.str_off;
    all.strings_size_ = header.str_len;
    if (header.magic != BTF_MAGIC || end > all.bytes_.size() || all.strings_ + all.strings_size_ > all.bytes_.size())
        return fail(EBADMSG, "the description of the kernel's types cannot be understood");
    all.types_.push_back(0);
    for (size_t at = begin; at + sizeof(btf_type) <= end;) {
        all.types_.push_back(static_cast<uint32_t>(at));
        at += sizeof(btf_type) + rest_of(all.word(at + sizeof(uint32_t)));
    }
    return all;
}

Result<uint32_t> KernelTypes::find(uint32_t kind, std::string_view name) const {
    for (size_t id = 1; id < types_.size(); ++id)
        if (kind_of(word(types_[id] + sizeof(uint32_t))) == kind && name_of(types_[id]) == name)
            return static_cast<uint32_t>(id);
    return fail(ENOENT, "this kernel has no {}", name);
}

Result<uint32_t> KernelTypes::function(std::string_view name) const { return find(BTF_KIND_FUNC, name); }

Result<uint32_t> KernelTypes::structure(std::string_view name) const { return find(BTF_KIND_STRUCT, name); }

uint32_t KernelTypes::without_names(uint32_t type) const {
    for (int depth = 0; depth < deepest_type && type < types_.size(); ++depth) {
        const size_t at = types_[type];
        const uint32_t kind = kind_of(word(at + sizeof(uint32_t)));
        if (kind != BTF_KIND_TYPEDEF && kind != BTF_KIND_CONST && kind != BTF_KIND_VOLATILE)
            break;
        type = word(at + 2 * sizeof(uint32_t));
    }
    return type;
}

bool KernelTypes::find_member(uint32_t type, std::string_view name, int depth, Member &found) const {
    type = without_names(type);
    if (type == 0 || type >= types_.size() || depth > deepest_type)
        return false;
    const size_t at = types_[type];
    const uint32_t info = word(at + sizeof(uint32_t));
    if (kind_of(info) != BTF_KIND_STRUCT && kind_of(info) != BTF_KIND_UNION)
        return false;
    for (uint32_t i = 0; i < BTF_INFO_VLEN(info); ++i) {
        const size_t member = at + sizeof(btf_type) + i * sizeof(btf_member);
        const uint32_t offset = BTF_INFO_KFLAG(info) ? BTF_MEMBER_BIT_OFFSET(word(member + 8)) : word(member + 8);
        const Member one = {word(member + 4), found.offset + offset};
        const std::string_view own = name_of(member);
        Member below = {0, one.offset};
        if (own == name) {
            found = one;
            return true;
        }
        if (own.empty() && find_member(one.type, name, depth + 1, below)) {
            found = below;
            return true;
        }
    }
    return false;
}

Result<KernelTypes::Member> KernelTypes::member(uint32_t structure, std::string_view path) const {
    Member found = {structure, 0};
    for (std::string_view rest = path; !rest.empty();) {
        const std::string_view name = rest.substr(0, rest.find('.'));
        rest.remove_prefix(std::min(rest.size(), name.size() + 1));
        if (!find_member(found.type, name, 0, found))
            return fail(ENOENT, "a structure of this kernel has no {}", path);
    }
    return found;
}

Result<uint32_t> KernelTypes::offset(uint32_t structure, std::string_view path) const {
    return TRY(member(structure, path)).offset / 8;
}

Result<uint32_t> KernelTypes::size(uint32_t structure, std::string_view path) const {
    const uint32_t type = without_names(TRY(member(structure, path)).type);
    if (type == 0 || type >= types_.size())
        return fail(ENOENT, "a structure of this kernel has no {}", path);
    return word(types_[type] + 2 * sizeof(uint32_t));
}

} // namespace abey::os
