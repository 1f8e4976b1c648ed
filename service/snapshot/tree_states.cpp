// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree_states.h"

#include "snapshot/nilfs2.h"
#include "snapshot/subvolume.h"

#include <charconv>
#include <filesystem>

#include <sys/file.h>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view passing_prefix = "new-";
constexpr size_t word_limit = 4096;

} // namespace

std::string states_path(const std::string &parent) {
    return (parent == "/" ? "" : parent) + "/" + tree_area + "/snapshots";
}

std::string displaced_trees_path(const std::string &parent) {
    return (parent == "/" ? "" : parent) + "/" + tree_area + "/displaced";
}

std::optional<uint64_t> checkpoint_in(const std::string &path) {
    const auto text = read_file(path + "/checkpoint", word_limit);
    uint64_t number = 0;
    if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc() || number == 0)
        return std::nullopt;
    return number;
}

Result<> remove_state(const std::string &path) {
    if (const auto number = checkpoint_in(path)) {
        const auto directory = TRY(open_directory(AT_FDCWD, path));
        if (is_nilfs2(directory))
            TRY(release_checkpoint(directory, *number));
    }
    return remove_tree(path);
}

Result<> remove_tree(const std::string &path) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error)
        return fail(error.value(), "cannot remove {}", path);
    return {};
}

Result<Passing> Passing::make(const Fd &directory, const std::string &path) {
    Passing passing;
    std::string pattern = path + "/" + std::string(passing_prefix) + "XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr)
        return fail(errno, "cannot make a directory in {}", path);
    passing.path_ = pattern;
    passing.fd_ = TRY(open_directory(directory.get(), pattern.substr(path.size() + 1)));
    // Between mkdtemp and here a sweep may have taken it for somebody's who was killed.
    if (::flock(passing.fd_.get(), LOCK_EX | LOCK_NB) < 0)
        return fail(errno, "cannot lock {}", pattern);
    return passing;
}

Passing::~Passing() {
    if (!gone_ && fd_)
        (void)remove_state(path_); // if not now, then by the next sweep
}

Result<> Passing::become(const std::string &name) {
    const auto lasting = fs::path(path_).parent_path().string() + "/" + name;
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, lasting.c_str(), RENAME_NOREPLACE) < 0)
        return fail(errno, "cannot rename {} to {}", path_, name);
    path_ = lasting;
    gone_ = true;
    return {};
}

Result<> sweep(const Fd &directory, const std::string &path) {
    for (const auto &name : TRY(names_in(directory))) {
        if (!name.starts_with(passing_prefix))
            continue;
        const auto left = open_directory(directory.get(), name);
        if (!left || ::flock(left->get(), LOCK_EX | LOCK_NB) < 0)
            continue;
        TRY(remove_state(fmt::format("{}/{}", path, name)));
    }
    return {};
}

std::optional<Former> last_state(const std::string &states, const std::string &home_name, std::string_view kind) {
    const auto directory = open_directory(AT_FDCWD, states);
    if (!directory)
        return std::nullopt;
    const auto names = names_in(*directory);
    if (!names)
        return std::nullopt;
    std::string best;
    fs::file_time_type newest;
    for (const auto &name : *names) {
        const auto place = fmt::format("{}/{}", states, name);
        std::error_code error;
        const auto time = fs::last_write_time(place + "/manifest", error);
        if (error || name.starts_with(passing_prefix) || (!best.empty() && time <= newest))
            continue;
        if (read_file(place + "/home", word_limit).value_or("") != home_name ||
            read_file(place + "/kind", word_limit).value_or("") != kind)
            continue;
        best = place;
        newest = time;
    }
    if (best.empty())
        return std::nullopt;
    const auto place = open_directory(AT_FDCWD, best);
    if (!place)
        return std::nullopt;
    auto manifest = Manifest::read(*place, "manifest");
    if (!manifest)
        return std::nullopt; // a full copy is never wrong
    return Former{best, std::move(*manifest)};
}

} // namespace abey::snapshot
