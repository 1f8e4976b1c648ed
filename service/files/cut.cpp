// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/cut.h"

#include "engine/image/image.h"
#include "engine/model/tree.h"
#include "engine/os/fault_point.h"
#include "files/contents.h"
#include "files/identity.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <span>

#include <dirent.h>

namespace abey::files {

namespace {

constexpr const char *folder = "cut";
constexpr size_t piece = 1U << 20U;

Result<> copy_piecewise(const Fd &from, uint64_t from_offset, const Fd &to, uint64_t to_offset) {
    std::vector<std::byte> buffer(piece);
    for (uint64_t at = 0;;) {
        const auto size = ::pread(from.get(), buffer.data(), buffer.size(), static_cast<off_t>(from_offset + at));
        if (size < 0)
            return fail(errno, "cannot read what was appended");
        if (size == 0)
            return {};
        TRY(write_at(to, std::span(buffer).first(static_cast<size_t>(size)), to_offset + at));
        at += static_cast<uint64_t>(size);
    }
}

Result<> sync(const Fd &file, const std::string &name) {
    if (::fsync(file.get()) != 0)
        return fail(errno, "cannot write {} to disk", printable(name));
    return {};
}

// The tail of one file, whose end is then as it was before the cut.
Result<> append_tail(const Fd &tail, const Fd &path, uint64_t size) {
    const Fd file = TRY(reopen(path, O_RDWR));
    TRY(copy_piecewise(tail, 0, file, size));
    return sync(file, "it");
}

Result<> put_back_one(const Fd &tail, const model::Inode &inode) {
    const Fd path = TRY(open_file(inode.path, O_PATH | O_NOFOLLOW));
    model::Inode now;
    now.path = inode.path;
    TRY(describe(path, now));
    const uint64_t cut_off = static_cast<uint64_t>(TRY(stat_of(tail)).st_size);
    model::Inode written = inode;
    written.size = now.size;
    written.mtime = now.mtime;
    written.ctime = now.ctime;
    if (const auto reason = difference(written, now, Place::same))
        return fail(ESTALE, "{}", *reason);
    if (now.size == inode.size + cut_off)
        return {}; // it was not cut yet
    // Put back in part, by somebody who was killed, too: its bytes are those of the tail, which are written again.
    if (now.size > inode.size + cut_off || now.size < inode.size)
        return fail(ESTALE, "it was cut to {} bytes, and has {}", inode.size, now.size);
    if (now.size > inode.size) {
        std::vector<std::byte> there(std::min<uint64_t>(now.size - inode.size, piece));
        std::vector<std::byte> wanted(there.size());
        const Fd file = TRY(reopen(path, O_RDONLY));
        TRY(read_at(file, there, inode.size));
        TRY(read_at(tail, wanted, 0));
        if (there != wanted)
            return fail(ESTALE, "somebody has written to it since");
    }
    return append_tail(tail, path, inode.size);
}

} // namespace

void CutFiles::add(Fd file, const model::Inode &inode) {
    files_.push_back({.file = std::move(file), .path = inode.path, .id = inode.id, .size = inode.size});
}

Result<> CutFiles::keep_tail(One &one) {
    const std::string name = fmt::format("{}", one.id);
    const std::string temporary = name + ".new";
    const Fd from = TRY(reopen(one.file, O_RDONLY));
    const uint64_t end = static_cast<uint64_t>(TRY(stat_of(from)).st_size);
    if (end < one.size)
        return fail(ESTALE, "it has become shorter meanwhile");
    TRY(check_space(directory_, end - one.size));
    {
        const Fd to = TRY(open_at(directory_.get(), temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
        TRY(copy_piecewise(from, one.size, to, 0));
        TRY(sync(to, temporary));
        one.kept = static_cast<uint64_t>(TRY(stat_of(to)).st_size);
    }
    if (::renameat(directory_.get(), temporary.c_str(), directory_.get(), name.c_str()) != 0)
        return fail(errno, "cannot rename {}", temporary);
    return {};
}

Result<> CutFiles::cut(One &one) {
    const Fd file = TRY(reopen(one.file, O_RDWR));
    if (static_cast<uint64_t>(TRY(stat_of(file)).st_size) != one.size + one.kept)
        return fail(EAGAIN, "it is being written to: end what writes there, then resume again");
    if (::ftruncate(file.get(), static_cast<off_t>(one.size)) != 0)
        return fail(errno, "cannot cut it to {} bytes", one.size);
    one.cut = true;
    return {};
}

Result<> CutFiles::keep() {
    if (files_.empty())
        return {};
    const std::string path = images_ + "/" + folder;
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return fail(errno, "cannot make {}", printable(path));
    directory_ = TRY(open_file(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    for (One &one : files_)
        TRY_IN(keep_tail(one), "{}", printable(one.path));
    TRY(sync(directory_, path));
    const Fd above = TRY(open_file(images_, O_RDONLY | O_DIRECTORY));
    return sync(above, images_);
}

Result<> CutFiles::cut() {
    for (One &one : files_) {
        TRY_IN(cut(one), "{}", printable(one.path));
        os::fault_point("cut");
    }
    return {};
}

void CutFiles::undo() noexcept {
    if (!directory_)
        return;
    bool all = true;
    for (const One &one : files_) {
        const std::string name = fmt::format("{}", one.id);
        const auto tail = open_at(directory_.get(), name, O_RDONLY | O_NOFOLLOW);
        if (!tail)
            continue; // not kept yet, so not cut either
        const auto status = stat_of(one.file);
        // Somebody may have written to it since: then its end is not where the tail belongs any more.
        const bool is_as_cut = status && static_cast<uint64_t>(status->st_size) == one.size;
        if (one.cut && (!is_as_cut || !append_tail(*tail, one.file, one.size)))
            all = false;
        else
            ::unlinkat(directory_.get(), name.c_str(), 0);
    }
    if (all)
        ::unlinkat(AT_FDCWD, (images_ + "/" + folder).c_str(), AT_REMOVEDIR);
    directory_.reset();
    files_.clear();
}

Result<> CutFiles::forget() {
    if (!directory_)
        return {};
    for (const One &one : files_)
        if (::unlinkat(directory_.get(), fmt::format("{}", one.id).c_str(), 0) != 0 && errno != ENOENT)
            return fail(errno, "cannot remove what was cut off of {}", printable(one.path));
    directory_.reset();
    files_.clear();
    if (::rmdir((images_ + "/" + folder).c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY)
        return fail(errno, "cannot remove {}/{}", printable(images_), folder);
    return {};
}

Result<> put_back(const std::string &images) {
    const std::string path = images + "/" + folder;
    const std::unique_ptr<DIR, int (*)(DIR *)> entries(::opendir(path.c_str()), ::closedir);
    if (!entries && errno == ENOENT)
        return {};
    if (!entries)
        return fail(errno, "cannot list {}", printable(path));
    const int directory = ::dirfd(entries.get());
    const auto image = TRY(image::Reader::open(images));
    const model::Tree tree = TRY(image.tree());
    std::string wrong;
    while (const struct dirent *entry = ::readdir(entries.get())) {
        const std::string name = entry->d_name;
        if (name.ends_with(".new")) { // not whole, so nothing was cut
            ::unlinkat(directory, name.c_str(), 0);
            continue;
        }
        model::ObjRef id = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), id).ptr != name.data() + name.size())
            continue;
        const auto inode = tree.inodes.find(id);
        const auto tail = open_at(directory, name, O_RDONLY | O_NOFOLLOW);
        if (inode == tree.inodes.end() || !tail)
            continue;
        if (const auto done = put_back_one(*tail, inode->second))
            ::unlinkat(directory, name.c_str(), 0);
        else
            wrong += fmt::format("{}{} ({}; what was cut off is {}/{})", wrong.empty() ? "" : ", ",
                                 printable(inode->second.path), done.error().message(), printable(path), name);
    }
    ::rmdir(path.c_str());
    if (!wrong.empty())
        return fail(ESTALE,
                    "a resume that was ended in the middle had cut files that cannot be put back: {}; see to "
                    "them, then remove what was cut off",
                    wrong);
    return {};
}

} // namespace abey::files
