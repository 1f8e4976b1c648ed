// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/new_file.h"

#include <cerrno>
#include <cstdio>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace abey::ctl {
namespace {

std::string directory_of(const std::string &path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

} // namespace

Result<NewFile> NewFile::create(const std::string &path, mode_t mode) {
    struct stat st = {};
    if (::lstat(path.c_str(), &st) == 0)
        return fail(EEXIST, "cannot make {}", path);
    NewFile file;
    file.path_ = path;
    file.fd_ = Fd(::open(directory_of(path).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
    if (file.fd_)
        return file;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
        return fail(errno, "cannot make {}", path);
    const auto temporary = path + ".partial";
    file.fd_ = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    file.temporary_ = temporary;
    return file;
}

NewFile::~NewFile() {
    if (has_name())
        ::unlink(temporary_.c_str());
}

Result<> NewFile::keep() {
    if (::fsync(fd_.get()) < 0)
        return fail(errno, "cannot bring {} to disk", path_);
    int named = 0;
    if (!has_name()) {
        const auto open = fmt::format("/proc/self/fd/{}", fd_.get());
        named = ::linkat(AT_FDCWD, open.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW);
    } else {
        named = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE);
        // Network file systems know no such rename; that the name was free has been looked at
        if (named < 0 && errno == EINVAL)
            named = ::rename(temporary_.c_str(), path_.c_str());
    }
    if (named < 0)
        return fail(errno, "cannot give {} its name", path_);
    temporary_.clear();
    return {};
}

} // namespace abey::ctl
