// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/fingerprint.h"

#include "engine/image/digest.h"
#include "files/identity.h"
#include "policy/file_system.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <elf.h>
#include <sys/vfs.h>

namespace abey::files {

namespace {

constexpr size_t headers_limit = 128;
constexpr size_t notes_limit = 64U << 10U;
constexpr size_t build_id_limit = 64;

template <class T> bool read_whole(const Fd &file, T &value, uint64_t offset) {
    return read_at(file, std::as_writable_bytes(std::span(&value, 1)), offset).has_value();
}

// elf(5): each note is a header, a name and a description, the latter two padded to four bytes.
model::Bytes find_build_id(std::string_view notes) {
    constexpr auto padded = [](size_t size) { return (size + 3) / 4 * 4; };
    constexpr std::string_view owner("GNU\0", 4);
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note = {};
        std::memcpy(&note, notes.data(), sizeof note);
        notes.remove_prefix(sizeof note);
        if (note.n_namesz > notes.size() || padded(note.n_namesz) > notes.size())
            break;
        const auto name = notes.substr(0, note.n_namesz);
        notes.remove_prefix(padded(note.n_namesz));
        if (note.n_descsz > notes.size())
            break;
        if (note.n_type == NT_GNU_BUILD_ID && name == owner && note.n_descsz <= build_id_limit)
            return model::Bytes(notes.substr(0, note.n_descsz));
        notes.remove_prefix(std::min(padded(note.n_descsz), notes.size()));
    }
    return {};
}

bool is_on_disk(const Fd &file) {
    constexpr std::array<std::string_view, 10> disks = {"btrfs", "ext4",   "xfs",      "overlay",  "f2fs",
                                                        "zfs",   "nilfs2", "bcachefs", "squashfs", "erofs"};
    struct statfs fs = {};
    if (::fstatfs(file.get(), &fs) != 0)
        return false;
    const auto name = policy::file_system_name(static_cast<uint32_t>(fs.f_type));
    return std::ranges::find(disks, name) != disks.end();
}

bool same(const struct timespec &a, const struct timespec &b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

model::Content read_content(const Fd &file, uint64_t size) {
    model::Content content{.known = true, .build_id = build_id_of(file), .digest = {}};
    if (size > fingerprint_limit)
        return content;
    const auto blocks = image::digest_blocks(file, size);
    if (!blocks)
        return {};
    content.digest = image::to_hex(image::combine(*blocks));
    return content;
}

} // namespace

model::Bytes build_id_of(const Fd &file) {
    Elf64_Ehdr elf = {};
    if (!read_whole(file, elf, 0) || std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_phentsize != sizeof(Elf64_Phdr))
        return {};
    for (size_t i = 0; i < std::min<size_t>(elf.e_phnum, headers_limit); i++) {
        Elf64_Phdr header = {};
        if (!read_whole(file, header, elf.e_phoff + i * sizeof header))
            break;
        if (header.p_type != PT_NOTE || header.p_filesz > notes_limit)
            continue;
        std::string notes(header.p_filesz, '\0');
        if (!read_at(file, std::as_writable_bytes(std::span(notes)), header.p_offset))
            continue;
        if (auto id = find_build_id(notes); !id.empty())
            return id;
    }
    return {};
}

std::string hex(const model::Bytes &bytes) {
    std::string text;
    for (const char byte : bytes)
        text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    return text;
}

model::Content Fingerprints::of(const Fd &file) {
    const auto before = stat_of(file);
    if (!before || !S_ISREG(before->st_mode) || !is_on_disk(file))
        return {};
    const auto is_as = [](const struct stat &status, const Known &known) {
        return status.st_size == known.size && same(status.st_mtim, known.mtime) && same(status.st_ctim, known.ctime);
    };
    Known &known = known_[{before->st_dev, before->st_ino}];
    if (known.content.known && is_as(*before, known))
        return known.content;
    known = {.size = before->st_size, .mtime = before->st_mtim, .ctime = before->st_ctim, .content = {}};
    auto content = read_content(file, static_cast<uint64_t>(before->st_size));
    const auto after = stat_of(file);
    if (after && is_as(*after, known))
        known.content = std::move(content);
    return known.content;
}

void Fingerprints::look_ahead(int pid, std::string_view maps) {
    while (!maps.empty()) {
        const auto line = maps.substr(0, maps.find('\n'));
        maps.remove_prefix(std::min(line.size() + 1, maps.size()));
        // "START-END rw-p OFFSET DEVICE INODE   PATH" (proc_pid_maps(5))
        const auto range = line.substr(0, line.find(' '));
        const auto path = line.find('/');
        if (path == std::string_view::npos || line.ends_with(" (deleted)") || line.size() < range.size() + 6)
            continue;
        const auto permissions = line.substr(range.size() + 1, 4);
        const auto file = line.substr(range.size() + 6);
        const auto at = file.find(' '); // behind the offset
        if (permissions.substr(1, 1) == "w" && permissions.ends_with('s'))
            continue;
        if (at == std::string_view::npos || !looked_at_.emplace(file.substr(at)).second)
            continue;
        const auto link = fmt::format("/proc/{}/map_files/{}", pid, range);
        const auto found = open_file(link, O_PATH); // a device would notice more than this
        if (!found)
            continue;
        const auto status = stat_of(*found);
        if (!status || !S_ISREG(status->st_mode) || !is_on_disk(*found))
            continue;
        if (const auto readable = reopen(*found, O_RDONLY | O_NOATIME | O_NONBLOCK))
            (void)of(*readable);
    }
}

std::optional<std::string> other_contents(const model::Inode &saved, const Fd &now) {
    const auto status = stat_of(now);
    if (!status || !S_ISREG(status->st_mode) || !S_ISREG(saved.mode) || !saved.content.known)
        return "its contents are not known";
    if (status->st_uid != saved.uid)
        return fmt::format("it belonged to user {} and belongs to {}", saved.uid, status->st_uid);
    const auto readable = reopen(now, O_RDONLY | O_NOATIME | O_NONBLOCK);
    if (!readable)
        return readable.error().message();
    Fingerprints fingerprints;
    if (const auto id = build_id_of(*readable); id != saved.content.build_id)
        return fmt::format("its build-id was {} and is {}",
                           saved.content.build_id.empty() ? "none" : hex(saved.content.build_id),
                           id.empty() ? "none" : hex(id));
    if (static_cast<uint64_t>(status->st_size) != saved.size)
        return fmt::format("its size was {} and is {}", saved.size, status->st_size);
    const auto content = fingerprints.of(*readable);
    if (!content.known || content.digest != saved.content.digest)
        return "its contents are others";
    if (saved.content.digest.empty() && saved.content.build_id.empty() &&
        (status->st_mtim.tv_sec != saved.mtime.seconds ||
         static_cast<uint32_t>(status->st_mtim.tv_nsec) != saved.mtime.nanoseconds))
        return "it has been written to since";
    return std::nullopt;
}

} // namespace abey::files
