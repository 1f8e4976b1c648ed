// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/unix_names.h"

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/syscall.h>

namespace abey::rebuild {
namespace {

Result<> enter_empty_root() {
    // any directory that exists will do: what is mounted there is seen by this thread alone
    const char *place = "/proc";
    if (::unshare(CLONE_NEWNS) < 0)
        return fail(errno, "cannot make a mount namespace");
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
        return fail(errno, "cannot make the mounts private");
    if (::mount("abeyance", place, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m") < 0)
        return fail(errno, "cannot mount an empty file system");
    if (::chroot(place) < 0 || ::chdir("/") < 0)
        return fail(errno, "cannot change the root directory");
    return {};
}

// Is anybody there? Connecting is the only way to know; datagram sockets notice nothing of it.
bool in_use(int type, const UnixAddress &address) {
    const Fd probe(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return ::connect(probe.get(), address.get(), address.size) == 0 || (errno != ECONNREFUSED && errno != ENOENT);
}

Result<> clear_the_way(int type, const std::string &path, const UnixAddress &address) {
    struct stat st = {};
    if (::lstat(path.c_str(), &st) < 0)
        return {};
    if (!S_ISSOCK(st.st_mode))
        return fail(EEXIST, "{} is not a socket any more; move it away", path);
    if (in_use(type, address))
        return fail(EADDRINUSE, "another process is reachable by {} now; end it first", path);
    return {};
}

// File system accesses of this thread as the owner.
class FileAccessAs {
  public:
    FileAccessAs(uint32_t uid, uint32_t gid) {
        ::setfsgid(gid);
        ::setfsuid(uid);
    }
    FileAccessAs(const FileAccessAs &) = delete;
    FileAccessAs &operator=(const FileAccessAs &) = delete;
    ~FileAccessAs() {
        ::setfsuid(0);
        ::setfsgid(0);
    }
};

} // namespace

Result<UnixAddress> to_address(const std::string &name) {
    UnixAddress result;
    if (name.size() > sizeof result.address.sun_path)
        return fail(ENAMETOOLONG, "the name of a unix socket is {} bytes long", name.size());
    result.address.sun_family = AF_UNIX;
    std::memcpy(result.address.sun_path, name.data(), name.size());
    result.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    // a path has its final NUL counted where there is room
    if (!name.empty() && name.front() != '\0' && name.size() < sizeof result.address.sun_path)
        ++result.size;
    return result;
}

Result<> run_aside(bool empty_root, const std::function<Result<>()> &work) {
    Result<> result;
    try {
        std::thread([&] {
            if (::unshare(CLONE_FS) < 0)
                result = fail(errno, "cannot have a working directory of its own");
            else if (empty_root)
                result = enter_empty_root();
            ::umask(0);
            if (result)
                result = work();
        }).join();
    } catch (const std::system_error &error) {
        return fail(error.code().value(), "cannot start a thread");
    }
    return result;
}

ActingAs::ActingAs(uint32_t uid, uint32_t gid) {
    // the kernel's own calls: the C library's would change all threads
    ::syscall(SYS_setresgid, -1, gid, -1);
    ::syscall(SYS_setresuid, -1, uid, -1);
}

ActingAs::~ActingAs() {
    ::syscall(SYS_setresuid, -1, 0, -1);
    ::syscall(SYS_setresgid, -1, 0, -1);
}

Result<> bind_aside(const Fd &socket, const std::string &name) {
    const auto address = TRY(to_address(name));
    if (name.empty())
        return {};
    if (name.front() != '\0') {
        std::error_code error;
        const auto parent = std::filesystem::path(name).parent_path();
        if (!parent.empty())
            std::filesystem::create_directories(parent, error);
        if (error)
            return fail(error.value(), "cannot make the directories above {}", name);
        ::unlink(name.c_str()); // the one before with this name was only needed until it was connected
    }
    if (::bind(socket.get(), address.get(), address.size) < 0)
        return fail(errno, "cannot give a unix socket the name {}{}", name.front() == '\0' ? "@" : "", name.c_str());
    return {};
}

Result<> bind_in_place(const Fd &socket, int type, const std::string &directory, const std::string &path,
                       const NodeAttributes &attributes) {
    const auto address = TRY(to_address(path));
    if (!directory.empty() && ::chdir(directory.c_str()) < 0)
        return fail(errno, "cannot enter {}, from where a unix socket has the name {}", directory, path);
    TRY(clear_the_way(type, path, address));
    const FileAccessAs access(attributes.uid, attributes.gid);
    if (::unlink(path.c_str()) < 0 && errno != ENOENT && errno != ENOTDIR)
        return fail(errno, "cannot remove the old socket {}", path);
    // directories in /tmp or below /run go away with a reboot
    std::error_code error;
    ::umask(077);
    if (const auto parent = std::filesystem::path(path).parent_path(); !parent.empty())
        std::filesystem::create_directories(parent, error);
    ::umask(0777U & ~attributes.mode);
    const int failed = ::bind(socket.get(), address.get(), address.size);
    const int code = errno;
    ::umask(0);
    if (failed < 0)
        return fail(code, "cannot give a unix socket the name {} again", path);
    return {};
}

void remove_name(const BoundName &name) noexcept {
    const FileAccessAs access(name.attributes.uid, name.attributes.gid);
    struct stat st = {};
    if (::lstat(name.path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == name.attributes.uid)
        ::unlink(name.path.c_str());
}

} // namespace abey::rebuild
