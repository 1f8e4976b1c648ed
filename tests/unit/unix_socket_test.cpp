// SPDX-License-Identifier: LGPL-2.1-or-later
//
// unix(7) sockets, captured from a child and made again in the test.
#include "kinds_fixture.h"

#include <cstddef>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace abey;
using namespace abey::test;

namespace {

constexpr int a = 10, b = 11, c = 12, d = 13, e = 14;

void make_pair(int type, int first, int second) {
    int ends[2] = {-1, -1};
    must_call(::socketpair(AF_UNIX, type, 0, ends), "socketpair");
    put(ends[0], first);
    put(ends[1], second);
}

struct Address {
    sockaddr_un address = {};
    socklen_t size;
    explicit Address(const std::string &name)
        : size(static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() +
                                      (name.starts_with('\0') ? 0 : 1))) {
        address.sun_family = AF_UNIX;
        name.copy(address.sun_path, sizeof address.sun_path);
    }
    [[nodiscard]] const sockaddr *get() const { return reinterpret_cast<const sockaddr *>(&address); }
};

void bind_to(int fd, const std::string &name) {
    const Address address(name);
    must_call(::bind(fd, address.get(), address.size), "bind");
}
void connect_to(int fd, const std::string &name) {
    const Address address(name);
    must_call(::connect(fd, address.get(), address.size), "connect");
}

void send_text(int fd, std::string text, const std::vector<int> &rights = {}) {
    iovec part = {.iov_base = text.data(), .iov_len = text.size()};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
    if (!rights.empty()) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(rights.size() * sizeof(int));
        cmsghdr *message = CMSG_FIRSTHDR(&header);
        *message = {
            .cmsg_len = CMSG_LEN(rights.size() * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        std::memcpy(CMSG_DATA(message), rights.data(), rights.size() * sizeof(int));
    }
    must_call(::sendmsg(fd, &header, 0), "sendmsg");
}

struct Received {
    std::string text;
    std::vector<Fd> rights;
    std::string source;
    ucred sender = {};
};

Received receive(int fd, size_t size = 4096) {
    Received result;
    std::string buffer(size, '\0');
    sockaddr_un from = {};
    alignas(cmsghdr) char control[512] = {};
    iovec part = {.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr header = {};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        result.text = "error: " + std::string(std::strerror(errno));
        return result;
    }
    result.text = buffer.substr(0, static_cast<size_t>(got));
    if (header.msg_namelen > offsetof(sockaddr_un, sun_path))
        result.source.assign(from.sun_path, header.msg_namelen - offsetof(sockaddr_un, sun_path));
    for (cmsghdr *message = CMSG_FIRSTHDR(&header); message != nullptr; message = CMSG_NXTHDR(&header, message)) {
        if (message->cmsg_type == SCM_RIGHTS)
            for (size_t i = 0; i < (message->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
                int right = -1;
                std::memcpy(&right, CMSG_DATA(message) + i * sizeof(int), sizeof right);
                result.rights.emplace_back(right);
            }
        if (message->cmsg_type == SCM_CREDENTIALS)
            std::memcpy(&result.sender, CMSG_DATA(message), sizeof result.sender);
    }
    return result;
}

// As programs write it: the kernel counts the NUL at the end of a path.
std::string plain(const std::string &name) { return name.starts_with('\0') ? name : name.substr(0, name.find('\0')); }

std::string name_of(int fd, bool peer = false) {
    sockaddr_un address = {};
    socklen_t size = sizeof address;
    auto *out = reinterpret_cast<sockaddr *>(&address);
    if ((peer ? ::getpeername(fd, out, &size) : ::getsockname(fd, out, &size)) < 0)
        return "error: " + std::string(std::strerror(errno));
    if (size <= offsetof(sockaddr_un, sun_path))
        return "";
    return plain(std::string(address.sun_path, size - offsetof(sockaddr_un, sun_path)));
}

class UnixSockets : public Kinds {};

TEST_F(UnixSockets, PairWithUnreadData) {
    Child child([] {
        make_pair(SOCK_STREAM, a, b);
        send_text(a, "to b");
        send_text(b, "to a, ");
        send_text(b, "twice");
        const int size = 100000;
        must_call(::setsockopt(a, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), "SO_SNDBUF");
        const timeval wait = {.tv_sec = 3, .tv_usec = 4000};
        must_call(::setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), "SO_RCVTIMEO");
    });
    capture(child);
    EXPECT_TRUE(findings_.empty());
    const Fd live = child.take(a);
    EXPECT_EQ(receive(live.get()).text, "to a, twice") << "the live socket must keep its data";
    int peek_offset = 0;
    socklen_t size = sizeof peek_offset;
    ::getsockopt(live.get(), SOL_SOCKET, SO_PEEK_OFF, &peek_offset, &size);
    EXPECT_EQ(peek_offset, -1);
    child.end();
    rebuild();
    EXPECT_EQ(receive(fd(b)).text, "to b");
    EXPECT_EQ(receive(fd(a)).text, "to a, twice");
    send_text(fd(a), "more");
    EXPECT_EQ(receive(fd(b)).text, "more");
    int buffer = 0;
    ::getsockopt(fd(a), SOL_SOCKET, SO_SNDBUF, &buffer, &size);
    EXPECT_EQ(buffer, 200000);
    timeval wait = {};
    size = sizeof wait;
    ::getsockopt(fd(b), SOL_SOCKET, SO_RCVTIMEO, &wait, &size);
    EXPECT_EQ(wait.tv_sec, 3);
    EXPECT_EQ(wait.tv_usec, 4000);
}

TEST_F(UnixSockets, DescriptorsInFlightComeWithTheirByte) {
    Child child([] {
        make_pair(SOCK_STREAM, a, b);
        int pipe[2] = {-1, -1};
        must_call(::pipe(pipe), "pipe");
        must_call(::write(pipe[1], "in the pipe", 11), "write");
        send_text(a, "plain ");
        send_text(a, "with", {pipe[0], pipe[1]});
        send_text(a, " after");
        put(pipe[1], c); // one end is open here, too
        ::close(pipe[0]);
    });
    capture(child);
    const auto &socket = tree_.unix_sockets.at(std::get<model::SocketFile>(file(b).payload).socket);
    ASSERT_EQ(socket.queue.size(), 3U);
    EXPECT_EQ(socket.queue[0].data, "plain ");
    ASSERT_EQ(socket.queue[1].rights.size(), 2U);
    EXPECT_EQ(socket.queue[1].rights[1], file(c).id) << "the same open file as the descriptor's";
    child.end();
    rebuild();
    EXPECT_TRUE(receive(fd(b), 6).rights.empty());
    auto with = receive(fd(b), 4);
    EXPECT_EQ(with.text, "with");
    ASSERT_EQ(with.rights.size(), 2U);
    char text[16] = {};
    EXPECT_EQ(::read(with.rights[0].get(), text, sizeof text), 11);
    EXPECT_STREQ(text, "in the pipe");
    EXPECT_EQ(receive(fd(b)).text, " after");
}

TEST_F(UnixSockets, MessagesWithDescriptorsOneAfterTheOther) {
    Child child([] {
        make_pair(SOCK_STREAM, a, b);
        send_text(a, "1", {0});
        send_text(a, std::string(10000, '2'), {0, 1});
        send_text(a, "3");
        send_text(a, "44", {0});
    });
    capture(child);
    const auto &socket = tree_.unix_sockets.at(std::get<model::SocketFile>(file(b).payload).socket);
    ASSERT_EQ(socket.queue.size(), 4U);
    EXPECT_EQ(socket.queue[0].rights.size(), 1U);
    EXPECT_EQ(socket.queue[1].rights.size(), 2U);
    EXPECT_EQ(socket.queue[1].data.size(), 10000U);
    EXPECT_EQ(socket.queue[2].data, "3");
    EXPECT_EQ(socket.queue[2].rights.size(), 0U);
    EXPECT_EQ(socket.queue[3].data, "44");
    EXPECT_EQ(socket.queue[3].rights.size(), 1U);
}

TEST_F(UnixSockets, SocketsInFlightWithinSockets) {
    capture_and_rebuild([] {
        make_pair(SOCK_STREAM, a, b);
        make_pair(SOCK_DGRAM, c, d);
        send_text(c, "deep");
        send_text(a, "x", {d});
        ::close(d);
    });
    auto outer = receive(fd(b));
    ASSERT_EQ(outer.rights.size(), 1U);
    EXPECT_EQ(receive(outer.rights[0].get()).text, "deep");
}

TEST_F(UnixSockets, SeqpacketKeepsItsRecords) {
    capture_and_rebuild([] {
        make_pair(SOCK_SEQPACKET, a, b);
        send_text(a, "one");
        send_text(a, "two two");
        ::close(a);
    });
    EXPECT_EQ(receive(fd(b)).text, "one");
    EXPECT_EQ(receive(fd(b)).text, "two two");
    EXPECT_EQ(receive(fd(b)).text, "") << "end of file";
}

TEST_F(UnixSockets, EmptyMessagesAreMessages) {
    capture_and_rebuild([] {
        make_pair(SOCK_SEQPACKET, a, b);
        make_pair(SOCK_DGRAM, c, d);
        for (const int sender : {a, c})
            for (const auto *text : {"", "one", "", "two", "", ""})
                send_text(sender, text);
    });
    for (const int receiver : {b, d}) {
        for (const std::string text : {"", "one", "", "two", "", ""})
            EXPECT_EQ(receive(fd(receiver)).text, text);
        EXPECT_EQ(receive(fd(receiver)).text, "error: Resource temporarily unavailable");
    }
}

TEST_F(UnixSockets, ShutDownAndClosedPeers) {
    capture_and_rebuild([] {
        make_pair(SOCK_STREAM, a, b);
        send_text(a, "last");
        must_call(::shutdown(a, SHUT_WR), "shutdown");
        make_pair(SOCK_STREAM, c, d);
        send_text(d, "left behind");
        ::close(d);
    });
    EXPECT_TRUE(findings_.empty());
    EXPECT_EQ(receive(fd(b)).text, "last");
    EXPECT_EQ(receive(fd(b)).text, "");
    send_text(fd(b), "still open");
    EXPECT_EQ(receive(fd(a)).text, "still open");
    EXPECT_EQ(::send(fd(a), "x", 1, MSG_NOSIGNAL), -1);
    EXPECT_EQ(receive(fd(c)).text, "left behind");
    EXPECT_EQ(receive(fd(c)).text, "");
}

// A server of the test's own, outside of what is captured, which the child connects to.
class UnixPeersOutside : public UnixSockets {
  protected:
    void SetUp() override {
        UnixSockets::SetUp();
        if (IsSkipped())
            return;
        must_call(::chmod((scratch_ / ".").c_str(), 0755), "chmod");
        bind_to(server_.get(), path_);
        must_call(::chmod(path_.c_str(), 0777), "chmod");
        must_call(::listen(server_.get(), 5), "listen");
    }
    [[nodiscard]] engine::UnixPeerPolicy by(model::PeerAction action) const {
        return [this, action](std::string_view name) {
            return engine::PeerChoice{.action = name == path_ ? action : model::PeerAction::hangup, .rule = "the rule"};
        };
    }
    // The child's first connection; what it has sent and not been answered is lost.
    void connect_and_capture() {
        Child child([this] {
            put(::socket(AF_UNIX, SOCK_STREAM, 0), a);
            must_call(::setegid(4321), "setegid");
            must_call(::seteuid(4321), "seteuid");
            connect_to(a, path_);
        });
        first_ = Fd(::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ASSERT_TRUE(first_);
        send_text(first_.get(), "unread");
        capture(child);
    }

    const Scratch scratch_;
    const std::string path_ = scratch_ / "server";
    Fd server_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    Fd first_;
};

TEST_F(UnixPeersOutside, AreHungUp) {
    connect_and_capture();
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_NE(findings_[0].reason.find("will be closed"), std::string::npos) << findings_[0].reason;
    rebuild();
    EXPECT_EQ(::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC), -1);
    EXPECT_EQ(receive(fd(a)).text, "unread");
    EXPECT_EQ(receive(fd(a)).text, "");
}

TEST_F(UnixPeersOutside, AreConnectedAgainByTheirUser) {
    unix_peers_ = by(model::PeerAction::reconnect);
    connect_and_capture();
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_FALSE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find("a new connection to there (the rule)"), std::string::npos)
        << findings_[0].reason;
    rebuild();
    const Fd second(::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(second);
    ucred who = {};
    socklen_t size = sizeof who;
    must_call(::getsockopt(second.get(), SOL_SOCKET, SO_PEERCRED, &who, &size), "SO_PEERCRED");
    EXPECT_EQ(who.uid, 4321U);
    EXPECT_EQ(who.gid, 4321U);
    send_text(fd(a), "once more");
    EXPECT_EQ(receive(second.get()).text, "once more");
    send_text(second.get(), "welcome");
    EXPECT_EQ(receive(fd(a)).text, "welcome") << "what was unread is lost";
    EXPECT_EQ(name_of(fd(a), true), path_);
    EXPECT_EQ(::fcntl(fd(a), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(UnixPeersOutside, ThatAreGoneAreHungUp) {
    unix_peers_ = by(model::PeerAction::reconnect);
    connect_and_capture();
    server_.reset();
    rebuild();
    EXPECT_EQ(receive(fd(a)).text, "unread");
    EXPECT_EQ(receive(fd(a)).text, "");
}

TEST_F(UnixPeersOutside, TheirUserMayNotReachAreHungUp) {
    unix_peers_ = by(model::PeerAction::reconnect);
    connect_and_capture();
    must_call(::chmod(path_.c_str(), 0700), "chmod");
    rebuild();
    EXPECT_EQ(::accept4(server_.get(), nullptr, nullptr, SOCK_CLOEXEC), -1);
    EXPECT_EQ(receive(fd(a)).text, "unread");
    EXPECT_EQ(receive(fd(a)).text, "");
}

TEST_F(UnixPeersOutside, AreRefusedByRule) {
    unix_peers_ = by(model::PeerAction::fail);
    connect_and_capture();
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_TRUE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find("the policy says `fail` (the rule)"), std::string::npos) << findings_[0].reason;
}

TEST_F(UnixSockets, ListenerWithAcceptedAndWaitingConnections) {
    const Scratch scratch;
    const std::string path = scratch / "listener";
    Child child([&] {
        put(::socket(AF_UNIX, SOCK_STREAM, 0), a);
        ::umask(027);
        bind_to(a, path);
        must_call(::listen(a, 5), "listen");
        put(::socket(AF_UNIX, SOCK_STREAM, 0), b);
        connect_to(b, path);
        put(::accept(a, nullptr, nullptr), c);
        send_text(b, "hello server");
        put(::socket(AF_UNIX, SOCK_STREAM, 0), d);
        connect_to(d, path); // waits
    });
    capture(child);
    EXPECT_TRUE(findings_.empty());
    const auto &listener = tree_.unix_sockets.at(std::get<model::SocketFile>(file(a).payload).socket);
    EXPECT_EQ(listener.backlog, 5U);
    EXPECT_EQ(listener.pending.size(), 1U);
    child.end(); // its path stays behind, as after a reboot
    rebuild();
    struct stat st = {};
    ASSERT_EQ(::lstat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0750U);
    EXPECT_EQ(name_of(fd(a)), path);
    EXPECT_EQ(name_of(fd(c)), path) << "an accepted socket shows its listener's name";
    EXPECT_EQ(name_of(fd(b), true), path);
    EXPECT_EQ(receive(fd(c)).text, "hello server");
    send_text(fd(d), "from the queue");
    const Fd accepted(::accept4(fd(a), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(accepted);
    EXPECT_EQ(receive(accepted.get()).text, "from the queue");
    const Fd newcomer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    connect_to(newcomer.get(), path);
}

TEST_F(UnixSockets, AbstractListener) {
    const std::string name = std::string(1, '\0') + "abeyance-test-" + std::to_string(::getpid());
    capture_and_rebuild([&] {
        put(::socket(AF_UNIX, SOCK_SEQPACKET, 0), a);
        bind_to(a, name);
        must_call(::listen(a, 5), "listen");
        put(::socket(AF_UNIX, SOCK_SEQPACKET, 0), b);
        connect_to(b, name);
        put(::accept(a, nullptr, nullptr), c);
        send_text(c, "hi");
    });
    EXPECT_EQ(name_of(fd(c)), name);
    EXPECT_EQ(name_of(fd(a)), name);
    EXPECT_EQ(receive(fd(b)).text, "hi");
    const Fd newcomer(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    connect_to(newcomer.get(), name);
}

TEST_F(UnixSockets, DatagramsFromSeveralSenders) {
    const Scratch scratch;
    const std::string receiver = scratch / "receiver", sender = scratch / "sender";
    capture_and_rebuild([&] {
        put(::socket(AF_UNIX, SOCK_DGRAM, 0), a);
        bind_to(a, receiver);
        put(::socket(AF_UNIX, SOCK_DGRAM, 0), b);
        bind_to(b, sender);
        put(::socket(AF_UNIX, SOCK_DGRAM, 0), c);
        connect_to(b, receiver);
        connect_to(c, receiver);
        send_text(b, "first");
        send_text(c, "");
        send_text(c, "third", {0});
        send_text(b, "fourth");
    });
    auto message = receive(fd(a));
    EXPECT_EQ(message.text, "first");
    EXPECT_EQ(plain(message.source), sender);
    message = receive(fd(a));
    EXPECT_EQ(message.text, "");
    EXPECT_EQ(message.source, "");
    message = receive(fd(a));
    EXPECT_EQ(message.text, "third");
    EXPECT_EQ(message.rights.size(), 1U);
    EXPECT_EQ(receive(fd(a)).text, "fourth");
    EXPECT_EQ(receive(fd(a)).text, "error: Resource temporarily unavailable");
    send_text(fd(c), "connected still");
    EXPECT_EQ(receive(fd(a)).text, "connected still");
}

TEST_F(UnixSockets, PeerOutsideIsToldAndHungUp) {
    const Scratch scratch;
    const std::string path = scratch / "service";
    const Fd service(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    bind_to(service.get(), path);
    ASSERT_EQ(::listen(service.get(), 5), 0);
    Child child([&] {
        put(::socket(AF_UNIX, SOCK_STREAM, 0), a);
        connect_to(a, path);
    });
    const Fd accepted(::accept4(service.get(), nullptr, nullptr, SOCK_CLOEXEC));
    send_text(accepted.get(), "answer");
    capture(child);
    ASSERT_EQ(findings_.size(), 1U);
    EXPECT_FALSE(findings_[0].fatal);
    EXPECT_NE(findings_[0].reason.find(path), std::string::npos) << findings_[0].reason;
    EXPECT_NE(findings_[0].reason.find("unit-kinds"), std::string::npos) << findings_[0].reason;
    child.end();
    rebuild();
    EXPECT_EQ(name_of(fd(a), true), path);
    EXPECT_EQ(receive(fd(a)).text, "answer");
    EXPECT_EQ(receive(fd(a)).text, "");
    EXPECT_EQ(::send(fd(a), "x", 1, MSG_NOSIGNAL), -1);
}

TEST_F(UnixSockets, WhatCannotBeSeenIsRefused) {
    const Scratch scratch;
    const std::string path = scratch / "listener";
    const auto refusal = [this](const std::function<void()> &set_up) {
        Child child(set_up);
        EXPECT_FALSE(child.failed());
        tree_ = {};
        capture::Context context(tree_, files_, false);
        must(capture::capture_descriptors(context, child.pid(), "test", child.pidfd().get()));
        const auto done = capture::complete(context);
        return done ? "not refused" : done.error().message();
    };
    const std::string early = refusal([&] {
        put(::socket(AF_UNIX, SOCK_STREAM, 0), a);
        bind_to(a, path);
        must_call(::listen(a, 5), "listen");
        put(::socket(AF_UNIX, SOCK_STREAM, 0), b);
        connect_to(b, path);
        send_text(b, "before anybody accepted");
    });
    EXPECT_NE(early.find("has not been accepted yet; try again"), std::string::npos) << early;
    const std::string elsewhere = refusal([] {
        must_call(::unshare(CLONE_NEWNET), "unshare");
        make_pair(SOCK_STREAM, a, b);
    });
    EXPECT_NE(elsewhere.find("network namespace"), std::string::npos) << elsewhere;
}

TEST_F(UnixSockets, PreflightLeavesQueuesAlone) {
    Child child([] {
        make_pair(SOCK_STREAM, a, b);
        send_text(a, "untouched");
    });
    capture(child, true);
    EXPECT_TRUE(findings_.empty());
    EXPECT_TRUE(tree_.unix_sockets.at(std::get<model::SocketFile>(file(b).payload).socket).queue.empty());
    EXPECT_EQ(receive(child.take(b).get()).text, "untouched");
}

TEST_F(UnixSockets, CredentialsOfQueuedMessagesAndPeers) {
    constexpr uid_t user = 4711;
    Child child([] {
        must_call(::setresgid(user, user, 0), "setresgid");
        must_call(::setresuid(user, user, 0), "setresuid");
        make_pair(SOCK_STREAM, a, b);
        const int yes = 1;
        must_call(::setsockopt(b, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), "SO_PASSCRED");
        send_text(a, "signed");
    });
    capture(child);
    const int pid = child.pid();
    const auto &socket = tree_.unix_sockets.at(std::get<model::SocketFile>(file(b).payload).socket);
    ASSERT_EQ(socket.queue.size(), 1U);
    EXPECT_EQ(socket.queue[0].sender_pid, pid);
    rebuild(); // the sender lives, as a husk would
    const auto message = receive(fd(b));
    EXPECT_EQ(message.text, "signed");
    EXPECT_EQ(message.sender.uid, user);
    EXPECT_EQ(message.sender.pid, pid);
    ucred peer = {};
    socklen_t size = sizeof peer;
    ASSERT_EQ(::getsockopt(fd(b), SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    EXPECT_EQ(peer.uid, user);
    EXPECT_EQ(peer.gid, user);
}

TEST_F(UnixSockets, AcceptedSocketsTellTheSameUserAfterwards) {
    const Scratch scratch;
    const std::string path = scratch / "listener";
    constexpr uid_t user = 4711;
    ASSERT_EQ(::chmod((scratch / "").c_str(), 0777), 0);
    capture_and_rebuild([&] {
        put(::socket(AF_UNIX, SOCK_STREAM, 0), a);
        ::umask(0);
        bind_to(a, path);
        must_call(::listen(a, 5), "listen");
        must_call(::setresgid(user, user, 0), "setresgid");
        must_call(::setresuid(user, user, 0), "setresuid");
        put(::socket(AF_UNIX, SOCK_STREAM, 0), b);
        connect_to(b, path);
        put(::accept(a, nullptr, nullptr), c);
        put(::socket(AF_UNIX, SOCK_STREAM, 0), d);
        connect_to(d, path);
        put(::accept(a, nullptr, nullptr), e);
        ::close(d); // only its peer remains
        put(::socket(AF_UNIX, SOCK_STREAM, 0), d);
        connect_to(d, path); // waits
    });
    const auto peer_of = [](int fd) {
        ucred peer = {};
        socklen_t size = sizeof peer;
        ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
        return peer.uid;
    };
    EXPECT_EQ(peer_of(fd(b)), 0U) << "root listened";
    EXPECT_EQ(peer_of(fd(c)), user);
    EXPECT_EQ(peer_of(fd(e)), user) << "also when it has gone";
    const Fd accepted(::accept4(fd(a), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_EQ(peer_of(accepted.get()), user) << "also when it was still waiting";
}

} // namespace
