// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"
#include "engine/model/file_marks.h"
#include "engine/model/file_watches.h"
#include "engine/model/kernel_file.h"
#include "engine/model/netlink_socket.h"
#include "engine/model/packet_socket.h"

#include <variant>
#include <vector>

namespace abey::model {

// What is behind an open file, one type for each kind. A new kind is one struct in a header of its own and one more
// alternative of Payload.

struct DiskFile { // regular files, directories, symbolic links (O_PATH)
    ObjRef inode = 0;
    Bytes name;            // the path that it was opened by, when that is not the inode's
    bool unlinked = false; // which does not lead there any more
};
struct Device { // character devices without state: null, zero, full, random, urandom, and /dev/tty
    ObjRef inode = 0;
};
struct PipeEnd {
    ObjRef pipe = 0;
};
struct SharedMemoryFile { // memfd, shared anonymous memory
    ObjRef memory = 0;
};
struct EventCounter { // eventfd(2)
    uint64_t count = 0;
    bool semaphore = false;
};
struct SignalReceiver { // signalfd(2)
    uint64_t mask = 0;
};
struct TimerFile { // timerfd_create(2)
    int32_t clock = 0;
    uint64_t ticks = 0; // expirations not yet read
    uint32_t settime_flags = 0;
    Time value; // time left, 0: not armed
    Time interval;
    Time seen; // what CLOCK_REALTIME said then; 0: in images of the first releases
};
struct PollTarget {
    int32_t number = 0; // descriptor number at EPOLL_CTL_ADD
    ObjRef open_file = 0;
    uint32_t events = 0;
    uint64_t data = 0;
};
struct PollSet { // epoll(7)
    std::vector<PollTarget> targets;
};
struct SocketFile {
    ObjRef socket = 0;
};
struct InetSocketFile { // UDP, TCP, ICMP, raw
    ObjRef socket = 0;
};
struct TerminalEnd {
    ObjRef terminal = 0;
    bool master = false;
    bool by_dev_tty = false; // opened as /dev/tty
};

using Payload = std::variant<std::monostate, DiskFile, Device, PipeEnd, SharedMemoryFile, EventCounter, SignalReceiver,
                             TimerFile, PollSet, SocketFile, TerminalEnd, InetSocketFile, FileWatches, ProcessHandle,
                             ProcessFile, NamespaceFile, MessageQueue, NetlinkSocket, PacketSocket, FileMarks>;

// F_GETOWN_EX and F_GETSIG
struct SignalOwner {
    int32_t type = 0; // F_OWNER_*
    int32_t pid = 0;
    int32_t signal = 0;
    uint32_t uid = 0, euid = 0;
};

// One file lock, as /proc/PID/fdinfo shows it.
struct FileLock {
    enum class Kind : uint8_t { flock, posix, ofd, lease } kind = Kind::flock;
    bool write = false;
    bool breaking = false; // lease: somebody waits for its end, or (`write`) until it is one for reading
    int32_t pid = 0;       // POSIX: the holder; else who took it, 0 or -1 when nobody knows
    uint64_t start = 0;
    uint64_t end = ~0ULL; // inclusive, ~0: to the end of the file
};

// An open file description (open(2)).
struct OpenFile {
    ObjRef id = 0;
    uint32_t flags = 0; // F_GETFL and creation flags such as O_PATH, without O_CLOEXEC
    uint64_t position = 0;
    SignalOwner owner;
    std::vector<FileLock> locks;
    Payload payload;
};

struct Descriptor {
    int32_t number = 0;
    bool close_on_exec = false;
    ObjRef open_file = 0;
};

// Shared by all tasks that were made with CLONE_FILES.
struct DescriptorTable {
    ObjRef id = 0;
    std::vector<Descriptor> descriptors; // by number
};

// Shared by all tasks that were made with CLONE_FS.
struct FsContext {
    ObjRef id = 0;
    ObjRef directory = 0; // OpenFile (O_PATH) of cwd
    ObjRef root = 0;      // OpenFile (O_PATH), 0: the same as the restoring process's
    uint32_t umask = 022;
};

} // namespace abey::model
