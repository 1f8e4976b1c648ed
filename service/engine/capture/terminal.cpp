// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Terminals: slaves and masters of pseudo-terminals, /dev/tty, and those of the machine.
#include "engine/capture/descriptors.h"
#include "engine/capture/kinds.h"
#include "engine/capture/machine_terminal.h"
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
constexpr unsigned int tty_major = 5;
constexpr unsigned int dev_tty_minor = 0, ptmx_minor = 2;

// Context::state
struct Terminals {
    struct Known {
        model::ObjRef id = 0;
        Fd some_end; // master if there is one: it answers more questions
        bool is_master = false;
        Seen seen;
    };
    // One that was hung up is another than what has its number by now.
    std::map<std::pair<dev_t, bool>, Known> by_device;
};

bool is_pts(dev_t device) { return major(device) >= first_pts_major && major(device) <= last_pts_major; }

// Linux splits the index of a pty over majors only below 2^8 minors; with 20 bits of minors all are under the first.
uint32_t pts_index(dev_t device) { return (major(device) - first_pts_major) * 256U + minor(device); }

bool matches(const Seen &seen) {
    if (!S_ISCHR(seen.stat.st_mode) || (seen.flags & O_PATH) != 0)
        return false;
    const dev_t device = seen.stat.st_rdev;
    return is_pts(device) || is_teletype(device);
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

// new_encode_dev() of linux/kdev_t.h
dev_t decoded(unsigned int code) {
    return makedev((code & 0xfff00U) >> 8U, (code & 0xffU) | ((code >> 12U) & 0xfff00U));
}

// Which terminal is meant, and whether it was hung up: for /dev/tty the caller's controlling terminal when it was
// opened, for /dev/tty0 and /dev/console that which they stood for then.
Result<std::pair<dev_t, bool>> device_of(const Seen &seen) {
    const dev_t device = seen.stat.st_rdev;
    if (device == makedev(tty_major, ptmx_minor)) {
        const auto index = TRY(ask<unsigned int>(*seen.file, TIOCGPTN, "index"));
        return std::pair(makedev(first_pts_major, index), false);
    }
    auto code = ask<unsigned int>(*seen.file, TIOCGDEV, "device");
    if (!code && code.error().code() == EIO)
        return std::pair(device, true); // it answers nothing any more (hung_up_tty_fops of drivers/tty/tty_io.c)
    const dev_t meant = decoded(TRY(std::move(code)));
    return std::pair(is_pts(device) ? device : meant, false);
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

std::string path_of(dev_t device) {
    return is_pts(device) ? fmt::format("/dev/pts/{}", pts_index(device)) : path_of_terminal(device);
}

// Where that is in the eyes of a process.
std::string node_of(dev_t device, int pid) { return fmt::format("/proc/{}/root{}", pid, path_of(device)); }

// The terminal with what this end of it tells.
Result<model::ObjRef> know(Context &context, std::pair<dev_t, bool> which, const Fd &end, bool is_master,
                           const Seen &seen) {
    auto &all = context.state<Terminals>().by_device;
    const dev_t device = which.first;
    const auto known = all.find(which);
    const bool is_slave_node = seen.stat.st_rdev == device; // and not another that stands for it
    if (known != all.end() && (known->second.is_master || !is_master)) {
        if (is_slave_node)
            capture_slave(end, seen, context.tree.terminals.at(known->second.id));
        return known->second.id;
    }
    model::Terminal terminal;
    if (known != all.end())
        terminal = context.tree.terminals.at(known->second.id); // seen by its slave so far
    if (is_pts(device))
        terminal.index = pts_index(device);
    else
        terminal.replaced = path_of_terminal(device);
    TRY(capture_settings(end, is_master, terminal));
    if (!terminal.replaced.empty() && !terminal.settings.empty())
        TRY(check_replaceable(context, end, device));
    if (is_slave_node)
        capture_slave(end, seen, terminal);
    else if (struct stat st = {}; terminal.mode == 0 && ::stat(node_of(device, seen.pid).c_str(), &st) == 0)
        capture_node(st, terminal);
    if (terminal.id == 0)
        terminal.id = context.tree.next_id();
    const model::ObjRef id = terminal.id;
    auto &now =
        all.insert_or_assign(
               which, Terminals::Known{.id = id, .some_end = TRY(duplicate(end)), .is_master = is_master, .seen = seen})
            .first->second;
    now.seen.file = nullptr;
    context.tree.terminals.insert_or_assign(id, std::move(terminal));
    return id;
}

Result<model::Payload> capture(Context &context, const Seen &seen) {
    const auto which = TRY(device_of(seen));
    if (const auto place = place_of(context, TRY(os::mount_id(*seen.file)));
        place && context.tree.namespaces.at(place->mount_namespace).mounts.at(place->mount).file_system != 0)
        return fail(0, "a terminal of a devpts that only its mount namespace has cannot be brought back yet; end the "
                       "program");
    const bool is_master = seen.stat.st_rdev == makedev(tty_major, ptmx_minor);
    return model::TerminalEnd{.terminal = TRY(know(context, which, *seen.file, is_master, seen)),
                              .master = is_master,
                              .by_dev_tty = seen.stat.st_rdev == makedev(tty_major, dev_tty_minor)};
}

// An open file of our own, that does not wait.
Result<Fd> own_slave(dev_t device, const Terminals::Known &known, const model::Terminal &terminal) {
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
    if (const struct stat st = TRY(stat_of(known.some_end)); st.st_rdev == device)
        return abey::open_file(fmt::format("/proc/self/fd/{}", known.some_end.get()), O_RDWR | O_NOCTTY | O_NONBLOCK);
    Fd slave = TRY(abey::open_file(node_of(device, known.seen.pid), O_RDWR | O_NOCTTY | O_NONBLOCK));
    if (const struct stat st = TRY(stat_of(slave)); !S_ISCHR(st.st_mode) || st.st_rdev != device)
        return fail(ENXIO, "its name leads to another one");
    return slave;
}

Result<> capture_unread(dev_t device, const Terminals::Known &known, bool has_slave, model::Terminal &terminal) {
    if (known.is_master)
        terminal.output = TRY(os::look_at_output(known.some_end));
    // Nobody has the slave open: to open it would be seen by the master when it closes again.
    if (!has_slave)
        return {};
    const Fd slave = TRY(own_slave(device, known, terminal));
    auto input = TRY(os::look_at_input(slave));
    terminal.lines = std::move(input.lines);
    terminal.input = std::move(input.rest);
    return {};
}

// A terminal of the machine that no process of the session runs on is a device that a program works with: to a modem
// behind a serial line nothing can be put in place. And the others get numbers that no terminal of the session has.
Result<> settle_replaced(Context &context) {
    uint32_t free_index = 0;
    for (const auto &[id, terminal] : context.tree.terminals)
        if (terminal.replaced.empty())
            free_index = std::max(free_index, terminal.index + 1);
    for (const auto &[which, known] : context.state<Terminals>().by_device) {
        auto &terminal = context.tree.terminals.at(known.id);
        const dev_t device = which.first;
        if (terminal.replaced.empty())
            continue;
        terminal.index = free_index++;
        if (terminal.settings.empty()) // hung up, whatever it was
            continue;
        Finding finding = {.pid = known.seen.pid,
                           .comm = known.seen.comm,
                           .object = "terminal " + terminal.replaced,
                           .reason = described_terminal(device) + " is replaced by a pseudo-terminal after the restore",
                           .advice = "`abeyctl attach` shows it",
                           .fatal = terminal.session == 0};
        if (finding.fatal) {
            finding.reason = described_terminal(device) +
                             " cannot be brought back: no process of the session has it as its controlling terminal";
            finding.advice = "end the program";
        }
        if (finding.fatal && !context.preflight)
            return fail(0, "process {} ({}), {}; {}", finding.pid, finding.comm, finding.reason, finding.advice);
        context.findings.push_back(std::move(finding));
    }
    return {};
}

Result<> look_at_all(Context &context) {
    TRY(settle_replaced(context));
    if (context.preflight)
        return {};
    std::set<model::ObjRef> with_slave;
    for (const auto &[id, file] : context.tree.open_files)
        if (const auto *end = std::get_if<model::TerminalEnd>(&file.payload); end != nullptr && !end->master)
            with_slave.insert(end->terminal);
    for (const auto &[which, known] : context.state<Terminals>().by_device) {
        auto &terminal = context.tree.terminals.at(known.id);
        if (terminal.settings.empty())
            continue;
        const auto done =
            capture_unread(which.first, known, !known.is_master || with_slave.contains(known.id), terminal);
        if (!done)
            context.findings.push_back(
                {.pid = known.seen.pid,
                 .comm = known.seen.comm,
                 .object = "terminal " + path_of(which.first),
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
    const dev_t device = terminal::decoded(static_cast<unsigned int>(stat.terminal));
    auto &terminals = context.state<terminal::Terminals>();
    const std::pair which(device, false);
    if (!terminals.by_device.contains(which)) {
        // no task has it open: look at it by its name, which may lead elsewhere
        const std::string path = terminal::path_of(device);
        const auto look = [&]() -> Result<> {
            auto place = abey::open_file(terminal::node_of(device, stat.door), O_PATH);
            if (!place && place.error().code() != ESRCH)
                return fail(0, "{} is not there, or cannot be opened: {}", path, place.error().message());
            const Fd node = TRY(std::move(place));
            if (const struct stat st = TRY(stat_of(node)); !S_ISCHR(st.st_mode) || st.st_rdev != device)
                return fail(0, "{} is not that terminal, but another file", path);
            const auto end =
                TRY(abey::open_file(fmt::format("/proc/self/fd/{}", node.get()), O_RDWR | O_NOCTTY | O_NONBLOCK));
            const Seen seen = TRY(look_at(stat.door, comm, end));
            TRY(terminal::know(context, which, end, false, seen));
            return {};
        };
        if (auto looked = look(); !looked) {
            if (context.preflight)
                return std::unexpected(std::move(looked).error());
            return within(std::move(looked).error(), "process {} ({}), controlling terminal", pid, comm);
        }
    }
    auto &terminal = context.tree.terminals.at(terminals.by_device.at(which).id);
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
