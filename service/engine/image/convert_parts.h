// SPDX-License-Identifier: LGPL-2.1-or-later
//
// put: a struct of the model into its message. get: back, with values checked on their own; what they refer to is
// checked for the whole tree (check.h).
#pragma once

#include "engine/model/tree.h"
#include "engine/os/result.h"
#include "image.pb.h"

namespace abey::image {

// An enumerator up to `last`, or an error.
template <class T> Result<T> enumerator(uint32_t value, T last, const char *what) {
    if (value > static_cast<uint32_t>(last))
        return fail(0, "{} is {}, which this program does not know", what, value);
    return static_cast<T>(value);
}

inline Result<uint16_t> narrow(uint32_t value, const char *what) {
    if (value > UINT16_MAX)
        return fail(0, "{} is {}, which is too large", what, value);
    return static_cast<uint16_t>(value);
}

void put(const model::Time &from, pb::Time &to);
Result<> get(const pb::Time &from, model::Time &to);
void put(const model::SeccompFilter &from, pb::SeccompFilter &to);
Result<> get(const pb::SeccompFilter &from, model::SeccompFilter &to);
void put(const model::Seccomp &from, pb::Seccomp &to);
Result<> get(const pb::Seccomp &from, model::Seccomp &to);
void put(const model::Credentials &from, pb::Credentials &to);
Result<> get(const pb::Credentials &from, model::Credentials &to);
void put(const model::SignalAction &from, pb::SignalAction &to);
Result<> get(const pb::SignalAction &from, model::SignalAction &to);
void put(const model::AlternateStack &from, pb::AlternateStack &to);
Result<> get(const pb::AlternateStack &from, model::AlternateStack &to);
void put(const model::IntervalTimer &from, pb::IntervalTimer &to);
Result<> get(const pb::IntervalTimer &from, model::IntervalTimer &to);
void put(const model::PosixTimer &from, pb::PosixTimer &to);
Result<> get(const pb::PosixTimer &from, model::PosixTimer &to);
void put(const model::Rseq &from, pb::Rseq &to);
Result<> get(const pb::Rseq &from, model::Rseq &to);
void put(const model::Scheduling &from, pb::Scheduling &to);
Result<> get(const pb::Scheduling &from, model::Scheduling &to);
void put(const model::Thread &from, pb::Thread &to);
Result<> get(const pb::Thread &from, model::Thread &to);
void put(const model::ResourceLimit &from, pb::ResourceLimit &to);
Result<> get(const pb::ResourceLimit &from, model::ResourceLimit &to);
void put(const model::Task &from, pb::Task &to);
Result<> get(const pb::Task &from, model::Task &to);
void put(const model::PageRun &from, pb::PageRun &to);
Result<> get(const pb::PageRun &from, model::PageRun &to);
void put(const model::RequestRing &from, pb::RequestRing &to);
Result<> get(const pb::RequestRing &from, model::RequestRing &to);
void put(const model::Mapping &from, pb::Mapping &to);
Result<> get(const pb::Mapping &from, model::Mapping &to);
void put(const model::MemoryLayout &from, pb::MemoryLayout &to);
Result<> get(const pb::MemoryLayout &from, model::MemoryLayout &to);
void put(const model::AddressSpace &from, pb::AddressSpace &to);
Result<> get(const pb::AddressSpace &from, model::AddressSpace &to);
void put(const model::IpcIdentity &from, pb::IpcIdentity &to);
Result<> get(const pb::IpcIdentity &from, model::IpcIdentity &to);
void put(const model::Semaphore &from, pb::Semaphore &to);
Result<> get(const pb::Semaphore &from, model::Semaphore &to);
void put(const model::SemaphoreSet &from, pb::SemaphoreSet &to);
Result<> get(const pb::SemaphoreSet &from, model::SemaphoreSet &to);
void put(const model::IpcMessage &from, pb::IpcMessage &to);
Result<> get(const pb::IpcMessage &from, model::IpcMessage &to);
void put(const model::IpcQueue &from, pb::IpcQueue &to);
Result<> get(const pb::IpcQueue &from, model::IpcQueue &to);
void put(const model::CgroupFile &from, pb::CgroupFile &to);
Result<> get(const pb::CgroupFile &from, model::CgroupFile &to);
void put(const model::Cgroup &from, pb::Cgroup &to);
Result<> get(const pb::Cgroup &from, model::Cgroup &to);
void put(const model::NamespaceSetting &from, pb::NamespaceSetting &to);
Result<> get(const pb::NamespaceSetting &from, model::NamespaceSetting &to);
void put(const model::IdRange &from, pb::IdRange &to);
Result<> get(const pb::IdRange &from, model::IdRange &to);
void put(const model::FileSystemEntry &from, pb::FileSystemEntry &to);
Result<> get(const pb::FileSystemEntry &from, model::FileSystemEntry &to);
void put(const model::FileSystem &from, pb::FileSystem &to);
Result<> get(const pb::FileSystem &from, model::FileSystem &to);
void put(const model::Mount &from, pb::Mount &to);
Result<> get(const pb::Mount &from, model::Mount &to);
void put(const model::Namespace &from, pb::Namespace &to);
Result<> get(const pb::Namespace &from, model::Namespace &to);
void put(const model::SharedMemory &from, pb::SharedMemory &to);
Result<> get(const pb::SharedMemory &from, model::SharedMemory &to);
void put(const model::FileIdentity &from, pb::FileIdentity &to);
Result<> get(const pb::FileIdentity &from, model::FileIdentity &to);
void put(const model::FailedTry &from, pb::FailedTry &to);
Result<> get(const pb::FailedTry &from, model::FailedTry &to);
void put(const model::Kept &from, pb::Kept &to);
void put(const model::Content &from, pb::Content &to);
Result<> get(const pb::Content &from, model::Content &to);
Result<> get(const pb::Kept &from, model::Kept &to);
void put(const model::Inode &from, pb::Inode &to);
Result<> get(const pb::Inode &from, model::Inode &to);
void put(const model::Pipe &from, pb::Pipe &to);
Result<> get(const pb::Pipe &from, model::Pipe &to);
void put(const model::SocketMessage &from, pb::SocketMessage &to);
Result<> get(const pb::SocketMessage &from, model::SocketMessage &to);
void put(const model::SocketOptions &from, pb::SocketOptions &to);
Result<> get(const pb::SocketOptions &from, model::SocketOptions &to);
void put(const model::UnixSocket &from, pb::UnixSocket &to);
Result<> get(const pb::UnixSocket &from, model::UnixSocket &to);
void put(const model::SocketOption &from, pb::SocketOption &to);
Result<> get(const pb::SocketOption &from, model::SocketOption &to);
void put(const model::SocketSettings &from, pb::SocketSettings &to);
Result<> get(const pb::SocketSettings &from, model::SocketSettings &to);
void put(const model::GroupMembership &from, pb::GroupMembership &to);
Result<> get(const pb::GroupMembership &from, model::GroupMembership &to);
void put(const model::InetDatagram &from, pb::InetDatagram &to);
Result<> get(const pb::InetDatagram &from, model::InetDatagram &to);
void put(const model::TcpRepair &from, pb::TcpRepair &to);
Result<> get(const pb::TcpRepair &from, model::TcpRepair &to);
void put(const model::InetSocket &from, pb::InetSocket &to);
Result<> get(const pb::InetSocket &from, model::InetSocket &to);
void put(const model::PacketRing &from, pb::PacketRing &to);
Result<> get(const pb::PacketRing &from, model::PacketRing &to);
void put(const model::PacketMembership &from, pb::PacketMembership &to);
Result<> get(const pb::PacketMembership &from, model::PacketMembership &to);
void put(const model::PacketSocket &from, pb::PacketSocket &to);
Result<> get(const pb::PacketSocket &from, model::PacketSocket &to);
void put(const model::NetlinkSocket &from, pb::NetlinkSocket &to);
Result<> get(const pb::NetlinkSocket &from, model::NetlinkSocket &to);
void put(const model::InetSocketFile &from, pb::InetSocketFile &to);
Result<> get(const pb::InetSocketFile &from, model::InetSocketFile &to);
void put(const model::Terminal &from, pb::Terminal &to);
Result<> get(const pb::Terminal &from, model::Terminal &to);
void put(const model::DiskFile &from, pb::DiskFile &to);
Result<> get(const pb::DiskFile &from, model::DiskFile &to);
void put(const model::Device &from, pb::Device &to);
Result<> get(const pb::Device &from, model::Device &to);
void put(const model::PipeEnd &from, pb::PipeEnd &to);
Result<> get(const pb::PipeEnd &from, model::PipeEnd &to);
void put(const model::SharedMemoryFile &from, pb::SharedMemoryFile &to);
Result<> get(const pb::SharedMemoryFile &from, model::SharedMemoryFile &to);
void put(const model::EventCounter &from, pb::EventCounter &to);
Result<> get(const pb::EventCounter &from, model::EventCounter &to);
void put(const model::SignalReceiver &from, pb::SignalReceiver &to);
Result<> get(const pb::SignalReceiver &from, model::SignalReceiver &to);
void put(const model::TimerFile &from, pb::TimerFile &to);
Result<> get(const pb::TimerFile &from, model::TimerFile &to);
void put(const model::PollTarget &from, pb::PollTarget &to);
Result<> get(const pb::PollTarget &from, model::PollTarget &to);
void put(const model::PollSet &from, pb::PollSet &to);
Result<> get(const pb::PollSet &from, model::PollSet &to);
void put(const model::SocketFile &from, pb::SocketFile &to);
Result<> get(const pb::SocketFile &from, model::SocketFile &to);
void put(const model::TerminalEnd &from, pb::TerminalEnd &to);
Result<> get(const pb::TerminalEnd &from, model::TerminalEnd &to);
void put(const model::Watch &from, pb::Watch &to);
Result<> get(const pb::Watch &from, model::Watch &to);
void put(const model::FileWatches &from, pb::FileWatches &to);
Result<> get(const pb::FileWatches &from, model::FileWatches &to);
void put(const model::FileMark &from, pb::FileMark &to);
Result<> get(const pb::FileMark &from, model::FileMark &to);
void put(const model::FileMarks &from, pb::FileMarks &to);
Result<> get(const pb::FileMarks &from, model::FileMarks &to);
void put(const model::ProcessHandle &from, pb::ProcessHandle &to);
Result<> get(const pb::ProcessHandle &from, model::ProcessHandle &to);
void put(const model::ProcessFile &from, pb::ProcessFile &to);
Result<> get(const pb::ProcessFile &from, model::ProcessFile &to);
void put(const model::NamespaceFile &from, pb::NamespaceFile &to);
Result<> get(const pb::NamespaceFile &from, model::NamespaceFile &to);
void put(const model::PosixMessage &from, pb::PosixMessage &to);
Result<> get(const pb::PosixMessage &from, model::PosixMessage &to);
void put(const model::MessageQueue &from, pb::MessageQueue &to);
Result<> get(const pb::MessageQueue &from, model::MessageQueue &to);
void put(const model::SignalOwner &from, pb::SignalOwner &to);
Result<> get(const pb::SignalOwner &from, model::SignalOwner &to);
void put(const model::FileLock &from, pb::FileLock &to);
Result<> get(const pb::FileLock &from, model::FileLock &to);
void put(const model::OpenFile &from, pb::OpenFile &to);
Result<> get(const pb::OpenFile &from, model::OpenFile &to);
void put(const model::Descriptor &from, pb::Descriptor &to);
Result<> get(const pb::Descriptor &from, model::Descriptor &to);
void put(const model::DescriptorTable &from, pb::DescriptorTable &to);
Result<> get(const pb::DescriptorTable &from, model::DescriptorTable &to);
void put(const model::FsContext &from, pb::FsContext &to);
Result<> get(const pb::FsContext &from, model::FsContext &to);
void put(const model::Machine &from, pb::Machine &to);
Result<> get(const pb::Machine &from, model::Machine &to);
void put(const model::Clocks &from, pb::Clocks &to);
Result<> get(const pb::Clocks &from, model::Clocks &to);

template <class Messages, class T> Result<> get_all(const Messages &from, std::vector<T> &to) {
    to.resize(static_cast<size_t>(from.size()));
    for (int i = 0; i < from.size(); ++i)
        TRY(get(from.Get(i), to[static_cast<size_t>(i)]));
    return {};
}

template <class Messages, class T, size_t N>
Result<> get_array(const Messages &from, std::array<T, N> &to, const char *what) {
    if (static_cast<size_t>(from.size()) != N)
        return fail(0, "{} has {} entries instead of {}", what, from.size(), N);
    for (int i = 0; i < from.size(); ++i)
        TRY(get(from.Get(i), to.at(static_cast<size_t>(i))));
    return {};
}

} // namespace abey::image
