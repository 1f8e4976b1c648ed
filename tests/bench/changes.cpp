// SPDX-License-Identifier: LGPL-2.1-or-later
//
// How long it takes to tell what has changed in a large home on btrfs: bench-changes [FILES [CHANGED]]. One line for a
// table in docs/BENCHMARKS.md. Needs root: it makes a file system of its own.
#include "snapshot/manifest.h"
#include "snapshot/provider.h"
#include "snapshot/subvolume.h"

#include "../unit/disk.h"

#include <chrono>
#include <cstdlib>

namespace {

namespace fs = std::filesystem;
using namespace abey;

constexpr int files_in_directory = 100;
constexpr int rounds = 5;

std::string file_name(const std::string &home, int number) {
    return fmt::format("{}/d{}/f{}", home, number / files_in_directory, number);
}

template <class T> T or_end(Result<T> result) {
    if (result)
        return std::move(*result);
    fmt::print(stderr, "bench-changes: {}\n", result.error().message());
    std::exit(1);
}

// Milliseconds, the least of some rounds.
template <class Work> double least(Work work) {
    double best = 1e9;
    for (int round = 0; round < rounds; ++round) {
        const auto begin = std::chrono::steady_clock::now();
        work();
        best =
            std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
}

} // namespace

int main(int argc, char **argv) {
    const int files = argc > 1 ? std::atoi(argv[1]) : 200'000;
    const int changed = argc > 2 ? std::atoi(argv[2]) : 20;
    const test::Disk disk("btrfs", 4096);
    if (disk.path().empty() || files < 1 || changed < 1) {
        fmt::print(stderr, "bench-changes: {}\n", disk.why_not());
        return 1;
    }
    const auto home = disk.path() + "/ada";
    const auto parent = or_end(snapshot::open_directory(AT_FDCWD, disk.path()));
    if (!snapshot::make_subvolume(parent, "ada"))
        return 1;
    for (int i = 0; i < files; ++i) {
        if (i % files_in_directory == 0)
            fs::create_directory(fs::path(file_name(home, i)).parent_path());
        if (!write_file(file_name(home, i), std::to_string(i)))
            return 1;
    }
    const auto provider = or_end(snapshot::make_provider("btrfs", home));
    if (!provider->prepare())
        return 1;
    const auto saved = or_end(provider->save("one"));
    const double unchanged = least([&] { (void)or_end(provider->diverged(saved)); });
    for (int i = 0; i < changed; ++i)
        if (!write_file(file_name(home, i * (files / changed)), "changed"))
            return 1;
    ::syncfs(parent.get());
    size_t found = 0;
    const double diverged = least([&] { (void)or_end(provider->diverged(saved)); });
    const double list = least([&] { found = or_end(provider->changes(saved, 5000)).size(); });
    const double exclusive = least(
        [&] { (void)or_end(provider->exclusive(saved, std::chrono::steady_clock::now() + std::chrono::minutes(5))); });
    const auto directory = or_end(snapshot::open_directory(AT_FDCWD, home));
    const double walk = least([&] { (void)or_end(snapshot::Manifest::of(directory, home)); });
    fmt::print("| {} | {} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} |\n", files, found, unchanged, diverged, list,
               exclusive, walk);
}
