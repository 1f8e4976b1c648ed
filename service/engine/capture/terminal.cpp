// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Pseudo-terminals: slaves, masters, /dev/tty.
#include "engine/capture/descriptors.h"
#include "engine/capture/kinds.h"
#include "engine/capture/mounts.h"
#include "engine/capture/open_files.h"
#include "engine/os/mount_tree.h"
#include "engine/os/procfs.h"
#include "engine/os/unread_terminal.h"

#include <set>

#include <asm/termbits.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

namespace abey::capture {
namespace terminal {
namespace {

// Linux's devices.txt
constexpr unsigned int first_pts_major = 136, last_pts_major = 143;
constexpr unsigned int console_major = 4, tty_major = 5;
constexpr unsigned int dev_tty_minor = 0, dev_console_minor = 1, ptmx_minor = 2;

// Context::state
struct Terminals {
    struct Known {
        model::ObjRef id = 0;
        Fd some_end; // master if there is one: it answers more questions
        bool is_master = false;
        Seen seen;
    };
    std::map<uint32_t, Known> by_index;
};

bool is_pts(dev_t device) { return major(device) >= first_pts_major && major(device) <= last_pts_major; }

// Linux splits the index of a pty over majors only below 2^8 minors; with 20 bits of minors all are under the first.
uint32_t pts_index(dev_t device) { return (major(device) - first_pts_major) * 256U + minor(device); }

bool matches(const Seen &seen) {
    if (!S_ISCHR(seen.stat.st_mode) || (seen.flags & O_PATH) != 0)
        return false;
    const dev_t device = seen.stat.st_rdev;
    return is_pts(device) || major(device) == console_major || major(device) == tty_major;
}

Error refused_terminal(dev_t device) {
    std::string name = fmt::format("character device {}:{}", major(device), minor(device));
    if (major(device) == console_major)
        name = minor(device) < 64 ? fmt::format("the virtual console tty{}", minor(device))
                                  : fmt::format("the serial line ttyS{}", minor(device) - 64);
    else if (device == makedev(tty_major, dev_console_minor))
        name = "the system console";
    return Error(0, name + " cannot be brought back; run the programs in a terminal emulator, by ssh, or in tmux");
}

template <class T> Result<T> ask(const Fd &file, unsigned long request, const char *what) {
    T value = {};
    if (::ioctl(file.get(), request, &value) < 0)
        return fail(errno, "cannot ask the terminal for its {}", what);
    return value;
}

template <class T> model::Bytes bytes_of(const T &value) {
    return {reinterpret_cast<const char *>(&value), sizeof value};
}

// Which terminal is meant: for /dev/tty the caller's controlling terminal when it was opened.
Result<dev_t> device_of(const Seen &seen) {
    const dev_t device = seen.stat.st_rdev;
    if (is_pts(device))
        return device;
    if (device == makedev(tty_major, ptmx_minor)) {
        const auto index = TRY(ask<unsigned int>(*seen.file, TIOCGPTN, "index"));
        return makedev(first_pts_major, index);
    }
    if (device == makedev(tty_major, dev_tty_minor)) {
        // new_encode_dev() of linux/kdev_t.h
        const auto code = TRY(ask<unsigned int>(*seen.file, TIOCGDEV, "device"));
        return makedev((code & 0xfff00U) >> 8U, (code & 0xffU) | ((code >> 12U) & 0xfff00U));
    }
    return device;
}

Result<> capture_settings(const Fd &end, bool is_master, model::Terminal &terminal) {
    auto settings = ask<struct termios2>(end, TCGETS2, "settings");
    if (!settings && settings.error().code() == EIO)
        return {}; // hung up: its master has gone; no settings says so
    terminal.settings = bytes_of(TRY(std::move(settings)));
    terminal.locked_settings = bytes_of(TRY(ask<struct termios>(end, TIOCGLCKTRMIOS, "locked settings")));
    if (TRY(ask<int>(end, TIOCGETD, "line discipline")) != 0)
        return fail(0,
                    "a terminal with a line discipline of its own cannot be brought back; end the program that set it");
    const auto size = TRY(ask<winsize>(end, TIOCGWINSZ, "size"));
    terminal.rows = size.ws_row;
    terminal.columns = size.ws_col;
    terminal.x_pixels = size.ws_xpixel;
    terminal.y_pixels = size.ws_ypixel;
    if (!is_master)
        return {};
    terminal.master_inside = true;
    terminal.packet_mode = TRY(ask<int>(end, TIOCGPKT, "packet mode")) != 0;
    terminal.locked = TRY(ask<int>(end, TIOCGPTLCK, "lock")) != 0;
    // no session, no foreground group: 0, or an error that says so
    terminal.foreground = ask<int>(end, TIOCGPGRP, "foreground group").value_or(0);
    terminal.session = ask<int>(end, TIOCGSID, "session").value_or(0);
    return {};
}

void capture_node(const struct stat &st, model::Terminal &terminal) {
    terminal.mode = st.st_mode & 07777U;
    terminal.uid = st.st_uid;
    terminal.gid = st.st_gid;
}

// What only the slave tells.
void capture_slave(const Fd &end, const Seen &seen, model::Terminal &terminal) {
    capture_node(seen.stat, terminal);
    terminal.exclusive = ask<int>(end, TIOCGEXCL, "exclusive mode").value_or(0) != 0;
}

// The terminal with this index, with what this end of it tells.
Result<model::ObjRef> know(Context &context, uint32_t index, const Fd &end, bool is_master, const Seen &seen) {
    auto &known = context.state<Terminals>().by_index[index];
    const bool is_slave_node = !is_master && is_pts(seen.stat.st_rdev);
    if (known.id != 0 && (known.is_master || !is_master)) {
        if (is_slave_node)
            capture_slave(end, seen, context.tree.terminals.at(known.id));
        return known.id;
    }
    model::Terminal terminal;
    if (known.id != 0)
        terminal = context.tree.terminals.at(known.id); // seen by its slave so far
    terminal.index = index;
    TRY(capture_settings(end, is_master, terminal));
    if (is_slave_node)
        capture_slave(end, seen, terminal);
    else if (struct stat st = {};
             terminal.mode == 0 && ::stat(fmt::format("/proc/{}/root/dev/pts/{}", seen.pid, index).c_str(), &st) == 0)
        capture_node(st, terminal);
    if (terminal.id == 0)
        terminal.id = context.tree.next_id();
    known.id = terminal.id;
    known.is_master = is_master;
    known.some_end = TRY(duplicate(end));
    known.seen = seen;
    known.seen.file = nullptr;
    context.tree.terminals.insert_or_assign(terminal.id, std::move(terminal));
    return known.id;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const dev_t device = TRY(device_of(seen));
    if (!is_pts(device))
        return std::unexpected(refused_terminal(device));
    if (const auto place = place_of(context, TRY(os::mount_id(*seen.file)));
        place && context.tree.namespaces.at(place->mount_namespace).mounts.at(place->mount).file_system != 0)
        return fail(0, "a terminal of a devpts that only its mount namespace has cannot be brought back yet; end the "
                       "program");
    const bool is_master = seen.stat.st_rdev == makedev(tty_major, ptmx_minor);
    return model::TerminalEnd{.terminal = TRY(know(context, pts_index(device), *seen.file, is_master, seen)),
                              .master = is_master,
                              .by_dev_tty = seen.stat.st_rdev == makedev(tty_major, dev_tty_minor)};
}

// An open file of our own, that does not wait.
Result<Fd> own_slave(const Terminals::Known &known, const model::Terminal &terminal) {
    if (known.is_master) {
        const int open = 0;
        const int locked = 1;
        if (terminal.locked)
            (void)::ioctl(known.some_end.get(), TIOCSPTLCK, &open);
        Fd slave(::ioctl(known.some_end.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
        const int error = errno;
        if (terminal.locked)
            (void)::ioctl(known.some_end.get(), TIOCSPTLCK, &locked);
        if (!slave)
            return fail(error, "cannot open the slave");
        return slave;
    }
    // not by a descriptor of /dev/tty: that is another terminal for us
    if (const struct stat st = TRY(stat_of(known.some_end)); is_pts(st.st_rdev))
        return abey::open_file(fmt::format("/proc/self/fd/{}", known.some_end.get()), O_RDWR | O_NOCTTY | O_NONBLOCK);
    Fd slave = TRY(abey::open_file(fmt::format("/proc/{}/root/dev/pts/{}", known.seen.pid, terminal.index),
                                   O_RDWR | O_NOCTTY | O_NONBLOCK));
    const struct stat st = TRY(stat_of(slave));
    const struct stat ours = TRY(stat_of(known.some_end));
    if (!is_pts(st.st_rdev) || (is_pts(ours.st_rdev) && (st.st_rdev != ours.st_rdev || st.st_dev != ours.st_dev)))
        return fail(ENXIO, "its name leads to another one");
    return slave;
}

Result<> capture_unread(const Terminals::Known &known, bool has_slave, model::Terminal &terminal) {
    if (known.is_master)
        terminal.output = TRY(os::look_at_output(known.some_end));
    // Nobody has the slave open: to open it would be seen by the master when it closes again.
    if (!has_slave)
        return {};
    const Fd slave = TRY(own_slave(known, terminal));
    auto input = TRY(os::look_at_input(slave));
    terminal.lines = std::move(input.lines);
    terminal.input = std::move(input.rest);
    return {};
}

Result<> look_at_all(Context &context) {
    if (context.preflight)
        return {};
    std::set<model::ObjRef> with_slave;
    for (const auto &[id, file] : context.tree.open_files)
        if (const auto *end = std::get_if<model::TerminalEnd>(&file.payload); end != nullptr && !end->master)
            with_slave.insert(end->terminal);
    for (const auto &[index, known] : context.state<Terminals>().by_index) {
        auto &terminal = context.tree.terminals.at(known.id);
        if (terminal.settings.empty())
            continue;
        const auto done = capture_unread(known, !known.is_master || with_slave.contains(known.id), terminal);
        if (!done)
            context.findings.push_back(
                {.pid = known.seen.pid,
                 .comm = known.seen.comm,
                 .object = fmt::format("terminal /dev/pts/{}", index),
                 .reason = "what has not been read yet will be missing after the restore: " + done.error().message(),
                 .advice = {},
                 .fatal = false});
    }
    return {};
}

} // namespace
} // namespace terminal

Result<model::ObjRef> controlling_terminal(Context &context, const os::ProcStat &stat) {
    if (stat.terminal == 0)
        return 0;
    const int pid = stat.pid;
    const std::string &comm = stat.comm;
    const auto code = static_cast<unsigned int>(stat.terminal);
    const dev_t device = makedev((code & 0xfff00U) >> 8U, (code & 0xffU) | ((code >> 12U) & 0xfff00U));
    if (!terminal::is_pts(device)) {
        const Error refused = terminal::refused_terminal(device);
        if (!context.preflight)
            return fail(0, "process {} ({}), controlling terminal: {}", pid, comm, refused.message());
        const std::string message = refused.message();
        const auto cut = message.find("; ");
        context.findings.push_back({.pid = pid,
                                    .comm = comm,
                                    .object = "controlling terminal",
                                    .reason = message.substr(0, cut),
                                    .advice = message.substr(cut + 2)});
        return 0;
    }
    const uint32_t index = terminal::pts_index(device);
    auto &terminals = context.state<terminal::Terminals>();
    if (!terminals.by_index.contains(index)) {
        // no task has it open: look at it by its name
        const std::string path = fmt::format("/proc/{}/root/dev/pts/{}", stat.door, index);
        const auto end = TRY_IN(abey::open_file(path, O_RDWR | O_NOCTTY | O_NONBLOCK),
                                "process {} ({}), controlling terminal /dev/pts/{}", pid, comm, index);
        const Seen seen = TRY(look_at(stat.door, comm, end));
        TRY_IN(terminal::know(context, index, end, false, seen), "process {} ({}), controlling terminal /dev/pts/{}",
               pid, comm, index);
    }
    auto &terminal = context.tree.terminals.at(terminals.by_index.at(index).id);
    terminal.session = stat.session;
    if (stat.foreground > 0)
        terminal.foreground = stat.foreground;
    return terminal.id;
}

Kind terminal_kind() {
    return {.name = "terminal",
            .matches = terminal::matches,
            .capture = terminal::capture,
            .complete = terminal::look_at_all};
}

} // namespace abey::capture
