// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Files by what is in them: another inode with the same contents (a package that was installed again) is told from an
// upgrade.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace abey::files {

// Larger files are known by their build-id, or by size and time of modification.
inline constexpr uint64_t fingerprint_limit = 64U << 20U; // bytes

// Of an ELF file of 64 bits: the note that its linker has put in (elf(5), NT_GNU_BUILD_ID). Empty: it has none.
model::Bytes build_id_of(const Fd &file);
std::string hex(const model::Bytes &bytes);

// What is in a file, taken down ahead of time and used as long as the file's times say that nothing has changed.
// Only of regular files on file systems of disks: elsewhere (FUSE, NFS) reading may have to wait for somebody, who may
// stand still himself.
class Fingerprints {
  public:
    // `file` is read by pread(2): its position stays. Content::known is false when it could not be read, or changed
    // meanwhile.
    model::Content of(const Fd &file);
    // All files that a process has mapped, as its /proc/PID/maps tells; each once, also of several processes. What
    // cannot be looked at is left out.
    void look_ahead(int pid, std::string_view maps);

  private:
    struct Known {
        int64_t size = 0;
        struct timespec mtime = {}, ctime = {};
        model::Content content;
    };
    std::map<std::pair<dev_t, ino_t>, Known> known_;
    std::set<std::string, std::less<>> looked_at_; // device, inode number and path in a line of maps
};

// Why the open file has not the contents of the saved one; nothing when it has, and belongs to the same user. Asks
// nothing of inode numbers.
std::optional<std::string> other_contents(const model::Inode &saved, const Fd &now);

} // namespace abey::files
