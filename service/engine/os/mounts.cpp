// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/mounts.h"

#include "engine/os/fd.h"

#include <algorithm>
#include <charconv>

namespace abey::os {
namespace {

std::string_view next_field(std::string_view &text) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

template <class T> bool number_in(std::string_view word, T &number) {
    return std::from_chars(word.data(), word.data() + word.size(), number).ec == std::errc();
}

// "8:1"
bool device_in(std::string_view word, MountEntry &entry) {
    const size_t colon = std::min(word.find(':'), word.size());
    return number_in(word.substr(0, colon), entry.major) &&
           number_in(word.substr(std::min(colon + 1, word.size())), entry.minor);
}

} // namespace

std::string unescaped_field(std::string_view field) {
    std::string plain;
    for (size_t i = 0; i < field.size(); ++i) {
        unsigned value = 0;
        if (field[i] == '\\' && field.size() - i > 3 &&
            std::from_chars(field.data() + i + 1, field.data() + i + 4, value, 8).ptr == field.data() + i + 4) {
            plain += static_cast<char>(value);
            i += 3;
        } else {
            plain += field[i];
        }
    }
    return plain;
}

std::vector<MountEntry> mounts_in(std::string_view mountinfo) {
    std::vector<MountEntry> all;
    while (!mountinfo.empty()) {
        const size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
        std::string_view line = mountinfo.substr(0, end);
        mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
        // id parent device root mount-point options [optional fields] - type source super-options
        const size_t separator = line.find(" - ");
        MountEntry entry;
        if (separator == std::string_view::npos || !number_in(next_field(line), entry.id) ||
            !number_in(next_field(line), entry.parent) || !device_in(next_field(line), entry))
            continue;
        entry.root = unescaped_field(next_field(line));
        entry.point = unescaped_field(next_field(line));
        entry.options = next_field(line);
        line.remove_prefix(line.find("- ") + 2);
        entry.type = next_field(line);
        entry.source = unescaped_field(next_field(line));
        all.push_back(std::move(entry));
    }
    return all;
}

Result<std::vector<MountEntry>> own_mounts() {
    const auto text = TRY(read_file("/proc/self/mountinfo"));
    return mounts_in(text);
}

} // namespace abey::os
