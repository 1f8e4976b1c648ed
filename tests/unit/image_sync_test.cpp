// SPDX-License-Identifier: LGPL-2.1-or-later
//
// In what order an image gets to disk: a power loss at any moment leaves no manifest, or a whole checkpoint.
#include "engine/image/image.h"
#include "engine/os/fd.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::vector<std::string>
    log_of_calls; // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): the calls below see it

int synced(long number, int fd) {
    std::array<char, 4096> path{};
    const ssize_t size = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
    log_of_calls.emplace_back(path.data(), static_cast<size_t>(std::max<ssize_t>(size, 0)));
    return static_cast<int>(::syscall(number, fd));
}

} // namespace

// In the C library's place.
extern "C" {
int own_fsync(int fd) asm("fsync");
int own_fdatasync(int fd) asm("fdatasync");
int own_renameat(int from, const char *old_name, int to, const char *new_name) asm("renameat");
}
int own_fsync(int fd) { return synced(SYS_fsync, fd); }
int own_fdatasync(int fd) { return synced(SYS_fdatasync, fd); }
int own_renameat(int from, const char *old_name, int to, const char *new_name) {
    log_of_calls.emplace_back(std::string("rename to ") + new_name);
    return static_cast<int>(::syscall(SYS_renameat, from, old_name, to, new_name));
}

namespace abey::image {
namespace {

TEST(Commit, NamesTheManifestWhenAllElseIsOnDisk) {
    std::string pattern = std::filesystem::temp_directory_path() / "abeyance-image-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    const std::string &above = pattern;
    const std::string image = above + "/image";
    {
        auto writer = Writer::create(image);
        ASSERT_TRUE(writer) << writer.error().message();
        std::filesystem::create_directory(image + "/deleted");
        ASSERT_TRUE(write_file(image + "/deleted/1", "contents of a deleted file"));
        log_of_calls.clear();
        const auto done = writer->commit({});
        ASSERT_TRUE(done) << done.error().message();
    }
    const auto when = [&](const std::string &what) {
        return std::ranges::find(log_of_calls, what) - log_of_calls.begin();
    };
    const auto named = when("rename to manifest");
    ASSERT_LT(named, std::ssize(log_of_calls));
    for (const std::string name : {"/pages-1", "/deleted/1", "/deleted", "/manifest.tmp"})
        EXPECT_LT(when(image + name), named) << name;
    EXPECT_LT(when(above), named) << "the name of the image itself";
    EXPECT_EQ(log_of_calls.back(), image) << "and the manifest's name";
    std::filesystem::remove_all(above);
}

} // namespace
} // namespace abey::image
