// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/unheld.h"

#include "files/area.h"
#include "files/contents.h"
#include "files/identity.h"
#include "policy/policy.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

namespace abey::files {
namespace {

constexpr unsigned runtime_depth_limit = 32;
constexpr size_t runtime_names_limit = 100'000; // looked at; far more than may be kept

// An O_PATH descriptor of a directory's entry. One on another mount (EXDEV) is not even asked about: a FUSE server
// that belongs to the session could not answer.
Result<Fd> open_entry(const Fd &directory, const std::string &name) {
    struct open_how how = {};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const auto fd = ::syscall(SYS_openat2, directory.get(), name.c_str(), &how, sizeof how);
    if (fd < 0)
        return fail(errno, "{}", printable(name));
    return Fd(static_cast<int>(fd));
}

// RESOLVE_NO_SYMLINKS refuses a link even with O_NOFOLLOW (ELOOP, openat2(2)); one cannot be mounted on.
Result<Fd> open_entry_or_link(const Fd &directory, const std::string &name) {
    auto entry = open_entry(directory, name);
    if (!entry && entry.error().code() == ELOOP)
        return open_at(directory.get(), name, O_PATH | O_NOFOLLOW);
    return entry;
}

Result<std::vector<std::string>> names_in(const Fd &directory, size_t &left) {
    auto listed = TRY(open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_NOATIME));
    const std::unique_ptr<DIR, int (*)(DIR *)> entries(::fdopendir(listed.get()), ::closedir);
    if (!entries)
        return fail(errno, "cannot list it");
    (void)listed.release(); // closed with entries
    std::vector<std::string> names;
    for (const auto *entry = ::readdir(entries.get()); entry != nullptr; entry = ::readdir(entries.get())) {
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..")
            continue;
        if (left == 0)
            return fail(E2BIG, "more than {} names", runtime_names_limit);
        --left;
        names.emplace_back(name);
    }
    std::ranges::sort(names);
    return names;
}

class UnheldWalk {
  public:
    UnheldWalk(const policy::Policy &policy, model::Tree &tree, engine::FileKeeper *keeper)
        : policy_(policy), tree_(tree), keeper_(keeper) {
        for (const auto &[id, inode] : tree.inodes)
            if (inode.mount_namespace == 0)
                held_.emplace(inode.identity.device, inode.identity.number);
    }

    Result<> begin(const std::string &path) {
        const Fd top = TRY(open_file(path, O_PATH | O_DIRECTORY | O_NOFOLLOW));
        const auto status = TRY(stat_of(top));
        owner_ = status.st_uid;
        made_ = TRY(made_when(top));
        root_ = TRY(open_file("/", O_PATH | O_DIRECTORY));
        TRY(enter(top, path, 0));
        return {};
    }

    [[nodiscard]] uint64_t files() const { return files_; }
    [[nodiscard]] uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::string left_out(const std::string &directory) const {
        std::string text;
        const auto add = [&](const Left &left, std::string_view why) {
            if (left.count != 0)
                text += fmt::format("{}{} of {}{}: {}", text.empty() ? "" : "; ", printable(left.first), left.count,
                                    left.count == 1 ? "" : " in all", why);
        };
        add(too_many_, "more than max-files or max-size of [runtime-directory] allow");
        add(of_others_, "not the user's own");
        add(failed_, failure_);
        return text.empty() ? text : fmt::format("not kept of what lies in {}: {}", printable(directory), text);
    }

  private:
    struct Left {
        size_t count = 0;
        std::string first;
        void add(const std::string &path) {
            if (count++ == 0)
                first = path;
        }
    };

    // Is anything below kept?
    Result<bool> enter(const Fd &directory, const std::string &path, unsigned depth) {
        bool any = false;
        for (const std::string &name : TRY_IN(names_in(directory, left_), "{}", printable(path))) {
            const auto below = fmt::format("{}/{}", path, name);
            if (policy_.leaves_unheld(below))
                continue;
            const auto entry = open_entry_or_link(directory, name);
            if (!entry) {
                if (entry.error().code() != EXDEV && entry.error().code() != ENOENT)
                    fail_one(below, entry.error());
                continue;
            }
            if (TRY(one(*entry, below, depth)))
                any = true;
        }
        return any;
    }

    Result<bool> one(const Fd &entry, const std::string &path, unsigned depth) {
        const auto status = TRY(stat_of(entry));
        const bool held = held_.contains({status.st_dev, status.st_ino});
        if (S_ISDIR(status.st_mode)) {
            if (depth == runtime_depth_limit) {
                too_many_.add(path);
                return held;
            }
            if (TRY(enter(entry, path, depth + 1)))
                return true;
        }
        if (held)
            return true;
        if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
            return false;
        if (!policy_.keeps_unheld(path))
            return false;
        if (status.st_uid != owner_) {
            of_others_.add(path);
            return false;
        }
        return take(entry, path, status);
    }

    Result<bool> take(const Fd &entry, const std::string &path, const struct stat &status) {
        const auto &limits = policy_.unheld_limits();
        const uint64_t size = S_ISREG(status.st_mode) ? TRY(data_size(entry)) : 0;
        if (files_ >= limits.files || size > limits.size - bytes_) {
            too_many_.add(path);
            return false;
        }
        files_++;
        bytes_ += size;
        if (keeper_ == nullptr)
            return true;
        auto inode = keeper_->identify(entry, path, root_, false);
        if (inode && inode->naming != model::Naming::named)
            return false; // gone meanwhile
        auto kept = inode ? keeper_->keep_unheld(*inode, entry) : Result<>(std::unexpected(inode.error()));
        if (!kept) {
            // no room is what the rest of the checkpoint meets, too
            if (kept.error().code() == ENOSPC || kept.error().code() == EDQUOT)
                return within(std::move(kept).error(), "{}", printable(path));
            fail_one(path, kept.error());
            return false;
        }
        inode->file_system_made = made_;
        inode->id = tree_.next_id();
        tree_.inodes.emplace(inode->id, std::move(*inode));
        return true;
    }

    void fail_one(const std::string &path, const Error &error) {
        if (failed_.count == 0)
            failure_ = error.message();
        failed_.add(path);
    }

    const policy::Policy &policy_;
    model::Tree &tree_;
    engine::FileKeeper *const keeper_;
    std::set<std::pair<uint64_t, uint64_t>> held_; // device and inode number
    Fd root_;
    uint32_t owner_ = 0;
    model::Time made_;
    size_t left_ = runtime_names_limit;
    uint64_t files_ = 0, bytes_ = 0;
    Left too_many_, of_others_, failed_;
    std::string failure_;
};

} // namespace

std::string runtime_directory_of(uint32_t uid) { return fmt::format("/run/user/{}", uid); }

Result<model::Time> made_when(const Fd &directory) {
    const Fd top = TRY(top_of(directory));
    struct statx status = {};
    if (::statx(top.get(), "", AT_EMPTY_PATH, STATX_BTIME, &status) != 0)
        return fail(errno, "cannot stat the top of a file system");
    if ((status.stx_mask & STATX_BTIME) == 0)
        return model::Time();
    return model::Time{.seconds = status.stx_btime.tv_sec, .nanoseconds = status.stx_btime.tv_nsec};
}

Result<Unheld> keep_unheld(const policy::Policy &policy, const std::string &directory, model::Tree &tree,
                           engine::FileKeeper *keeper) {
    UnheldWalk walk(policy, tree, keeper);
    auto done = walk.begin(directory);
    if (!done && done.error().code() != ENOENT)
        return within(std::move(done).error(), "{}", printable(directory));
    return Unheld{.files = walk.files(), .bytes = walk.bytes(), .left_out = walk.left_out(directory)};
}

} // namespace abey::files
