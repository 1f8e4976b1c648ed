// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/terminal_host.h"

#include "session/keeper/message.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <set>
#include <string_view>
#include <utility>

#include <grp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::session {
namespace {

using nlohmann::json;

constexpr size_t request_limit = 64U << 10U;
// In JSON a byte may take six.
constexpr size_t picture_piece = 8U << 10U;

// In the new process.
class Host {
  public:
    Host(Fd channel, Fd logins) : channel_(std::move(channel)), logins_(std::move(logins)) {}

    Result<> run(Fd socket, uid_t owner) {
        sd_event *event = nullptr;
        int r = sd_event_new(&event);
        if (r < 0)
            return fail(-r, "cannot make an event loop");
        event_.reset(event);
        server_ = TRY(Server::make(event, std::move(socket), owner, [this](pid_t client) { note_login_of(client); }));
        sd_event_source *source = nullptr;
        if ((r = sd_event_add_io(event, &source, channel_.get(), EPOLLIN, on_message, this)) >= 0)
            heard_.reset(source);
        if (r >= 0 && (r = sd_event_add_post(event, &source, on_turn, this)) >= 0)
            turn_.reset(source);
        if (r >= 0)
            r = sd_event_loop(event);
        return r < 0 ? fail(-r, "the event loop broke") : Result<>();
    }

  private:
    static int on_message(sd_event_source * /*source*/, int /*fd*/, uint32_t /*events*/, void *self) {
        auto &host = *static_cast<Host *>(self);
        auto message = receive_message(host.channel_, request_limit);
        // Without the keeper there is no session whose terminals these are.
        if (!message || message->body.is_null())
            return sd_event_exit(host.event_.get(), 0);
        host.hear(std::move(*message));
        return 0;
    }

    void hear(Message message) {
        const auto kind = message.body.value("kind", "");
        if (kind == "picture")
            picture_ += message.body.value("data", "");
        else if (kind == "terminal" && message.fd)
            (void)server_->add({.index = message.body.value("index", 0U),
                                .old_index = message.body.value("old_index", 0U),
                                .fd = std::move(message.fd),
                                .picture = std::exchange(picture_, {})});
        else if (kind == "open")
            server_->open();
        else if (kind == "ended")
            server_->process_ended(message.body.value("pid", 0));
        else if (kind == "close") {
            server_->close(message.body.value("why", ""));
            closing_ = true;
        }
    }

    // For whoever has to know whether somebody is there; attaching does not depend on it.
    void note_login_of(pid_t client) {
        const auto login = login_of(client);
        if (!login.empty() && noted_.insert(login).second)
            (void)note_login(logins_, login);
    }

    static int on_turn(sd_event_source * /*source*/, void *self) {
        auto &host = *static_cast<Host *>(self);
        return host.closing_ && host.server_->idle() ? sd_event_exit(host.event_.get(), 0) : 0;
    }

    Fd channel_;
    Fd logins_;
    std::set<std::string> noted_;
    Event event_;
    std::unique_ptr<Server> server_;
    EventSource heard_;
    EventSource turn_;
    std::string picture_; // of the next terminal
    bool closing_ = false;
};

bool give_up_rights(uid_t owner, gid_t group) {
    if (::getuid() == 0 && ::setgroups(0, nullptr) < 0)
        return false;
    const rlimit no_core = {};
    const rlimit list = {.rlim_cur = login_list_limit, .rlim_max = login_list_limit}; // the only file it writes to
    return ::setresgid(group, group, group) == 0 && ::setresuid(owner, owner, owner) == 0 &&
           ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::setrlimit(RLIMIT_CORE, &no_core) == 0 &&
           ::setrlimit(RLIMIT_FSIZE, &list) == 0 && ::signal(SIGXFSZ, SIG_IGN) != SIG_ERR &&
           // The keeper's memory, of which this is a copy, is none of the user's business.
           ::prctl(PR_SET_DUMPABLE, 0) == 0;
}

// All but the standard ones and these.
void close_others(std::array<int, 3> kept) {
    std::ranges::sort(kept);
    unsigned first = 3;
    for (const int one : kept) {
        const auto number = static_cast<unsigned>(one);
        if (number > first)
            ::close_range(first, number - 1, 0);
        first = number + 1;
    }
    ::close_range(first, ~0U, 0);
}

[[noreturn]] void be_host(Fd socket, Fd logins, Fd channel, uid_t owner, gid_t group) {
    // The keeper's other descriptors, the login session's among them, must be closed when the keeper closes them.
    close_others({socket.get(), logins.get(), channel.get()});
    sigset_t ending;
    ::sigemptyset(&ending);
    for (const int signal : {SIGTERM, SIGHUP, SIGINT})
        ::sigaddset(&ending, signal);
    ::sigprocmask(SIG_SETMASK, &ending, nullptr);
    if (!give_up_rights(owner, group))
        ::_exit(1);
    try {
        ::_exit(Host(std::move(channel), std::move(logins)).run(std::move(socket), owner) ? 0 : 1);
    } catch (const std::exception &) { // out of memory
        ::_exit(1);
    }
}

} // namespace

Result<TerminalHost> TerminalHost::start(ListeningSocket socket, LoginList logins, uid_t owner, gid_t group) {
    std::array<int, 2> pair = {};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) < 0)
        return fail(errno, "cannot make a channel to the process that serves the terminals");
    Fd ours(pair[0]);
    Fd theirs(pair[1]);
    Fd listening = socket.take();
    Fd list = logins.take();
    const pid_t pid = ::fork();
    if (pid < 0)
        return fail(errno, "cannot start the process that serves the terminals");
    if (pid == 0)
        be_host(std::move(listening), std::move(list), std::move(theirs), owner, group);
    Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process)
        return fail(errno, "cannot watch the process that serves the terminals"); // it ends: the channel is closed
    return TerminalHost(std::move(socket), std::move(logins), std::move(ours), std::move(process));
}

Result<> TerminalHost::add(const Master &master) {
    for (std::string_view rest = master.picture; !rest.empty();) {
        auto size = std::min(rest.size(), picture_piece);
        while (size > 1 && size < rest.size() && (static_cast<unsigned char>(rest[size]) & 0xc0U) == 0x80U)
            --size; // not within a character
        if (!send_message(channel_, {{"kind", "picture"}, {"data", rest.substr(0, size)}}))
            break; // told below
        rest.remove_prefix(size);
    }
    if (!send_message(channel_, {{"kind", "terminal"}, {"index", master.index}, {"old_index", master.old_index}},
                      master.fd.get()))
        return fail(ECHILD, "terminal pts/{}: the process that serves the terminals has gone", master.index);
    return {};
}

void TerminalHost::open() { send_message(channel_, {{"kind", "open"}}); }

void TerminalHost::process_ended(pid_t pid) { send_message(channel_, {{"kind", "ended"}, {"pid", pid}}); }

void TerminalHost::close(const std::string &why) { send_message(channel_, {{"kind", "close"}, {"why", why}}); }

} // namespace abey::session
