// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dbus/names.h"

#include "engine/os/utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>

#include <systemd/sd-bus.h>

namespace abey::bus {
namespace {

constexpr size_t session_id_limit = 32;
constexpr size_t checkpoint_id_limit = 128;

// Not std::isalnum: that one asks the locale.
bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

struct Free {
    void operator()(char *text) const { std::free(text); }
};
using CText = std::unique_ptr<char, Free>;

// C0 and C1 control characters and DEL.
bool is_control(std::string_view sequence) {
    const auto first = static_cast<uint8_t>(sequence[0]);
    return first < 0x20 || first == 0x7F || (first == 0xC2 && static_cast<uint8_t>(sequence[1]) < 0xA0);
}

} // namespace

const char *error::of_failure(std::string_view word) {
    constexpr std::array known{policy_invalid, quota_exceeded, not_suspendable, diverged};
    const auto *const name = std::ranges::find_if(
        known, [&](std::string_view one) { return !word.empty() && one.substr(one.rfind('.') + 1) == word; });
    return name == known.end() ? failed : *name;
}

bool is_session_id(std::string_view text) {
    return !text.empty() && text.size() <= session_id_limit && std::ranges::all_of(text, is_alphanumeric);
}

bool is_checkpoint_id(std::string_view text) {
    return !text.empty() && text.size() <= checkpoint_id_limit && text.front() != '.' &&
           std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

std::string job_path(uint32_t number) { return fmt::format("{}/{}", job_prefix, number); }

std::string checkpoint_path(std::string_view id) {
    char *encoded = nullptr;
    // Fails only when out of memory, or for a prefix that is no path.
    if (::sd_bus_path_encode(checkpoint_prefix, std::string(id).c_str(), &encoded) < 0)
        std::abort();
    return CText(encoded).get();
}

Result<uint32_t> job_number(std::string_view path) {
    const auto prefix = std::string(job_prefix) + "/";
    uint32_t number = 0;
    if (path.starts_with(prefix)) {
        const auto digits = path.substr(prefix.size());
        const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error == std::errc{} && stop == digits.data() + digits.size() && number != 0 && !digits.starts_with('0'))
            return number;
    }
    return fail(EINVAL, "not the object path of a job: \"{}\"", path);
}

Result<std::string> checkpoint_id(std::string_view path) {
    char *decoded = nullptr;
    if (::sd_bus_path_decode(std::string(path).c_str(), checkpoint_prefix, &decoded) > 0) {
        const CText id(decoded);
        if (is_checkpoint_id(id.get()) && checkpoint_path(id.get()) == path)
            return std::string(id.get());
    }
    return fail(EINVAL, "not the object path of a checkpoint: \"{}\"", path);
}

bool is_utf8(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto length = utf8_length(bytes);
        if (length == 0)
            return false;
        bytes.remove_prefix(length);
    }
    return true;
}

std::string printable(std::string_view bytes) {
    std::string text;
    while (!bytes.empty()) {
        const auto length = utf8_length(bytes);
        const auto sequence = bytes.substr(0, std::max<size_t>(length, 1));
        if (length == 0 || is_control(sequence)) {
            for (const auto byte : sequence)
                text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
        } else {
            text += sequence;
        }
        bytes.remove_prefix(sequence.size());
    }
    return text;
}

std::string shortened(std::string_view bytes) {
    constexpr size_t shown = 64;
    return printable(bytes.substr(0, shown)) + (bytes.size() > shown ? "..." : "");
}

} // namespace abey::bus
