// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/unread_terminal.h"
#include "engine/os/mapped.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>

#include <asm/termbits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::os {
namespace {

constexpr size_t line_buffer = 4095;  // N_TTY_BUF_SIZE (linux/tty.h) but for one
constexpr size_t most_lines = 4096;   // each takes a byte of that buffer at least
constexpr size_t most_output = 65536; // 8192 in the pseudo-terminal (drivers/tty/pty.c), the line buffer, and to spare
// Above this the buffer may be full, and more wait behind it for which there is no way back.
constexpr int most_input = 3500;

// Plain data, as a helper fills it: no memory is asked for in a process that was forked from among threads.
struct Typed {
    size_t lines;
    std::array<uint32_t, most_lines> ends;
    size_t size;
    std::array<char, 2 * line_buffer> text;
};

struct Printed {
    size_t size;
    std::array<char, most_output> text;
};

template <class T> class Shared {
  public:
    explicit operator bool() const { return static_cast<bool>(memory_); }
    T &operator*() const { return *static_cast<T *>(memory_.at()); }

  private:
    Mapped memory_{sizeof(T), read_write, with_children};
};

bool contains(const char *text, size_t size, unsigned char byte) {
    return byte != 0 && std::memchr(text, byte, size) != nullptr;
}

// A byte that does not occur, to be given a meaning.
unsigned char unused_byte(const Typed &typed, const struct termios2 &settings, unsigned char other) {
    for (unsigned int byte = 1; byte < 256; ++byte) {
        const auto c = static_cast<unsigned char>(byte);
        if (c != '\n' && c != other && c != settings.c_cc[VSTART] && c != settings.c_cc[VSTOP] &&
            c != settings.c_cc[VEOL] && c != settings.c_cc[VEOL2] && !contains(typed.text.data(), typed.size, c))
            return c;
    }
    return 0;
}

int push(int slave, unsigned char byte) { return ::ioctl(slave, TIOCSTI, &byte) < 0 ? errno : 0; }

// Settings under which nothing is echoed, changed or taken for a signal. Flow control stays: to end it would start a
// terminal that ^S has stopped.
struct termios2 quiet_settings(const struct termios2 &settings, bool canonical) {
    struct termios2 quiet = settings;
    quiet.c_iflag &= IXON;
    quiet.c_lflag = canonical ? ICANON | IEXTEN : 0U;
    if (canonical) {
        std::fill(std::begin(quiet.c_cc), std::end(quiet.c_cc), 0);
        for (const int i : {VSTART, VSTOP, VEOL, VEOL2, VMIN, VTIME})
            quiet.c_cc[i] = settings.c_cc[i];
    } else {
        quiet.c_cc[VMIN] = 1;
        quiet.c_cc[VTIME] = 0;
    }
    return quiet;
}

int put_raw(int slave, struct termios2 quiet, const Typed &typed) {
    if (contains(typed.text.data(), typed.size, quiet.c_cc[VSTART]) ||
        contains(typed.text.data(), typed.size, quiet.c_cc[VSTOP]))
        quiet.c_iflag = 0;
    if (::ioctl(slave, TCSETS2, &quiet) < 0)
        return errno;
    int error = 0;
    for (size_t i = 0; i < typed.size && error == 0; ++i)
        error = push(slave, static_cast<unsigned char>(typed.text[i]));
    return error;
}

int put_canonical(int slave, struct termios2 quiet, const Typed &typed) {
    const unsigned char end = unused_byte(typed, quiet, 0);
    const unsigned char literal = unused_byte(typed, quiet, end);
    if (end == 0 || literal == 0)
        return E2BIG;
    quiet.c_cc[VEOF] = end;
    quiet.c_cc[VLNEXT] = literal;
    if (::ioctl(slave, TCSETS2, &quiet) < 0)
        return errno;
    const auto ends_line = [&](unsigned char c) {
        return c == '\n' || (c != 0 && (c == quiet.c_cc[VEOL] || c == quiet.c_cc[VEOL2]));
    };
    const auto is_flow = [&](unsigned char c) {
        return (quiet.c_iflag & IXON) != 0 && (c == quiet.c_cc[VSTART] || c == quiet.c_cc[VSTOP]);
    };
    int error = 0;
    size_t at = 0;
    for (size_t line = 0; line <= typed.lines && error == 0; ++line) {
        const bool whole = line < typed.lines;
        const size_t stop = whole ? typed.ends[line] : typed.size;
        bool ended = false;
        for (; at < stop && error == 0; ++at) {
            const auto c = static_cast<unsigned char>(typed.text[at]);
            ended = whole && at + 1 == stop && ends_line(c);
            if (!ended && (ends_line(c) || is_flow(c)))
                error = push(slave, literal);
            if (error == 0)
                error = push(slave, c);
        }
        if (whole && !ended && error == 0)
            error = push(slave, end);
    }
    return error;
}

// 0, or an errno. Leaves the terminal with quiet settings.
int put(int slave, const struct termios2 &settings, const Typed &typed) {
    const bool canonical = (settings.c_lflag & ICANON) != 0;
    const struct termios2 quiet = quiet_settings(settings, canonical);
    return canonical ? put_canonical(slave, quiet, typed) : put_raw(slave, quiet, typed);
}

void take_rest(int slave, Typed &typed) {
    while (typed.size < typed.text.size()) {
        const ssize_t got = ::read(slave, typed.text.data() + typed.size, typed.text.size() - typed.size);
        if (got <= 0)
            return;
        typed.size += static_cast<size_t>(got);
    }
}

// In the helper.
int take_and_put_back(int slave, Typed &typed) {
    struct termios2 settings = {};
    if (::ioctl(slave, TCGETS2, &settings) < 0)
        return errno;
    if ((settings.c_lflag & ICANON) != 0) {
        while (typed.lines < most_lines && typed.size < typed.text.size()) {
            const ssize_t got = ::read(slave, typed.text.data() + typed.size, typed.text.size() - typed.size);
            if (got < 0)
                break;
            typed.size += static_cast<size_t>(got);
            typed.ends[typed.lines++] = static_cast<uint32_t>(typed.size);
        }
        // A line that is not ended yet can only be read in the other mode; with nothing before it, the change loses no
        // ends of lines.
        const struct termios2 raw = quiet_settings(settings, false);
        if (::ioctl(slave, TCSETS2, &raw) < 0)
            return errno;
    }
    take_rest(slave, typed);
    const int error = typed.size > 0 || typed.lines > 0 ? put(slave, settings, typed) : 0;
    return ::ioctl(slave, TCSETS2, &settings) < 0 ? errno : error;
}

// Calls that need patience end after a second without progress.
int write_patiently(int file, const char *text, size_t size) {
    while (size > 0) {
        const ssize_t done = ::write(file, text, size);
        if (done > 0) {
            text += done;
            size -= static_cast<size_t>(done);
            continue;
        }
        pollfd room = {.fd = file, .events = POLLOUT, .revents = 0};
        if ((done < 0 && errno != EAGAIN && errno != EINTR) || ::poll(&room, 1, 1000) <= 0)
            return EAGAIN;
    }
    return 0;
}

// What fits goes into the reader's own buffer, the rest by way of the slave, as it had come.
int put_back_output(int master, const char *text, size_t size) {
    const size_t direct = std::min(size, line_buffer);
    for (size_t i = 0; i < direct; ++i)
        if (const int error = push(master, static_cast<unsigned char>(text[i])); error != 0)
            return error;
    if (direct == size)
        return 0;
    const int slave = ::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK);
    struct termios2 settings = {};
    if (slave < 0 || ::ioctl(slave, TCGETS2, &settings) < 0)
        return errno;
    struct termios2 plain = settings;
    plain.c_oflag = 0;
    int error = ::ioctl(slave, TCSETS2, &plain) < 0 ? errno : 0;
    if (error == 0)
        error = write_patiently(slave, text + direct, size - direct);
    if (::ioctl(slave, TCSETS2, &settings) < 0 && error == 0)
        error = errno;
    ::close(slave);
    return error;
}

bool has_output(int master) {
    // poll also lets arrive what is still on its way
    pollfd readable = {.fd = master, .events = POLLIN, .revents = 0};
    int unread = 0;
    return ::poll(&readable, 1, 0) > 0 && (readable.revents & POLLIN) != 0 && ::ioctl(master, FIONREAD, &unread) == 0 &&
           unread > 0;
}

int take_and_put_back_output(int master, Printed &printed) {
    int packets = 0; // in packet mode each read begins with a byte of its own
    if (::ioctl(master, TIOCGPKT, &packets) < 0)
        return errno;
    const int off = 0;
    if (packets != 0)
        (void)::ioctl(master, TIOCPKT, &off);
    while (printed.size < printed.text.size() && has_output(master)) {
        const ssize_t got = ::read(master, printed.text.data() + printed.size, printed.text.size() - printed.size);
        if (got <= 0)
            break;
        printed.size += static_cast<size_t>(got);
    }
    const int error = put_back_output(master, printed.text.data(), printed.size);
    if (packets != 0)
        (void)::ioctl(master, TIOCPKT, &packets);
    return error;
}

// Runs `work` in a process that no signal but SIGKILL reaches, and that has no controlling terminal.
template <class Work> Result<> in_helper(const Work &work) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t helper = ::fork();
    if (helper == 0) {
        (void)::setsid();
        ::_exit(work());
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (helper < 0)
        return fail(errno, "cannot make a process that looks at the terminal");
    int status = 0;
    while (::waitpid(helper, &status, 0) < 0)
        if (errno != EINTR)
            return fail(errno, "cannot wait for the process that looks at the terminal");
    if (!WIFEXITED(status))
        return fail(0, "the process that looks at the terminal was ended");
    if (WEXITSTATUS(status) != 0)
        return fail(WEXITSTATUS(status), "cannot look at what is unread in the terminal");
    return {};
}

std::optional<Typed> flattened(const UnreadInput &input) {
    Typed typed = {};
    const auto add = [&](const std::string &text) {
        if (text.size() > typed.text.size() - typed.size)
            return false;
        std::copy(text.begin(), text.end(), typed.text.begin() + static_cast<ptrdiff_t>(typed.size));
        typed.size += text.size();
        return true;
    };
    if (input.lines.size() > most_lines)
        return {};
    for (const auto &line : input.lines) {
        if (!add(line))
            return {};
        typed.ends[typed.lines++] = static_cast<uint32_t>(typed.size);
    }
    if (!add(input.rest))
        return {};
    return typed;
}

} // namespace

Result<UnreadInput> look_at_input(const Fd &slave) {
    pollfd readable = {.fd = slave.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&readable, 1, 0); // lets arrive what is still on its way
    int unread = 0;
    struct termios2 settings = {};
    if (::ioctl(slave.get(), FIONREAD, &unread) < 0 || ::ioctl(slave.get(), TCGETS2, &settings) < 0)
        return fail(errno, "cannot look at what is unread in the terminal");
    if (unread > most_input || (unread > 0 && (settings.c_lflag & EXTPROC) != 0))
        return fail(E2BIG, "{} bytes are unread in the terminal", unread);
    if (unread == 0 && (readable.revents & POLLIN) == 0 && (settings.c_lflag & (ICANON | EXTPROC)) != ICANON)
        return UnreadInput{};
    const Shared<Typed> typed;
    if (!typed)
        return fail(errno, "no memory for what is unread in the terminal");
    TRY(in_helper([&] { return take_and_put_back(slave.get(), *typed); }));
    UnreadInput input;
    size_t at = 0;
    for (size_t i = 0; i < (*typed).lines; ++i) {
        input.lines.emplace_back((*typed).text.data() + at, (*typed).ends[i] - at);
        at = (*typed).ends[i];
    }
    input.rest.assign((*typed).text.data() + at, (*typed).size - at);
    return input;
}

Result<> put_input(const Fd &slave, const struct termios2 &settings, const UnreadInput &input) {
    const auto typed = flattened(input);
    if (!typed)
        return fail(EBADMSG, "the checkpoint has more unread input than a terminal holds");
    if (const int error = put(slave.get(), settings, *typed); error != 0)
        return fail(error, "cannot put back what had been typed");
    return {};
}

Result<std::string> look_at_output(const Fd &master) {
    if (!has_output(master.get()))
        return std::string();
    const Shared<Printed> printed;
    if (!printed)
        return fail(errno, "no memory for what is unread in the terminal");
    TRY(in_helper([&] { return take_and_put_back_output(master.get(), *printed); }));
    return std::string((*printed).text.data(), (*printed).size);
}

Result<> put_output(int master, std::string_view output) {
    if (const int error = put_back_output(master, output.data(), output.size()); error != 0)
        return fail(error, "cannot put back what had been printed");
    return {};
}

} // namespace abey::os
