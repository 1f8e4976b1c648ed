// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/attach.h"

#include "session/connection.h"
#include "session/modes.h"
#include "session/own_terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>

#include <csignal>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

namespace abey::session {
namespace {

constexpr char interrupt_key = '\x03'; // Ctrl-C

// xterm's stack of titles (XTWINOPS)
constexpr std::string_view push_title = "\x1b[22;2t";
constexpr std::string_view pop_title = "\x1b[23;2t";
constexpr std::string_view last_line = "\x1b[999;1H\r\n";

class RawMode {
  public:
    static Result<RawMode> enter(int terminal) {
        RawMode mode;
        if (::tcgetattr(terminal, &mode.saved_) < 0)
            return fail(errno, "cannot attach: standard input is not a terminal");
        termios raw = mode.saved_;
        ::cfmakeraw(&raw);
        if (::tcsetattr(terminal, TCSAFLUSH, &raw) < 0)
            return fail(errno, "cannot attach: the terminal refuses raw mode");
        mode.terminal_ = terminal;
        return mode;
    }
    RawMode(RawMode &&other) noexcept : terminal_(std::exchange(other.terminal_, -1)), saved_(other.saved_) {}
    RawMode &operator=(RawMode &&) = delete;
    RawMode(const RawMode &) = delete;
    RawMode &operator=(const RawMode &) = delete;
    ~RawMode() {
        if (terminal_ >= 0)
            ::tcsetattr(terminal_, TCSADRAIN, &saved_);
    }

  private:
    RawMode() = default;
    int terminal_ = -1;
    termios saved_ = {};
};

// The signals that matter to a terminal, as a descriptor.
class Signals {
  public:
    static Result<Signals> block() {
        Signals signals;
        sigset_t set;
        ::sigemptyset(&set);
        for (const int number : {SIGWINCH, SIGTERM, SIGHUP})
            ::sigaddset(&set, number);
        const int code = ::pthread_sigmask(SIG_BLOCK, &set, &signals.saved_);
        if (code != 0)
            return fail(code, "cannot block signals");
        signals.active_ = true;
        signals.fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
        if (!signals.fd_)
            return fail(errno, "cannot make a descriptor for signals");
        return signals;
    }
    Signals(Signals &&other) noexcept
        : fd_(std::move(other.fd_)), saved_(other.saved_), active_(std::exchange(other.active_, false)) {}
    Signals &operator=(Signals &&) = delete;
    Signals(const Signals &) = delete;
    Signals &operator=(const Signals &) = delete;
    ~Signals() {
        if (active_)
            ::pthread_sigmask(SIG_SETMASK, &saved_, nullptr);
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    // The next one that came; 0: none.
    [[nodiscard]] int next() const {
        signalfd_siginfo info = {};
        return ::read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
    }

  private:
    Signals() = default;
    Fd fd_;
    sigset_t saved_ = {};
    bool active_ = false;
};

WindowSize size_of(int terminal) {
    winsize size = {};
    if (::ioctl(terminal, TIOCGWINSZ, &size) < 0)
        return {};
    return {.rows = size.ws_row, .columns = size.ws_col};
}

Result<> show(int terminal, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(terminal, text.data(), text.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) { // somebody else made the terminal's open file non-blocking
            pollfd ready = {.fd = terminal, .events = POLLOUT, .revents = 0};
            ::poll(&ready, 1, -1);
            continue;
        }
        if (n < 0)
            return fail(errno, "cannot write to the terminal");
        text.remove_prefix(static_cast<size_t>(n));
    }
    return {};
}

Result<Fd> connect_to(const std::string &directory, const std::string &session, std::chrono::milliseconds limit = {}) {
    auto connection = connect_packets(TRY(socket_path(directory, session)), limit);
    if (!connection) {
        const int code = connection.error().code();
        if (is_nobodys(code))
            return fail(0,
                        "session {}: not a session that was resumed, or begun by abeyctl run, and runs now; see "
                        "abeyctl attach --list",
                        session);
        if (code == EACCES || code == EPERM)
            return fail(code, "session {}: it belongs to another user", session);
        return fail(code, "session {}: cannot reach its keeper", session);
    }
    return connection;
}

// The next message; an error when the keeper has gone.
Result<KeeperMessage> next_message(const Fd &connection, int flags = 0) {
    const std::string packet = TRY(receive_packet(connection, flags));
    if (packet.empty())
        return fail(ECONNRESET, "the keeper has gone");
    return parse_keeper_message(packet);
}

// The keeper looks at who has made the connection (SO_PEERCRED): of one that we were given that is somebody else.
Result<bool> is_within(const Fd &connection, int terminal) {
    TRY(send_packet(connection, encode(ClientMessage(List()))));
    const auto message = TRY(next_message(connection));
    const auto *terminals = std::get_if<Terminals>(&message);
    if (terminals == nullptr)
        return fail(EBADMSG, "an unexpected answer");
    const auto own = terminal_behind(terminal);
    return own && std::ranges::find(terminals->entries, *own, &TerminalEntry::index) != terminals->entries.end();
}

// The conversation after Attached.
class Joined {
  public:
    Joined(const AttachRequest &request, const Fd &connection, const Signals &signals)
        : request_(request), connection_(connection), signals_(signals), key_(request.detach_key) {}

    Result<std::string> run() {
        enum { typed, heard, signaled };
        std::array<pollfd, 3> waiting = {{{.fd = request_.input, .events = POLLIN, .revents = 0},
                                          {.fd = connection_.get(), .events = POLLIN, .revents = 0},
                                          {.fd = signals_.fd(), .events = POLLIN, .revents = 0}}};
        for (;;) {
            // While the keeper takes nothing we take nothing from the user either; detaching must wait for it.
            waiting[typed].events = pending_.empty() ? POLLIN : 0;
            const bool idle = pending_.empty() && !resized_;
            waiting[heard].events = static_cast<short>(idle ? POLLIN : POLLIN | POLLOUT);
            if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
                return fail(errno, "cannot wait for the terminal");
            if (waiting[signaled].revents != 0) {
                for (int number = signals_.next(); number != 0; number = signals_.next()) {
                    if (number != SIGWINCH)
                        return "detached by a signal";
                    resized_ = !request_.watch;
                }
            }
            if ((waiting[heard].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
                if (auto why = TRY(hear()))
                    return *why;
            }
            if ((waiting[typed].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
                if (auto why = TRY(take_keys()))
                    return *why;
            }
            TRY(send_pending());
        }
    }

  private:
    Result<std::optional<std::string>> hear() {
        auto message = next_message(connection_, MSG_DONTWAIT);
        if (!message && message.error().code() == EAGAIN)
            return std::nullopt;
        if (!message && message.error().code() == ECONNRESET)
            return "the session's keeper has gone";
        if (!message)
            return std::unexpected(std::move(message).error());
        if (const auto *output = std::get_if<Output>(&*message))
            TRY(show(request_.output, output->data));
        else if (const auto *ended = std::get_if<Ended>(&*message))
            return ended->why;
        return std::nullopt;
    }

    Result<std::optional<std::string>> take_keys() {
        std::array<char, data_limit / 2> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read
        const ssize_t n = ::read(request_.input, buffer.data(), buffer.size());
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            return std::nullopt;
        if (n <= 0)
            return "detached, the terminal was closed";
        pending_ = key_.filter(std::string_view(buffer.data(), static_cast<size_t>(n)));
        const bool leaves = key_.detached() || (request_.watch && pending_.contains(interrupt_key));
        if (request_.watch)
            pending_.clear();
        if (!leaves)
            return std::nullopt;
        // Typed before the key, in one go with it. Where the keeper takes nothing, leaving does not wait for it.
        TRY(send_pending());
        return "detached";
    }

    Result<> send_pending() {
        if (resized_) {
            if (!TRY(offer(encode(ClientMessage(Resize{size_of(request_.output)})))))
                return {};
            resized_ = false;
        }
        if (!pending_.empty() && TRY(offer(encode(ClientMessage(Input{pending_})))))
            pending_.clear();
        return {};
    }

    // False: not now.
    Result<bool> offer(const std::string &packet) {
        if (::send(connection_.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return true;
        // Gone: what it said last is still to be read.
        if (errno == EAGAIN || errno == EINTR || errno == EPIPE || errno == ECONNRESET)
            return false;
        return fail(errno, "cannot send to the session's keeper");
    }

    const AttachRequest &request_;
    const Fd &connection_;
    const Signals &signals_;
    DetachKey key_;
    std::string pending_; // typed, not yet sent; at most one packet
    bool resized_ = false;
};

} // namespace

Result<std::vector<std::string>> attachable_sessions(uid_t uid, const std::string &directory) {
    std::vector<std::string> sessions;
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator(directory, code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        struct stat st = {};
        if (it->path().extension() != ".sock" || ::lstat(it->path().c_str(), &st) < 0 || !S_ISSOCK(st.st_mode))
            continue;
        if (uid != 0 && st.st_uid != uid)
            continue;
        const std::string id = it->path().stem().string();
        const auto path = socket_path(directory, id);
        if (!path)
            continue;
        if (const auto served = connect_packets(*path); served || !is_nobodys(served.error().code()))
            sessions.push_back(id);
    }
    if (code && code != std::errc::no_such_file_or_directory)
        return fail(code.value(), "cannot list {}", directory);
    // "9" before "10"
    std::ranges::sort(sessions, {}, [](const std::string &id) { return std::pair(id.size(), id); });
    return sessions;
}

Result<uid_t> owner_of(const std::string &session, const std::string &directory) {
    const auto path = TRY(socket_path(directory, session));
    struct stat st = {};
    if (::lstat(path.c_str(), &st) < 0)
        return fail(errno, "session {}: cannot find its keeper", session);
    return st.st_uid;
}

Result<std::vector<TerminalEntry>> terminals_of(const std::string &session, const std::string &directory,
                                                std::chrono::milliseconds limit) {
    const Fd connection = TRY(connect_to(directory, session, limit));
    TRY_IN(send_packet(connection, encode(ClientMessage(List()))), "session {}", session);
    auto message = TRY_IN(next_message(connection), "session {}", session);
    if (auto *terminals = std::get_if<Terminals>(&message))
        return std::move(terminals->entries);
    if (const auto *ended = std::get_if<Ended>(&message))
        return fail(0, "session {}: {}", session, ended->why);
    return fail(EBADMSG, "session {}: an unexpected answer", session);
}

Result<std::string> attach(const AttachRequest &request) {
    if (::isatty(request.input) == 0 || ::isatty(request.output) == 0)
        return fail(0, "cannot attach: standard input and output must be a terminal");
    Fd made;
    if (!request.connection)
        made = TRY(connect_to(request.directory, request.session));
    else if (TRY_IN(is_within(request.connection, request.output), "session {}", request.session))
        return fail(0, "session {}: you are in this session already", request.session);
    const Fd &connection = request.connection ? request.connection : made;
    const ClientMessage hello = request.watch ? ClientMessage(Watch{request.terminal})
                                              : Attach{.terminal = request.terminal, .size = size_of(request.output)};
    TRY_IN(send_packet(connection, encode(hello)), "session {}", request.session);
    const auto answer = TRY_IN(next_message(connection), "session {}", request.session);
    if (const auto *ended = std::get_if<Ended>(&answer))
        return fail(0, "session {}: {}", request.session, ended->why);
    const auto *attached = std::get_if<Attached>(&answer);
    if (attached == nullptr)
        return fail(EBADMSG, "session {}: an unexpected answer", request.session);

    const auto signals = TRY(Signals::block());
    Result<std::string> why = "";
    {
        const auto raw = TRY(RawMode::enter(request.input));
        // The screen is the session's; how to leave it stands in the title, where the terminal has one.
        TRY(show(request.output,
                 fmt::format("{}\x1b]2;session {}, terminal pts/{}{}; {} detaches\a", push_title, request.session,
                             attached->terminal, request.watch ? ", watching" : "", in_words(request.detach_key))));
        why = Joined(request, connection, signals).run();
        // The user's terminal may be in any mode that a program of the session has set. One that was closed shows
        // nothing any more: no matter.
        [[maybe_unused]] const auto shown =
            show(request.output, Modes::plain() + std::string(pop_title) + std::string(last_line));
    }
    return why;
}

} // namespace abey::session
