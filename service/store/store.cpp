// SPDX-License-Identifier: LGPL-2.1-or-later
#include "store/store.h"

#include "engine/os/date.h"
#include "store/records.h"

#include <algorithm>
#include <filesystem>

#include <sys/file.h>

namespace abey::store {
namespace {

constexpr size_t id_limit = 128;
constexpr size_t checkpoint_limit = 10'000;
constexpr std::string_view removing_prefix = ".removing-";

Result<> sync_directory(const std::string &path) {
    const auto directory = TRY(open_file(path, O_RDONLY | O_DIRECTORY));
    if (::fsync(directory.get()) < 0)
        return fail(errno, "cannot write {} to disk", path);
    return {};
}

// A crash of the machine leaves the old record or the new one; when the function has returned, the new one.
Result<> write_record(const std::string &directory, const char *name, std::string_view data) {
    const auto path = directory + "/" + name;
    const auto temporary = path + ".new";
    {
        const auto file = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
        TRY_IN(write_all(file, data), "{}", temporary);
        if (::fsync(file.get()) < 0)
            return fail(errno, "cannot write {} to disk", temporary);
    }
    if (::rename(temporary.c_str(), path.c_str()) < 0)
        return fail(errno, "cannot rename {} to {}", temporary, path);
    return sync_directory(directory);
}

// None is no error.
Result<> remove_record(const std::string &directory, const char *name) {
    const auto path = directory + "/" + name;
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return fail(errno, "cannot remove {}", path);
    return sync_directory(directory);
}

// Nothing when there is no such record.
template <class T>
Result<std::optional<T>> read_record(const std::string &path, Result<T> (*parse)(std::string_view text)) {
    const auto text = read_file(path, record_limit);
    if (text)
        return TRY_IN(parse(*text), "{}", path);
    if (text.error().code() == ENOENT)
        return std::nullopt;
    return std::unexpected(text.error());
}

bool exists(const std::string &path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0;
}

Result<> checked_id(const std::string &id) {
    if (!is_id(id))
        return fail(EINVAL, "not the id of a checkpoint: \"{}\"", id.substr(0, id_limit));
    return {};
}

} // namespace

bool is_id(std::string_view text) {
    return !text.empty() && text.size() <= id_limit && text.front() != '.' && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
    });
}

std::string_view name_of(State state) {
    switch (state) {
    case State::incomplete:
        return "incomplete";
    case State::waiting:
        return "waiting";
    case State::resumed:
        return "resumed";
    case State::removing:
        break;
    }
    return "removing";
}

std::string Store::directory(const std::string &id) const { return root_ + "/" + id; }

std::string Store::images(const std::string &id) const { return place_of(id) + "/image"; }

std::string Store::place_of(const std::string &id) const {
    auto removing = fmt::format("{}/{}{}", root_, removing_prefix, id);
    return exists(removing) ? removing : directory(id);
}

Result<> Store::begin(const About &about) const {
    TRY(checked_id(about.id));
    const auto place = directory(about.id);
    if (exists(place_of(about.id)))
        return fail(EEXIST, "checkpoint {}", about.id);
    if (::mkdir(place.c_str(), 0700) < 0)
        return fail(errno, "cannot make {}", place);
    TRY(write_record(place, "about.json", to_json(about)));
    return sync_directory(root_);
}

Result<Fd> Store::hold(const std::string &id) const {
    TRY(checked_id(id));
    if (!exists(place_of(id)))
        return fail(ENOENT, "there is no checkpoint {}", id);
    auto directory = TRY_IN(open_file(place_of(id), O_RDONLY | O_DIRECTORY | O_NOFOLLOW), "checkpoint {}", id);
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) < 0)
        return fail(errno == EWOULDBLOCK ? EBUSY : errno, "checkpoint {} is being made, resumed or removed", id);
    return directory;
}

Result<> Store::record_home(const std::string &id, const snapshot::Saved &saved) const {
    TRY(checked_id(id));
    return write_record(directory(id), "home.json", to_json(saved));
}

Result<> Store::record_displaced(const std::string &id, const snapshot::Displaced &displaced,
                                 const std::string &attempt) const {
    TRY(checked_id(id));
    // First what outlives the checkpoint: one too many is found out by a look at the place.
    const auto checkpoint = TRY(find(id));
    const auto records = displaced_records();
    if (::mkdir(records.c_str(), 0700) < 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", records);
    const uint64_t now = os::microseconds_of(CLOCK_REALTIME);
    const auto name = fmt::format("{}.{}", now, id).substr(0, id_limit);
    TRY(write_record(records, name.c_str(),
                     to_json(DisplacedHome{.name = name,
                                           .uid = checkpoint.about.uid,
                                           .checkpoint = id,
                                           .provider = checkpoint.home ? checkpoint.home->provider : "auto",
                                           .home = displaced,
                                           .created = now})));
    TRY(sync_directory(root_));
    auto recorded = write_record(directory(id), "displaced.json", to_json(DisplacedBy{displaced, attempt}));
    if (!recorded)
        (void)forget_displaced_home(name);
    return recorded;
}

Result<> Store::forget_displaced(const std::string &id) const {
    TRY(checked_id(id));
    return remove_record(directory(id), "displaced.json");
}

Result<> Store::record_private_home(const std::string &id, const PrivateHome &home) const {
    TRY(checked_id(id));
    return write_record(directory(id), "private.json", to_json(home));
}

Result<> Store::forget_private_home(const std::string &id) const {
    TRY(checked_id(id));
    return remove_record(directory(id), "private.json");
}

Result<std::vector<DisplacedHome>> Store::displaced_homes() const {
    std::vector<DisplacedHome> homes;
    std::error_code error;
    std::filesystem::directory_iterator entry(displaced_records(), error);
    if (error == std::errc::no_such_file_or_directory)
        return homes;
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
        const auto name = entry->path().filename().string();
        if (!is_id(name) || name.ends_with(".new"))
            continue;
        if (homes.size() == checkpoint_limit)
            return fail(EFBIG, "{}: more than {} homes", displaced_records(), checkpoint_limit);
        auto home = TRY(read_record(entry->path(), displaced_home_from_json));
        if (!home)
            continue; // removed meanwhile
        home->name = name;
        homes.push_back(std::move(*home));
    }
    if (error)
        return fail(error.value(), "cannot list {}", displaced_records());
    std::ranges::sort(homes, [](const DisplacedHome &one, const DisplacedHome &other) {
        return std::tie(one.created, one.name) < std::tie(other.created, other.name);
    });
    return homes;
}

bool is_under_way(const Checkpoint &checkpoint, const DisplacedHome &home) {
    return checkpoint.state == State::waiting &&
           checkpoint.displaced.value_or(snapshot::Displaced()).place == home.home.place;
}

Result<> Store::sweep_displaced_homes() const {
    for (const auto &one : TRY(displaced_homes())) {
        // Without the directory that it was in, its file system may only not be mounted.
        const auto above = std::filesystem::path(one.home.place).parent_path().string();
        if (exists(above) && !exists(one.home.place))
            TRY(forget_displaced_home(one.name));
    }
    return {};
}

Result<> Store::forget_displaced_home(const std::string &name) const {
    TRY(checked_id(name));
    const auto path = displaced_records() + "/" + name;
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return fail(errno, "cannot remove {}", path);
    return sync_directory(displaced_records());
}

Result<> Store::record_figures(const std::string &id, const std::map<std::string, uint64_t> &figures) const {
    TRY(checked_id(id));
    return write_record(directory(id), "report.json", to_json(figures));
}

Result<> Store::record_pictures(const std::string &id, const std::map<uint32_t, std::string> &pictures) const {
    TRY(checked_id(id));
    return write_record(directory(id), "pictures.json", to_json(pictures));
}

Result<std::map<uint32_t, std::string>> Store::pictures(const std::string &id) const {
    TRY(checked_id(id));
    const auto path = directory(id) + "/pictures.json";
    const auto text = read_file(path, pictures_limit);
    if (!text && text.error().code() == ENOENT)
        return std::map<uint32_t, std::string>();
    if (!text)
        return std::unexpected(text.error());
    return TRY_IN(pictures_from_json(*text), "{}", path);
}

Result<> Store::record_measured(const std::string &id, const Measured &measured) const {
    TRY(checked_id(id));
    return write_record(directory(id), "measured.json", to_json(measured));
}

Result<> Store::mark_resumed(const std::string &id) const {
    TRY(checked_id(id));
    const auto place = directory(id);
    auto marked = write_record(place, "resumed", "");
    if (!marked) // perhaps it is there, and only not known to be on disk
        ::unlink((place + "/resumed").c_str());
    return marked;
}

Result<> Store::set_pinned(const std::string &id, bool pinned) const {
    TRY(checked_id(id));
    const auto place = directory(id);
    const auto path = place + "/pinned";
    if (pinned)
        return write_record(place, "pinned", "");
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return fail(errno, "cannot remove {}", path);
    return sync_directory(place);
}

Result<Checkpoint> Store::find(const std::string &id) const {
    TRY(checked_id(id));
    const auto place = place_of(id);
    if (!exists(place))
        return fail(ENOENT, "there is no checkpoint {}", id);
    Checkpoint checkpoint;
    // Nothing but the id when the worker died at once
    checkpoint.about = TRY(read_record(place + "/about.json", about_from_json)).value_or(About{});
    checkpoint.about.id = id;
    checkpoint.home = TRY(read_record(place + "/home.json", saved_from_json));
    if (auto displaced = TRY(read_record(place + "/displaced.json", displaced_from_json))) {
        checkpoint.displaced = std::move(displaced->home);
        checkpoint.displaced_by = std::move(displaced->attempt);
    }
    checkpoint.private_home = TRY(read_record(place + "/private.json", private_home_from_json));
    using Figures = std::map<std::string, uint64_t>;
    checkpoint.figures = TRY(read_record(place + "/report.json", figures_from_json)).value_or(Figures());
    // Half written by a power loss: as if it were not there
    if (auto measured = read_record(place + "/measured.json", measured_from_json); measured)
        checkpoint.measured = std::move(*measured).value_or(Measured());
    checkpoint.pinned = exists(place + "/pinned");
    checkpoint.state = place != directory(id)               ? State::removing
                       : !exists(place + "/image/manifest") ? State::incomplete
                       : exists(place + "/resumed")         ? State::resumed
                                                            : State::waiting;
    return checkpoint;
}

Result<Store::Listed> Store::list() const { return list_if(std::nullopt); }

Result<Store::Listed> Store::list_if(std::optional<uint32_t> of) const {
    Listed listed;
    std::error_code error;
    std::filesystem::directory_iterator entry(root_, error);
    for (size_t seen = 0; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
        auto id = entry->path().filename().string();
        if (id.starts_with(removing_prefix))
            id.erase(0, removing_prefix.size());
        if (!is_id(id))
            continue;
        if (++seen > checkpoint_limit)
            return fail(EFBIG, "{}: more than {} checkpoints", root_, checkpoint_limit);
        if (of)
            if (const auto read = read_record(place_of(id) + "/about.json", about_from_json))
                if (const auto &about = *read; !about || about->uid != *of)
                    continue;
        if (auto checkpoint = find(id); checkpoint)
            listed.checkpoints.push_back(std::move(*checkpoint));
        else if (checkpoint.error().code() != ENOENT) // it was removed meanwhile
            listed.unreadable.push_back(std::move(checkpoint).error());
    }
    if (error)
        return fail(error.value(), "cannot list {}", root_);
    std::ranges::sort(listed.checkpoints, [](const Checkpoint &one, const Checkpoint &other) {
        return std::tie(one.about.created, one.about.id) < std::tie(other.about.created, other.about.id);
    });
    return listed;
}

Result<uint64_t> Store::size_of(const std::string &id) const {
    TRY(checked_id(id));
    constexpr uint64_t block = 512; // stat(2): st_blocks
    uint64_t size = 0;
    std::error_code error;
    std::filesystem::recursive_directory_iterator entry(place_of(id), error);
    for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
        struct stat status {};
        if (::lstat(entry->path().c_str(), &status) != 0)
            continue;
        // one name is among the shared ones
        const uint64_t users = S_ISREG(status.st_mode) && status.st_nlink > 1 ? status.st_nlink - 1 : 1;
        size += static_cast<uint64_t>(status.st_blocks) * block / users;
    }
    if (error)
        return fail(error.value(), "cannot measure checkpoint {}", id);
    return size;
}

Result<> Store::begin_removal(const std::string &id) const {
    TRY(checked_id(id));
    const auto place = directory(id);
    const auto removing = fmt::format("{}/{}{}", root_, removing_prefix, id);
    if (::rename(place.c_str(), removing.c_str()) < 0 && (errno != ENOENT || !exists(removing)))
        return fail(errno, "cannot remove checkpoint {}", id);
    return sync_directory(root_);
}

Result<> Store::remove(const std::string &id) const {
    TRY(begin_removal(id));
    std::error_code error;
    std::filesystem::remove_all(place_of(id), error); // does not follow symlinks
    if (error)
        return fail(error.value(), "cannot remove checkpoint {}", id);
    return sync_directory(root_);
}

} // namespace abey::store
