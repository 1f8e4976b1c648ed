// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/machine_terminal.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <linux/kd.h>
#include <linux/vt.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

namespace abey::capture {
namespace {

// Linux's devices.txt: consoles and serial lines; those that stand for others; serial lines of system-on-chips, of USB
// (two drivers), and of hypervisors
constexpr unsigned int console_major = 4;
constexpr std::array<unsigned int, 6> teletype_majors = {console_major, 5, 166, 188, 204, 229};
constexpr unsigned int first_serial_minor = 64;

bool is_virtual_console(dev_t device) {
    return major(device) == console_major && minor(device) != 0 && minor(device) < first_serial_minor;
}

std::string name_of(dev_t device) {
    std::error_code error;
    const auto target =
        std::filesystem::read_symlink(fmt::format("/sys/dev/char/{}:{}", major(device), minor(device)), error);
    return error ? "" : target.filename().string();
}

// A program that draws, takes keys as the keyboard sends them, or wants to be asked before another console is shown.
Result<> refuse_drawing(const Fd &end, dev_t device) {
    int drawing = KD_TEXT;
    int keyboard = K_UNICODE;
    vt_mode switching = {};
    if (::ioctl(end.get(), KDGETMODE, &drawing) < 0 || ::ioctl(end.get(), KDGKBMODE, &keyboard) < 0 ||
        ::ioctl(end.get(), VT_GETMODE, &switching) < 0)
        return fail(errno, "cannot ask {} for its mode", described_terminal(device));
    if (drawing != KD_TEXT || (keyboard != K_UNICODE && keyboard != K_XLATE) || switching.mode != VT_AUTO)
        return fail(0,
                    "{} is not in text mode: a program draws on it or reads its keyboard by itself; end that program",
                    described_terminal(device));
    return {};
}

} // namespace

bool is_teletype(dev_t device) { return std::ranges::find(teletype_majors, major(device)) != teletype_majors.end(); }

std::string path_of_terminal(dev_t device) {
    const std::string name = name_of(device);
    return name.empty() ? fmt::format("character device {}:{}", major(device), minor(device)) : "/dev/" + name;
}

std::string described_terminal(dev_t device) {
    const std::string name = name_of(device);
    if (name.empty())
        return path_of_terminal(device);
    return (is_virtual_console(device) ? "the virtual console " : "the serial line ") + name;
}

Result<> check_replaceable(const Context &context, const Fd &end, dev_t device) {
    const std::string path = path_of_terminal(device);
    const auto choice = context.devices(path);
    if (choice.action == engine::DeviceAction::fail)
        return fail(0,
                    "{} is not to be replaced by a pseudo-terminal ({}); run the programs in a terminal emulator, by "
                    "ssh, or in tmux",
                    described_terminal(device), choice.rule);
    return is_virtual_console(device) ? refuse_drawing(end, device) : Result<>();
}

} // namespace abey::capture
