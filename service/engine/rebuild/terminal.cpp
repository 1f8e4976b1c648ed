// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pseudo-terminals: slaves, masters, /dev/tty.
#include "engine/os/unread_terminal.h"
#include "engine/rebuild/kinds.h"
#include "engine/rebuild/objects.h"

#include <csignal>
#include <cstring>
#include <set>

#include <asm/termbits.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace abey::rebuild {
namespace terminal {
namespace {

// Context::state
struct Terminals {
    struct Made {
        Fd master; // empty once a task's open file or Context::masters has it; `number` stays valid
        int number = -1;
        Fd slave; // for terminal_slave()
        uint32_t index = 0;
        bool master_taken = false;
    };
    std::map<model::ObjRef, Made> made;
};

Result<uint32_t> index_of(const Fd &master) {
    unsigned int index = 0;
    if (::ioctl(master.get(), TIOCGPTN, &index) < 0)
        return fail(errno, "cannot ask for the number of a pseudo-terminal");
    return index;
}

// The kernel gives the lowest free index: so masters are opened until it is the wanted one, or that turns out to be
// taken.
Result<Fd> open_master(uint32_t wanted) {
    std::vector<Fd> lower;
    for (;;) {
        auto master = abey::open_file("/dev/ptmx", O_RDWR | O_NOCTTY);
        if (!master && !lower.empty())
            return std::move(lower.front()); // no more to be had: any will do
        if (!master)
            return within(std::move(master).error(), "cannot make a pseudo-terminal");
        const uint32_t index = TRY(index_of(*master));
        if (index == wanted)
            return std::move(*master);
        if (index > wanted)
            return lower.empty() ? std::move(*master) : std::move(lower.front());
        lower.push_back(std::move(*master));
    }
}

constexpr uint32_t kernel_largefile = 0100000; // O_LARGEFILE, which the C library calls 0 here

Result<Fd> open_slave(int master, uint32_t flags) {
    // By the master: no name that could lead to another file system. Its flags become the file's as they are: with
    // O_CLOEXEC /proc would show every duplicate as to be closed, and the next checkpoint would believe it.
    Fd fd(::ioctl(master, TIOCGPTPEER,
                  static_cast<int>((flags & (O_ACCMODE | kernel_largefile)) | O_NOCTTY | O_NONBLOCK)));
    if (!fd || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) < 0)
        return fail(errno, "cannot open the slave of a pseudo-terminal");
    return fd;
}

Result<Terminals::Made *> make(Context &context, model::ObjRef id) {
    auto &terminals = context.state<Terminals>();
    if (const auto known = terminals.made.find(id); known != terminals.made.end())
        return &known->second;
    const model::Terminal *terminal = TRY(find(context.tree.terminals, id));
    Terminals::Made made;
    made.master = TRY(open_master(terminal->index));
    made.number = made.master.get();
    made.index = TRY(index_of(made.master));
    const int unlocked = 0;
    if (::ioctl(made.number, TIOCSPTLCK, &unlocked) < 0)
        return fail(errno, "cannot unlock the pseudo-terminal /dev/pts/{}", made.index);
    // Now, while it is nobody's controlling terminal: later its foreground group would be told of a change by SIGWINCH.
    const winsize size = {.ws_row = terminal->rows,
                          .ws_col = terminal->columns,
                          .ws_xpixel = terminal->x_pixels,
                          .ws_ypixel = terminal->y_pixels};
    if (::ioctl(made.number, TIOCSWINSZ, &size) < 0)
        return fail(errno, "cannot set the size of the pseudo-terminal /dev/pts/{}", made.index);
    return &terminals.made.emplace(id, std::move(made)).first->second;
}

// /dev/tty can only be opened by a process whose controlling terminal it is. A child becomes that for a moment, and
// gives the terminal up again before it ends: the end of its session would hang the terminal up. It shares our
// descriptors.
Result<Fd> open_dev_tty(Fd slave_file, uint32_t flags) {
    const int slave = slave_file.get();
    const auto child =
        static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (child < 0)
        return fail(errno, "cannot make a process");
    if (child == 0) {
        // only plain system calls from here: other threads of the worker may hold locks
        (void)::signal(SIGHUP, SIG_IGN);
        (void)::signal(SIGCONT, SIG_IGN);
        int fd = -1;
        if (::setsid() >= 0 && ::ioctl(slave, TIOCSCTTY, 0) == 0) {
            fd = ::open("/dev/tty", static_cast<int>((flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC));
            static_cast<void>(::ioctl(slave, TIOCNOTTY));
        }
        // the number is not one of the 8 bits of an exit status, so it comes back at a place that the parent knows
        if (fd >= 0 && ::dup3(fd, slave, O_CLOEXEC) >= 0) {
            ::close(fd);
            ::_exit(0);
        }
        ::_exit(1);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(0, "cannot open the terminal as /dev/tty");
    return slave_file;
}

Result<Fd> create(Context &context, const model::OpenFile &file) {
    const auto &end = std::get<model::TerminalEnd>(file.payload);
    auto *made = TRY(make(context, end.terminal));
    if (end.master) {
        if (std::exchange(made->master_taken, true))
            return fail(EBADMSG, "the checkpoint has two open files for one master of a pseudo-terminal");
        return duplicate(made->master);
    }
    Fd slave = TRY(open_slave(made->number, end.by_dev_tty ? O_RDWR : file.flags));
    if (!end.by_dev_tty)
        return slave;
    return open_dev_tty(std::move(slave), file.flags);
}

template <class T> Result<T> from_bytes(const model::Bytes &bytes, const char *what) {
    if (bytes.size() != sizeof(T))
        return fail(EBADMSG, "the checkpoint has {} of the wrong size for a terminal", what);
    T value = {};
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

// What was on its way.
Result<> refill(const model::Terminal &terminal, const struct termios2 &settings, const Terminals::Made &made) {
    if (!terminal.output.empty())
        TRY(os::put_output(made.number, terminal.output));
    if (terminal.input.empty() && terminal.lines.empty())
        return {};
    const Fd slave = TRY(open_slave(made.number, O_RDWR));
    return os::put_input(slave, settings, {.lines = terminal.lines, .rest = terminal.input});
}

Result<> set_up(const model::Terminal &terminal, const Terminals::Made &made) {
    // asked of the master, these are answered for the slave
    const auto settings = TRY(from_bytes<struct termios2>(terminal.settings, "settings"));
    TRY(refill(terminal, settings, made));
    if (::ioctl(made.number, TCSETS2, &settings) < 0)
        return fail(errno, "cannot set its settings");
    const auto locked = TRY(from_bytes<struct termios>(terminal.locked_settings, "locked settings"));
    if (::ioctl(made.number, TIOCSLCKTRMIOS, &locked) < 0)
        return fail(errno, "cannot lock its settings");
    const int packet_mode = terminal.packet_mode ? 1 : 0;
    if (::ioctl(made.number, TIOCPKT, &packet_mode) < 0)
        return fail(errno, "cannot set its packet mode");
    const std::string node = fmt::format("/dev/pts/{}", made.index);
    if (::chown(node.c_str(), terminal.uid, terminal.gid) < 0 || ::chmod(node.c_str(), terminal.mode & 0777U) < 0)
        return fail(errno, "cannot set owner and mode of {}", node);
    return {};
}

Result<> set_up_all(Context &context) {
    for (const auto &[id, terminal] : context.tree.terminals) {
        auto *made = TRY(make(context, id));
        if (terminal.settings.empty()) { // was hung up: so it is again once nobody has the master
            made->master.reset();
            made->number = -1;
            continue;
        }
        TRY_IN(set_up(terminal, *made), "terminal /dev/pts/{} (was {})", made->index,
               terminal.replaced.empty() ? std::to_string(terminal.index) : terminal.replaced);
        if (!made->master_taken)
            context.masters.insert_or_assign(id, TRY(duplicate(made->master)));
    }
    return {};
}

// Once every descriptor is in its place: these two would stand in the way of opening the slave.
Result<> set_last(Context &context) {
    auto &terminals = context.state<Terminals>();
    for (const auto &[id, made] : terminals.made) {
        const auto &terminal = context.tree.terminals.at(id);
        const int locked = 1;
        if (terminal.exclusive && ::ioctl(TRY(terminal_slave(context, id)), TIOCEXCL) < 0)
            return fail(errno, "terminal /dev/pts/{}: cannot make it exclusive", made.index);
        if (terminal.locked && made.number >= 0 && ::ioctl(made.number, TIOCSPTLCK, &locked) < 0)
            return fail(errno, "terminal /dev/pts/{}: cannot lock it", made.index);
    }
    terminals.made.clear(); // our ends: the program at the other must see when the last of theirs closes
    return {};
}

} // namespace
} // namespace terminal

Result<int> terminal_slave(Context &context, model::ObjRef terminal) {
    auto *made = TRY(terminal::make(context, terminal));
    if (!made->slave) {
        // Whoever asks makes it a controlling terminal, and then no /dev/tty can be opened for it by others any more.
        for (const auto &[id, file] : context.tree.open_files)
            if (const auto *end = std::get_if<model::TerminalEnd>(&file.payload);
                end != nullptr && end->by_dev_tty && end->terminal == terminal)
                TRY(context.open_file(id));
        made->slave = TRY(terminal::open_slave(made->number, O_RDWR));
    }
    return made->slave.get();
}

Kind terminal_kind() {
    return {.name = "terminal",
            .payload = payload_index<model::TerminalEnd>(),
            .create = terminal::create,
            .fill = terminal::set_up_all,
            .in_task = nullptr,
            .finish = terminal::set_last};
}

} // namespace abey::rebuild
