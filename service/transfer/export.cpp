// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/image.h"
#include "engine/machine.h"
#include "engine/os/program.h"
#include "snapshot/received.h"
#include "store/records.h"
#include "transfer/filter.h"
#include "transfer/header.h"
#include "transfer/stream.h"
#include "transfer/transfer.h"

#include <optional>

#include <nlohmann/json.hpp>

namespace abey::transfer {
namespace {

bool lies_in(const std::string &path, const std::string &directory) { return path.starts_with(directory + "/"); }

// What was kept in dedicated areas goes along where these are part of the home.
Result<> check_kept_files(const model::Tree &tree, const std::string &home) {
    for (const auto &[id, inode] : tree.inodes)
        if (!inode.kept.place.empty() && (home.empty() || !lies_in(inode.kept.place, home)))
            return fail(ENOTSUP,
                        "the file {} is kept outside of checkpoint and home, in {}: suspend the session with a policy "
                        "that embeds it (strategy = \"embed\")",
                        inode.path, inode.kept.place);
    return {};
}

Result<> write_home(Writer &stream, const std::string &path) {
    Result<> written;
    const auto output = [&](std::string_view piece) {
        if (written)
            written = stream.record("home", piece);
    };
    const auto packed =
        run_program({.arguments = {"tar", "--create", "--file=-", "--format=posix", "--numeric-owner",
                                   "--one-file-system", "--sparse", "--acls", "--xattrs", "--xattrs-include=*",
                                   "--warning=no-file-ignored", "--directory=" + path, "."}},
                    output);
    TRY(std::move(written));
    if (!packed)
        return std::unexpected(packed.error());
    return {};
}

Result<> write_stream(Writer &stream, const store::Store &store, const store::Checkpoint &checkpoint,
                      const image::Reader &image, const std::optional<snapshot::Readable> &home) {
    const auto images = store.images(checkpoint.about.id);
    TRY(stream.begin());
    TRY(stream.record("about", header_of(checkpoint)));
    if (const auto pictures = TRY(store.pictures(checkpoint.about.id)); !pictures.empty())
        TRY(stream.record("pictures", store::to_json(pictures)));
    const auto manifest = TRY(read_file(images + "/manifest", manifest_limit));
    TRY(stream.record("manifest", manifest));
    for (const auto &[name, size] : image.files()) {
        const auto file = TRY(open_file(fmt::format("{}/{}", images, name), O_RDONLY | O_NOFOLLOW));
        TRY_IN(stream.file("file", file, size), "{}", name);
    }
    if (home && checkpoint.home) {
        const auto list = TRY(snapshot::list_of(*checkpoint.home));
        TRY(stream.record("list", list.text()));
        TRY_IN(write_home(stream, home->path()), "home {}", checkpoint.home->home);
    }
    return stream.end();
}

} // namespace

Result<> export_checkpoint(const store::Store &store, const std::string &id, const Fd &out, const Progress &progress,
                           const Fd &stop) {
    const auto held = TRY(store.hold(id));
    const auto checkpoint = TRY(store.find(id));
    if (checkpoint.state != store::State::waiting)
        return fail(0, "checkpoint {} is {}: only one that waits can be exported", id,
                    store::name_of(checkpoint.state));
    const auto image = TRY(image::Reader::open(store.images(id)));
    TRY(image.verify());
    const auto tree = TRY(image.tree());
    if (!checkpoint.home && !checkpoint.about.home.empty())
        return fail(0, "checkpoint {}: its home was not saved with it", id);
    TRY_IN(check_kept_files(tree, checkpoint.home ? checkpoint.home->home : ""), "checkpoint {}", id);
    std::optional<snapshot::Readable> home;
    uint64_t all = 0;
    if (checkpoint.home) {
        home.emplace(TRY_IN(snapshot::Readable::of(*checkpoint.home), "checkpoint {}", id));
        all += TRY(snapshot::list_of(*checkpoint.home)).bytes();
    }
    for (const auto &[name, size] : image.files())
        all += size;

    auto pipe = TRY(make_pipe());
    auto packer = TRY(Filter::start({"zstd", "-q", "-c", "-T0", "-3"}, pipe.read, out));
    pipe.read.reset();
    uint64_t done = 0;
    Writer stream(
        pipe.write,
        [&](uint64_t bytes) {
            done += bytes;
            if (progress)
                progress(done, all);
        },
        stop);
    const auto written = write_stream(stream, store, checkpoint, image, home);
    pipe.write.reset();
    // When it has ended early, it knows why.
    if (auto packed = packer.wait(); !packed)
        return within(std::move(packed).error(), "checkpoint {}", id);
    return written;
}

} // namespace abey::transfer
