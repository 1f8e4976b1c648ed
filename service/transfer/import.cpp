// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/image.h"
#include "engine/machine.h"
#include "engine/os/human_size.h"
#include "engine/os/user.h"
#include "engine/rebuild/vdso.h"
#include "snapshot/received.h"
#include "store/records.h"
#include "transfer/filter.h"
#include "transfer/header.h"
#include "transfer/stream.h"
#include "transfer/transfer.h"

#include <algorithm>
#include <set>

namespace abey::transfer {
namespace {

constexpr uint64_t tar_entry_cost = 64U << 10U; // header, names, extended attributes: more than that is refused

bool is_zero(std::string_view piece) { return piece.find_first_not_of('\0') == std::string_view::npos; }

// The names that an image has (docs/IMAGE-FORMAT.md), and no others.
bool is_image_file(std::string_view name) {
    constexpr std::string_view kept = "deleted/";
    if (name.starts_with(kept))
        name.remove_prefix(kept.size());
    else if (name == "manifest" || name == "manifest.tmp" || name == "deleted")
        return false;
    return store::is_id(name);
}

// The same person, with the same home: whom resumed processes belong to is a number in the image.
Result<> check_user(const store::About &about) {
    const auto user = TRY(os::find_user(about.user));
    if (!user)
        return fail(ENOENT, "the session is one of user {}, whom this machine does not know", about.user);
    if (user->uid != about.uid)
        return fail(EINVAL, "user {} has the id {} here, and {} in the session: they must be the same", about.user,
                    user->uid, about.uid);
    if (!about.home.empty() && about.home != user->home)
        return fail(EINVAL, "the home of user {} is {} here, and {} in the session: they must be the same", about.user,
                    user->home, about.home);
    return {};
}

// What never became a checkpoint, or does not stay one: first of all it is none any more. What cannot be removed now,
// or is not because we are killed, is by abeyd when it starts next.
Result<> take_back(const store::Store &store, const std::string &id) {
    const auto checkpoint = TRY(store.find(id));
    TRY(store.begin_removal(id));
    if (checkpoint.home) {
        const auto provider = TRY(snapshot::make_provider(checkpoint.home->provider, checkpoint.home->home));
        TRY(provider->remove(*checkpoint.home));
    } else if (!checkpoint.about.home.empty()) {
        TRY(snapshot::discard_saved(checkpoint.about.home, id));
    }
    return store.remove(id);
}

// An import of the same checkpoint that was killed, and that nobody is at any more.
Result<> clear_half_made(const store::Store &store, const std::string &id) {
    const auto found = store.find(id);
    // What a suspend has left has an image, and more than this to be cleared up.
    if (!found || found->state != store::State::incomplete || ::access(store.images(id).c_str(), F_OK) == 0)
        return {};
    const auto held = store.hold(id);
    return held ? take_back(store, id) : std::unexpected(held.error());
}

class Import {
  public:
    Import(const store::Store &store, Reader &stream, const Progress &progress, const uint64_t &done)
        : store_(store), stream_(stream), progress_(progress), done_(done) {}
    Import(const Import &) = delete;
    Import &operator=(const Import &) = delete;
    ~Import() {
        if (begun_ && !kept_)
            (void)take_back(store_, header_.about.id);
    }

    Result<Imported> run() {
        TRY(stream_.begin());
        const auto about = TRY(stream_.record("about", header_limit));
        header_ = TRY(header_from(about));
        TRY(check_user(header_.about));
        const auto &id = header_.about.id;
        TRY_IN(clear_half_made(store_, id), "what an earlier import has left");
        if (header_.has_home && !store_.find(id))
            TRY(snapshot::check_no_state(header_.about.home, id));
        TRY_IN(store_.begin(header_.about), "this machine has it already");
        begun_ = true;
        const auto held = TRY(store_.hold(id));
        TRY_IN(take_image(), "checkpoint {}", id);
        if (header_.has_home)
            TRY_IN(take_home(), "checkpoint {}", id);
        else if (TRY(stream_.next()).name != "end")
            return fail(EINVAL, "checkpoint {}: something follows the image", id);
        return finish();
    }

  private:
    [[nodiscard]] std::string place() const { return store_.directory(header_.about.id); }
    [[nodiscard]] std::string arriving() const { return place() + "/image.new"; }

    // Text of a record whose beginning was read.
    Result<std::string> text_of(const Record &record, size_t limit) {
        if (record.size > limit)
            return fail(EFBIG, "{} of \"{}\" are more than a checkpoint has", os::human_size(record.size), record.name);
        std::string text;
        TRY(stream_.pass(record.size, [&](std::string_view piece) -> Result<> {
            text += piece;
            return {};
        }));
        return text;
    }

    // What the screens showed may come before the manifest.
    Result<std::string> take_manifest() {
        auto record = TRY(stream_.next());
        if (record.name == "pictures") {
            const auto text = TRY(text_of(record, store::pictures_limit));
            pictures_ = TRY_IN(store::pictures_from_json(text), "what its screens showed");
            record = TRY(stream_.next());
        }
        if (record.name != "manifest")
            return fail(EINVAL, "the stream has \"{}\" where the manifest should be", record.name);
        return text_of(record, manifest_limit);
    }

    Result<> take_image() {
        const auto directory = arriving();
        for (const auto &path : {directory, directory + "/deleted"})
            if (::mkdir(path.c_str(), 0700) < 0)
                return fail(errno, "cannot make {}", path);
        {
            const auto file = TRY(open_file(directory + "/manifest", O_WRONLY | O_CREAT | O_EXCL, 0600));
            const auto manifest = TRY(take_manifest());
            TRY(write_all(file, manifest));
        }
        const auto image = TRY(image::Reader::open(directory));
        TRY(check_files(image.files()));
        for (const auto &[name, size] : image.files())
            TRY_IN(take_file(name, size), "{}", name);
        TRY(image.verify());
        const auto outline = TRY(image.outline());
        const auto here = TRY(engine::this_machine());
        TRY(engine::check_machine(outline.tree.machine, here));
        TRY(rebuild::other_vdso(outline.tree, image.details(outline)));
        return {};
    }

    Result<> check_files(const std::vector<std::pair<std::string, uint64_t>> &files) {
        std::set<std::string_view> seen;
        for (const auto &[name, size] : files) {
            if (!is_image_file(name) || !seen.insert(name).second)
                return fail(EINVAL, "the stream names a file \"{}\" that no image has", name.substr(0, 64));
            if (__builtin_add_overflow(all_, size, &all_))
                return fail(EFBIG, "the stream names sizes that cannot be");
        }
        const auto free = TRY(store_.free_space());
        if (free < store::kept_free || all_ > free - store::kept_free)
            return fail(ENOSPC, "it takes up to {}, and the store has {} left: make room", os::human_size(all_),
                        os::human_size(free));
        return {};
    }

    Result<> take_file(const std::string &name, uint64_t size) {
        const auto record = TRY(stream_.next());
        if (record.name != "file" || record.size != size)
            return fail(EINVAL, "the stream has {} bytes of \"{}\" where the manifest wants {}", record.size,
                        record.name, size);
        const auto file = TRY(open_file(arriving() + "/" + name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        uint64_t at = 0;
        const auto put = [&](std::string_view piece) -> Result<> {
            if (!is_zero(piece)) // else it stays a hole
                TRY(write_at(file, std::as_bytes(std::span(piece)), at));
            at += piece.size();
            tell();
            return {};
        };
        TRY(stream_.pass(size, put));
        if (::ftruncate(file.get(), static_cast<off_t>(size)) < 0 || ::fsync(file.get()) < 0)
            return fail(errno, "cannot bring {} to disk", name);
        return {};
    }

    // Of all that a tar of these files can take.
    static uint64_t most_of(const snapshot::Manifest &list) {
        uint64_t most = piece_size;
        for (const auto &entry : list.entries)
            if (__builtin_add_overflow(most, tar_entry_cost + (S_ISREG(entry.mode) ? entry.size : 0), &most))
                return UINT64_MAX;
        return most;
    }

    Result<> take_list(const std::string &path) {
        const auto record = TRY(stream_.next());
        if (record.name != "list" || record.size > snapshot::manifest_size_limit)
            return fail(EINVAL, "the stream holds no list of the home");
        const auto file = TRY(open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        TRY(stream_.pass(record.size, [&](std::string_view piece) { return write_all(file, piece); }));
        if (::fsync(file.get()) < 0)
            return fail(errno, "cannot bring {} to disk", path);
        return {};
    }

    Result<> take_home() {
        const auto path = place() + "/home.list";
        TRY(take_list(path));
        const auto directory = TRY(open_file(place(), O_RDONLY | O_DIRECTORY));
        const auto list = TRY(snapshot::Manifest::read(directory, "home.list"));
        all_ += list.bytes();
        auto received = TRY(snapshot::Received::begin(header_.about.home, list));
        TRY(unpack(received.tree(), most_of(list)));
        return store_.record_home(header_.about.id, TRY(received.finish(header_.about.id, list, path)));
    }

    // tar(1) as root, of what somebody else has packed, into an empty directory of root's alone. It takes no names with
    // "..", makes absolute ones relative, and makes links that lead out of the directory last of all, so that no name
    // can lead through one. What comes of it is compared with the list.
    Result<> unpack(const std::string &tree, uint64_t most) {
        auto pipe = TRY(make_pipe());
        const auto nothing = TRY(open_file("/dev/null", O_WRONLY));
        auto tar = TRY(
            Filter::start({"tar", "--extract", "--file=-", "--numeric-owner", "--same-owner", "--preserve-permissions",
                           "--acls", "--xattrs", "--xattrs-include=*", "--directory=" + tree},
                          pipe.read, nothing));
        pipe.read.reset();
        const auto fed = feed(pipe.write, most);
        pipe.write.reset();
        // A stream that is no archive is told by tar, unless it ended too early.
        if (!fed && fed.error().code() != EPIPE)
            return fed;
        return tar.wait();
    }

    Result<> feed(const Fd &tar, uint64_t most) {
        uint64_t taken = 0;
        for (;;) {
            const auto record = TRY(stream_.next());
            if (record.name == "end")
                return {};
            if (record.name != "home")
                return fail(EINVAL, "a record \"{}\" in the home", record.name);
            taken += record.size;
            if (taken > most)
                return fail(EFBIG, "the home is larger than its list says");
            TRY(stream_.pass(record.size, [&](std::string_view piece) {
                tell();
                return write_all(tar, piece);
            }));
        }
    }

    Result<Imported> finish() {
        const auto &about = header_.about;
        if (!header_.figures.empty())
            TRY(store_.record_figures(about.id, header_.figures));
        if (!pictures_.empty())
            TRY(store_.record_pictures(about.id, pictures_));
        TRY(stream_.go_on());
        // From here on it is a checkpoint.
        const auto images = store_.images(about.id);
        if (::rename(arriving().c_str(), images.c_str()) < 0)
            return fail(errno, "cannot rename {} to {}", arriving(), images);
        const auto directory = TRY(open_file(place(), O_RDONLY | O_DIRECTORY));
        if (::fsync(directory.get()) < 0)
            return fail(errno, "cannot bring {} to disk", place());
        kept_ = true;
        return Imported{.id = about.id, .user = about.user, .kept_running = about.kept_running};
    }

    void tell() const {
        if (progress_)
            progress_(done_, std::max(all_, done_));
    }

    const store::Store &store_;
    Reader &stream_;
    const Progress &progress_;
    const uint64_t &done_;
    Header header_;
    std::map<uint32_t, std::string> pictures_;
    uint64_t all_ = 0; // bytes, as far as is known
    bool begun_ = false, kept_ = false;
};

} // namespace

Result<Imported> import_checkpoint(const store::Store &store, const Fd &in, const Progress &progress, const Fd &stop) {
    auto pipe = TRY(make_pipe());
    auto unpacker = TRY(Filter::start({"zstd", "-q", "-d", "-c"}, in, pipe.write));
    pipe.write.reset();
    uint64_t done = 0;
    Reader stream(
        pipe.read, [&](uint64_t bytes) { done += bytes; }, stop);
    auto imported = Import(store, stream, progress, done).run();
    if (imported || imported.error().code() == ECANCELED)
        return imported;
    // What is no zstd gives an empty stream: it knows better. One that is killed for our sake knows nothing.
    pipe.read.reset();
    if (auto unpacked = unpacker.wait(); !unpacked && unpacked.error().message().starts_with("zstd: "))
        return within(std::move(unpacked).error(), "this is no whole stream of `abeyctl export`");
    return imported;
}

} // namespace abey::transfer
