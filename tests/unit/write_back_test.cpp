// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/write_back.h"

#include "files_fixture.h"

#include <chrono>
#include <thread>

#include <linux/fiemap.h>
#include <linux/fs.h>

using namespace abey;
using namespace abey::test;
namespace fs = std::filesystem;

namespace {

// Does data wait in memory for its place on the disk? Unlike fiemap's own FIEMAP_FLAG_SYNC, asking changes nothing.
bool waits(const Fd &file) {
    constexpr size_t most = 8;
    std::vector<std::byte> room(sizeof(fiemap) + most * sizeof(fiemap_extent));
    auto *map = reinterpret_cast<fiemap *>(room.data());
    map->fm_length = ~0ULL;
    map->fm_extent_count = most;
    EXPECT_EQ(::ioctl(file.get(), FS_IOC_FIEMAP, map), 0);
    return std::ranges::any_of(std::span(map->fm_extents, map->fm_mapped_extents),
                               [](const fiemap_extent &extent) { return extent.fe_flags & FIEMAP_EXTENT_DELALLOC; });
}

// A page's write-back ends before btrfs has entered it into the file's tree, which a worker of the kernel does soon
// after (end_bbio_data_write and btrfs_finish_ordered_io in fs/btrfs); the kernel itself writes after 30 s
// (proc_sys_vm(5), dirty_expire_centisecs).
bool settles(const Fd &file) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (waits(file)) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

} // namespace

TEST_F(Files, NamelessOnesAreWrittenBackBeforeTheFreeze) {
    NEED_DISK("btrfs");
    bool left_alone = false;
    // where memory is short the kernel writes everything at any moment: then it is tried again
    for (int attempt = 0; attempt < 20 && !left_alone; ++attempt) {
        const Fd named = make_file(home_ + "/named", std::string(1U << 20U, 'n'));
        const Fd file = make_file(home_ + "/file", std::string(1U << 20U, 'f'));
        fs::remove(home_ + "/file");
        if (!waits(file))
            continue;
        files::write_back(::getpid(), must(read_file("/proc/self/maps")));
        left_alone = waits(named);
        EXPECT_TRUE(settles(file));
    }
    EXPECT_TRUE(left_alone) << "the home's files are the home's business";
}

TEST_F(Files, NamelessMappingsAreWrittenBackBeforeTheFreeze) {
    NEED_DISK("btrfs");
    Fd file = make_file(home_ + "/mapped", "");
    ASSERT_EQ(::ftruncate(file.get(), 8192), 0);
    auto *memory = static_cast<char *>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(memory, MAP_FAILED);
    fs::remove(home_ + "/mapped");
    file.reset();
    memory[5000] = 'Z';
    const std::string link = fmt::format("/proc/self/map_files/{:x}-{:x}", reinterpret_cast<uintptr_t>(memory),
                                         reinterpret_cast<uintptr_t>(memory) + 8192);
    ASSERT_TRUE(waits(must(open_file(link, O_RDONLY))));
    files::write_back(::getpid(), must(read_file("/proc/self/maps")));
    EXPECT_TRUE(settles(must(open_file(link, O_RDONLY))));
    ::munmap(memory, 8192);
}
