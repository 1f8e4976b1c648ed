// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/mount_table.h"

#include "engine/os/fd.h"
#include "engine/os/mounts.h"

#include <algorithm>
#include <map>
#include <sstream>

#include <linux/mount.h>

namespace abey::os {

namespace {

constexpr size_t most_text = 64U << 20U;

uint64_t attributes_of(std::string_view options) {
    uint64_t attributes = MOUNT_ATTR_STRICTATIME;
    constexpr uint64_t times = MOUNT_ATTR__ATIME;
    std::istringstream words{std::string(options)};
    for (std::string word; std::getline(words, word, ',');) {
        if (word == "ro")
            attributes |= MOUNT_ATTR_RDONLY;
        else if (word == "nosuid")
            attributes |= MOUNT_ATTR_NOSUID;
        else if (word == "nodev")
            attributes |= MOUNT_ATTR_NODEV;
        else if (word == "noexec")
            attributes |= MOUNT_ATTR_NOEXEC;
        else if (word == "nodiratime")
            attributes |= MOUNT_ATTR_NODIRATIME;
        else if (word == "nosymfollow")
            attributes |= MOUNT_ATTR_NOSYMFOLLOW;
        else if (word == "noatime")
            attributes = (attributes & ~times) | MOUNT_ATTR_NOATIME;
        else if (word == "relatime")
            attributes = (attributes & ~times) | MOUNT_ATTR_RELATIME;
    }
    return attributes;
}

Result<MountLine> parse_line(const std::string &line) {
    MountLine mount;
    std::istringstream words(line);
    std::string device, root, place, attributes;
    if (!(words >> mount.id >> mount.parent >> device >> root >> place >> attributes) ||
        device.find(':') == std::string::npos)
        return fail(0, "cannot understand this line of /proc/PID/mountinfo: {}", line);
    mount.major = static_cast<unsigned>(std::atoi(device.c_str()));
    mount.minor = static_cast<unsigned>(std::atoi(device.c_str() + device.find(':') + 1));
    mount.root = unescaped_field(root);
    mount.place = unescaped_field(place);
    mount.attributes = attributes_of(attributes);
    for (std::string word; words >> word && word != "-";) {
        const size_t colon = word.find(':');
        const int group = colon == std::string::npos ? 0 : std::atoi(word.c_str() + colon + 1);
        if (word.starts_with("shared:"))
            mount.shared = group;
        else if (word.starts_with("master:"))
            mount.master = group;
        else if (word == "unbindable")
            mount.unbindable = true;
    }
    // an empty source is shown as nothing at all
    std::string rest;
    std::getline(words, rest);
    std::istringstream last(rest);
    std::vector<std::string> parts;
    for (std::string word; last >> word;)
        parts.push_back(word);
    if (parts.size() < 2)
        return fail(0, "cannot understand this line of /proc/PID/mountinfo: {}", line);
    mount.type = unescaped_field(parts.front());
    mount.options = unescaped_field(parts.back());
    if (parts.size() > 2)
        mount.source = unescaped_field(parts[1]);
    return mount;
}

} // namespace

Result<MountTable> parse_mounts(std::string_view text) {
    std::map<int, MountLine> lines;
    std::istringstream input{std::string(text)};
    for (std::string line; std::getline(input, line);) {
        MountLine mount = TRY(parse_line(line));
        lines.emplace(mount.id, std::move(mount));
    }
    std::multimap<int, int> children;
    MountTable table;
    for (const auto &[id, mount] : lines) {
        children.emplace(mount.parent, id);
        if (mount.place == "/" && !lines.contains(mount.parent))
            table.push_back(mount);
    }
    if (table.size() != 1)
        return fail(0, "/proc/PID/mountinfo tells of {} mounts at the root", table.size());
    for (size_t i = 0; i < table.size(); ++i) {
        const auto [first, last] = children.equal_range(table[i].id);
        for (auto child = first; child != last; ++child)
            if (child->second != table[i].id) {
                table.push_back(lines.at(child->second));
                table.back().above = i;
            }
    }
    if (table.size() != lines.size())
        return fail(0, "/proc/PID/mountinfo tells of mounts without a parent");
    return table;
}

Result<MountTable> read_mounts(int pid) {
    return parse_mounts(TRY(read_file(fmt::format("/proc/{}/mountinfo", pid), most_text)));
}

std::optional<std::string> below(std::string_view path, std::string_view directory) {
    if (directory == "/")
        return std::string(path.substr(std::min<size_t>(1, path.size())));
    if (!path.starts_with(directory))
        return std::nullopt;
    path.remove_prefix(directory.size());
    if (path.empty())
        return "";
    if (path.front() != '/')
        return std::nullopt;
    return std::string(path.substr(1));
}

uint32_t level_of(const MountTable &table, size_t index) {
    uint32_t level = 0;
    while (index != 0 && table[table[index].above].place == table[index].place) {
        index = table[index].above;
        ++level;
    }
    return level;
}

std::vector<size_t> in_the_way(const MountTable &table, size_t index) {
    std::vector<bool> own(table.size()), covers(table.size());
    for (size_t i = index;; i = table[i].above) {
        own[i] = true;
        if (i == 0)
            break;
    }
    std::vector<size_t> all;
    for (size_t i = 1; i < table.size(); ++i) {
        const MountLine &mount = table[i];
        covers[i] = !own[i] && (covers[mount.above] || (own[mount.above] && below(table[index].place, mount.place)));
        if (covers[i])
            all.push_back(i);
    }
    std::ranges::reverse(all); // children first
    return all;
}

} // namespace abey::os
