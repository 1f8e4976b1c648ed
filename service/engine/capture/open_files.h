// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The open files and inodes that have been met, each once.
#pragma once

#include "engine/capture/fdinfo.h"
#include "engine/capture/kind.h"

#include <memory>
#include <optional>
#include <tuple>
#include <unordered_map>

namespace abey::capture {

// A target of an epoll file, as kcmp(2) KCMP_EPOLL_TFD names it.
struct EpollSlot {
    int epoll = -1; // our descriptor of it
    uint32_t number = 0;
    uint32_t occurrence = 0;
};

// Context::state. A task that stands still keeps its open files itself, and a session may have more of them than one
// process may have descriptors: so they are known by a descriptor of a task. The worker has descriptors of those which
// no task has one of (on their way in sockets, mapped), of those whose kind looks at them again in complete(), and of
// as many others as there is room for.
class OpenFiles {
  public:
    struct Entry {
        Entry(Fd file, Seen first) : file(std::move(file)), seen(std::move(first)) {
            seen.file = &this->file;
            seen.info.clear();
        }
        Entry(const Entry &) = delete;
        Entry &operator=(const Entry &) = delete;
        ~Entry() = default;

        Fd file;
        Seen seen; // where it was met first
    };

    // Where an open file is, or belongs: to search costs a dozen system calls, so it is done once.
    class Place {
      public:
        // The open file's id, 0 when it was refused (preflight); nothing when it has not been met yet.
        [[nodiscard]] std::optional<model::ObjRef> found() const { return found_; }

      private:
        friend class OpenFiles;
        size_t chunk_ = 0, index_ = 0; // or of the one that comes after it
        uint64_t added_ = 0;           // how many there were
        std::optional<model::ObjRef> found_;
    };
    [[nodiscard]] Place look_for(const Fd &file, uint64_t inode) const;
    // The same of an epoll target.
    [[nodiscard]] std::optional<model::ObjRef> find(const EpollSlot &slot, uint64_t inode) const;
    // Of a kind with Kind::held.
    [[nodiscard]] const Entry &held(model::ObjRef id) const { return *held_.at(id); }
    // Any other, got from its task again. In preflight that may have closed it meanwhile: EBADF.
    [[nodiscard]] Result<std::unique_ptr<Entry>> get(model::ObjRef id) const;
    // Without a look at what it is.
    [[nodiscard]] Result<Fd> file(model::ObjRef id) const;

    // `place`: what look_for() has told; others may have been added since.
    Result<> add(model::ObjRef id, const Seen &seen, Place place, bool hold);

  private:
    struct Known {
        uint64_t inode = 0;
        model::ObjRef id = 0; // 0: was refused (preflight)
        int pid = 0;          // who has it, maybe we ourselves, at the descriptor
        int number = -1;
    };
    template <class Before> [[nodiscard]] Place place_of(Before before) const;
    void insert(const Place &place, const Known &known);
    bool has_room();

    // By inode, and among those of one inode in the order that kcmp(2) tells. In pieces, so that neither a search nor
    // an insertion costs more comparisons than it must, or moves much.
    std::vector<std::vector<Known>> chunks_;
    uint64_t added_ = 0;
    std::unordered_map<model::ObjRef, std::unique_ptr<Entry>> held_;
    std::unordered_map<model::ObjRef, std::pair<int, int>> of_tasks_; // pid and descriptor
    std::vector<Fd> others_;
    std::optional<size_t> room_; // for others that are compared sooner by a descriptor of ours than by a task's
    int checked_pid_ = 0;
    bool checked_ = false;    // the descriptors of that process are what its pid leads to
    bool comparable_ = false; // kcmp(2) has worked
};

// Context::state: inodes by device and number.
struct Inodes {
    struct Keep {
        model::ObjRef id = 0;
        Fd file;
        engine::FileUse use;
    };
    std::map<std::tuple<uint64_t, uint64_t, uint64_t>, model::ObjRef> known; // and mount, 0: one of the session's
    std::map<std::pair<uint64_t, uint64_t>, model::ObjRef> kept;             // those whose contents are saved
    std::vector<Keep> keep; // those which rescue_files() has to look after
    // By us: inode, flags for open(2), mount, what apart_from_others() says.
    std::map<std::tuple<uint64_t, uint64_t, uint32_t, uint64_t, std::string>, model::ObjRef> opened;
    // Likewise by what the line of a mapping tells: device, inode, writable, path.
    std::map<std::tuple<uint64_t, uint64_t, bool, std::string>, model::ObjRef> mapped;
    int root_pid = 0;
    Fd root; // of root_pid
};

// The capture of Context::open_file without `seen` in the error, for findings; 0 when it was refused before.
Result<model::ObjRef> intern(Context &context, const Seen &seen);

// For Kind::complete of kinds that are held: `one` is called with each open file whose payload is of that kind. What
// fails is an obstacle when it is only to be told (preflight).
template <class Payload>
Result<> complete_each(Context &context, Result<> (*one)(Context &, const OpenFiles::Entry &, Payload &)) {
    for (auto &[id, file] : context.tree.open_files) {
        auto *payload = std::get_if<Payload>(&file.payload);
        if (payload == nullptr)
            continue;
        const auto &entry = context.state<OpenFiles>().held(id);
        auto done = one(context, entry, *payload);
        if (!done && !context.preflight)
            return within(std::move(done).error(), "{}", entry.seen.described());
        if (!done)
            context.findings.push_back({.pid = entry.seen.pid,
                                        .comm = entry.seen.comm,
                                        .object = fmt::format("descriptor {} ({})", entry.seen.number, entry.seen.link),
                                        .reason = done.error().message()});
    }
    return {};
}

// An open file of which we know only our own descriptor: in flight, or opened by us.
Result<Seen> look_at(int pid, const std::string &comm, const Fd &file);

} // namespace abey::capture
