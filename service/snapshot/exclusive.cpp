// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/exclusive.h"

#include "snapshot/area.h"
#include "snapshot/inode_search.h"
#include "snapshot/subvolume.h"

#include <string>
#include <unordered_set>
#include <vector>

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace abey::snapshot {
namespace {

constexpr size_t extents_at_once = 256;

// Counts each inode of a snapshot once, by whichever name it comes.
class Counter {
  public:
    static Result<Counter> make(const Fd &saved, MeasureUntil until) {
        return Counter(saved, TRY(stat_of(saved)).st_dev, until);
    }

    [[nodiscard]] bool late() const { return std::chrono::steady_clock::now() > until_; }
    [[nodiscard]] uint64_t bytes() const { return bytes_; }

    // `path` in the snapshot; a directory stands for all that is in it. False: the time is over.
    Result<bool> add(const std::string &path) {
        std::vector<std::string> waiting = {path};
        while (!waiting.empty()) {
            if (late())
                return false;
            const auto one = std::move(waiting.back());
            waiting.pop_back();
            // Without waiting for a fifo's other end
            const auto file = open_below(saved_, one, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOATIME);
            if (!file)
                continue; // a link, a socket: no data
            const auto status = TRY(stat_of(*file));
            if (status.st_dev != device_ || !seen_.insert(status.st_ino).second)
                continue; // or another subvolume
            if (S_ISDIR(status.st_mode))
                for (const auto &name : TRY(names_in(*file, ~size_t{0})))
                    waiting.push_back(one.empty() ? name : fmt::format("{}/{}", one, name));
            if (S_ISREG(status.st_mode))
                TRY(count(*file));
        }
        return true;
    }

  private:
    Counter(const Fd &saved, dev_t device, MeasureUntil until) : saved_(saved), device_(device), until_(until) {}

    Result<> count(const Fd &file) {
        std::vector<uint64_t> buffer((sizeof(fiemap) + extents_at_once * sizeof(fiemap_extent)) / sizeof(uint64_t) + 1);
        auto *map = reinterpret_cast<fiemap *>(buffer.data());
        for (uint64_t start = 0;;) {
            std::ranges::fill(buffer, 0);
            map->fm_start = start;
            map->fm_length = FIEMAP_MAX_OFFSET - start;
            map->fm_extent_count = extents_at_once;
            if (::ioctl(file.get(), FS_IOC_FIEMAP, map) < 0)
                return fail(errno, "cannot read the extents of a file in the snapshot");
            constexpr uint32_t not_its_own = FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_UNKNOWN;
            for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
                const auto &extent = map->fm_extents[i];
                if ((extent.fe_flags & not_its_own) == 0)
                    bytes_ += extent.fe_length;
                start = extent.fe_logical + extent.fe_length;
                if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0)
                    return {};
            }
            if (map->fm_mapped_extents == 0)
                return {};
        }
    }

    const Fd &saved_;
    dev_t device_;
    MeasureUntil until_;
    std::unordered_set<uint64_t> seen_;
    uint64_t bytes_ = 0;
};

// Names that mean another inode in the live directory by now, or nothing.
Result<bool> add_lost_names(const Fd &live, const Fd &saved, uint64_t inode, Counter &counter) {
    const auto then = TRY(path_of(saved, inode));
    const auto now = TRY(path_of(live, inode));
    if (!then)
        return true;
    const auto before = open_below(saved, *then);
    if (!before)
        return true;
    Fd after;
    if (now)
        after = open_below(live, *now).value_or(Fd());
    for (const auto &name : TRY(names_in(*before, ~size_t{0}))) {
        struct stat old {};
        struct stat present {};
        if (::fstatat(before->get(), name.c_str(), &old, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (after && ::fstatat(after.get(), name.c_str(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
            present.st_ino == old.st_ino)
            continue;
        if (!TRY(counter.add(then->empty() ? name : *then + "/" + name)))
            return false;
    }
    return true;
}

} // namespace

Result<std::optional<uint64_t>> exclusive_data(const Fd &live, const Fd &saved, uint64_t since, MeasureUntil until) {
    auto counter = TRY(Counter::make(saved, until));
    bool all = true;
    if (!live) {
        all = TRY(counter.add(""));
    } else {
        const VisitInode look = [&](uint64_t inode, const btrfs_inode_item &item) -> Result<bool> {
            all = !counter.late();
            if (le64toh(item.transid) <= since || !all)
                return all;
            const auto mode = le32toh(item.mode);
            if (!(S_ISREG(mode) || S_ISDIR(mode)) || !TRY(inode_of(saved, inode)))
                return true;
            if (S_ISDIR(mode)) {
                all = TRY(add_lost_names(live, saved, inode, counter));
            } else if (const auto path = TRY(path_of(saved, inode))) {
                all = TRY(counter.add(*path));
            }
            return all;
        };
        TRY(each_inode(live, BTRFS_FIRST_FREE_OBJECTID, BTRFS_LAST_FREE_OBJECTID, since + 1, look));
    }
    return all ? std::optional(counter.bytes()) : std::nullopt;
}

} // namespace abey::snapshot
