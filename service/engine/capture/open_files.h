// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The open files and inodes that have been met, each once.
#pragma once

#include "engine/capture/fdinfo.h"
#include "engine/capture/kind.h"

#include <set>
#include <tuple>
#include <unordered_map>

namespace abey::capture {

// A target of an epoll file, as kcmp(2) KCMP_EPOLL_TFD names it.
struct EpollSlot {
    int epoll = -1; // our descriptor of it
    uint32_t number = 0;
    uint32_t occurrence = 0;
};

// Context::state. Keeps one descriptor of ours for each open file, so that kinds can look at it again in complete().
class OpenFiles {
  public:
    struct Entry {
        Entry(model::ObjRef id, Fd file, Seen first) : id(id), file(std::move(file)), seen(std::move(first)) {
            seen.file = &this->file;
            seen.info.clear();
        }
        Entry(const Entry &) = delete;
        Entry &operator=(const Entry &) = delete;
        ~Entry() = default;

        model::ObjRef id; // 0: was refused (preflight)
        Fd file;
        Seen seen; // where it was met first
    };

    // Where an open file is, or belongs: to search costs a dozen system calls, so it is done once.
    class Place;
    [[nodiscard]] Place look_for(const Fd &file, uint64_t inode);
    // Null when it has not been met yet.
    [[nodiscard]] const Entry *find(const EpollSlot &slot, uint64_t inode) const;
    [[nodiscard]] const Entry &held(model::ObjRef id) const { return *by_id_.at(id); }

    // `place`: what look_for() has told; others may have been added since.
    Result<> add(model::ObjRef id, const Seen &seen, const Place &place);

  private:
    // kcmp(2) tells an order of open files; the buckets keep the number of comparisons small in the usual case, the
    // order keeps it small when all are of one inode (anonymous inodes).
    struct Order {
        using is_transparent = void;
        pid_t self = ::getpid();
        bool operator()(const Entry &a, const Entry &b) const;
        bool operator()(const Entry &a, int b) const;
        bool operator()(int a, const Entry &b) const;
        bool operator()(const Entry &a, const EpollSlot &b) const;
        bool operator()(const EpollSlot &a, const Entry &b) const;
    };
    using Bucket = std::set<Entry, Order>;
    std::unordered_map<uint64_t, Bucket> buckets_; // by inode number
    std::unordered_map<model::ObjRef, const Entry *> by_id_;
    bool comparable_ = false; // kcmp(2) has worked

  public:
    class Place {
      public:
        [[nodiscard]] const Entry *found() const { return found_ ? &*at_ : nullptr; }

      private:
        friend class OpenFiles;
        Bucket *bucket_ = nullptr;
        Bucket::iterator at_; // or the one that comes after it
        bool found_ = false;
    };
};

// Context::state: inodes by device and number.
struct Inodes {
    struct Keep {
        model::ObjRef id = 0;
        Fd file;
        engine::FileUse use;
    };
    std::map<std::pair<uint64_t, uint64_t>, model::ObjRef> known;
    std::vector<Keep> keep; // those which rescue_files() has to look after
    std::map<std::tuple<uint64_t, uint64_t, uint32_t>, model::ObjRef> opened; // by us: inode and flags for open(2)
    int root_pid = 0;
    Fd root; // of root_pid
};

// The capture of Context::open_file without `seen` in the error, for findings; 0 when it was refused before.
Result<model::ObjRef> intern(Context &context, const Seen &seen);

// An open file of which we know only our own descriptor: in flight, or opened by us.
Result<Seen> look_at(int pid, const std::string &comm, const Fd &file);

} // namespace abey::capture
