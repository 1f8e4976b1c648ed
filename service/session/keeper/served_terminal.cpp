// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/served_terminal.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

namespace abey::session {
namespace {

// Over this, the client is not read from until the terminal has taken some.
constexpr size_t input_limit = 64U << 10U;
// So that a program sees two different sizes, and draws again also when it looks at the size only.
constexpr uint64_t jiggle_time = 60'000; // microseconds
// Some programs miss the second size while they still draw for the first (vim does): so they get it when they have
// begun, and then have drawn nothing for as long as it took them to begin, which tells how fast the machine is. Not all
// draw. Numbers of jiggle times.
constexpr int longest_pause = 10, most_pauses = 16, begin_limit = 32, jiggle_limit = 50;
constexpr uint64_t look_time = 500'000;

WindowSize size_of(const Fd &master) {
    winsize value = {};
    if (::ioctl(master.get(), TIOCGWINSZ, &value) < 0)
        return {};
    return {.rows = value.ws_row, .columns = value.ws_col};
}

} // namespace

ServedTerminal::ServedTerminal(sd_event *event, Master master, std::function<void(ServedTerminal &)> closed)
    : event_(event), master_(std::move(master)), closed_(std::move(closed)), screen_(size_of(master_.fd)) {
    pid_t leader = 0;
    if (::ioctl(master_.fd.get(), TIOCGSID, &leader) == 0)
        leader_ = leader;
    screen_.show(std::exchange(master_.picture, {}));
    (void)screen_.take_answers(); // a picture asks for nothing; one that does is none
}

Result<std::unique_ptr<ServedTerminal>> ServedTerminal::make(sd_event *event, Master master,
                                                             std::function<void(ServedTerminal &)> closed) {
    const int fd = master.fd.get();
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return fail(errno, "terminal pts/{}: cannot use its master", master.index);
    std::unique_ptr<ServedTerminal> terminal(new ServedTerminal(event, std::move(master), std::move(closed)));
    sd_event_source *source = nullptr;
    const int r = sd_event_add_io(event, &source, fd, EPOLLIN, on_ready, terminal.get());
    if (r < 0)
        return fail(-r, "terminal pts/{}: cannot watch its master", terminal->index());
    terminal->source_.reset(source);
    return terminal;
}

int ServedTerminal::on_ready(sd_event_source * /*source*/, int /*fd*/, uint32_t events, void *self) {
    auto &terminal = *static_cast<ServedTerminal *>(self);
    const bool more = terminal.read();
    if ((events & EPOLLOUT) != 0)
        terminal.write_input();
    // All has been read, and no slave is open.
    if (!more && (events & EPOLLHUP) != 0)
        terminal.hung_up();
    return 0;
}

// False when there is nothing more now.
bool ServedTerminal::read() {
    std::array<char, 16384> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read
    const ssize_t n = ::read(master_.fd.get(), buffer.data(), buffer.size());
    if (n <= 0)
        return n < 0 && errno == EINTR;
    const std::string_view shown(buffer.data(), static_cast<size_t>(n));
    drawn_ = true;
    screen_.show(shown);
    const std::string answers = screen_.take_answers();
    // A copy: a client that turns out to have gone leaves the list.
    for (Client *watcher : std::vector(watchers_))
        watcher->output(shown);
    if (client_ != nullptr)
        client_->output(shown); // its terminal answers
    else if (!answers.empty() && input_.size() < input_limit)
        input(answers);
    return true;
}

void ServedTerminal::drain() {
    // A program that shows without end must not keep us here.
    for (int i = 0; i < 16 && read(); ++i) {
    }
}

void ServedTerminal::input(std::string_view data) {
    input_ += data;
    write_input();
}

void ServedTerminal::write_input() {
    while (!input_.empty()) {
        const ssize_t n = ::write(master_.fd.get(), input_.data(), input_.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            input_.clear(); // nobody can read it any more
        if (n <= 0)
            break;
        input_.erase(0, static_cast<size_t>(n));
    }
    if (client_ != nullptr)
        client_->hold(input_.size() > input_limit);
    watch_master();
}

void ServedTerminal::watch_master() {
    // Failing (out of memory) leaves it as it is; the next call tries again.
    (void)sd_event_source_set_io_events(source_.get(), input_.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

// The slave can be opened again by its name or as /dev/tty as long as somebody has it as controlling terminal.
void ServedTerminal::hung_up() {
    pid_t leader = 0;
    if (::ioctl(master_.fd.get(), TIOCGSID, &leader) < 0 || leader == 0)
        return closed_(*this);
    // EPOLLHUP cannot be switched off: look again later instead of all the time.
    (void)sd_event_source_set_enabled(source_.get(), SD_EVENT_OFF);
    sd_event_source *source = nullptr;
    if (sd_event_add_time_relative(event_, &source, CLOCK_MONOTONIC, look_time, 0, on_look, this) < 0)
        return closed_(*this);
    look_.reset(source);
}

int ServedTerminal::on_look(sd_event_source * /*source*/, uint64_t /*now*/, void *self) {
    auto &terminal = *static_cast<ServedTerminal *>(self);
    terminal.look_.reset();
    (void)sd_event_source_set_enabled(terminal.source_.get(), SD_EVENT_ON);
    return 0;
}

void ServedTerminal::attach(Client &client, WindowSize size) {
    client_ = &client;
    wanted_ = size;
    client.hold(input_.size() > input_limit);
    if (size.rows != 0 && size.columns != 0)
        fit(size);
    client.picture(screen_.picture());
    redraw();
}

void ServedTerminal::watch(Client &client) {
    watchers_.push_back(&client);
    client.picture(screen_.picture());
}

void ServedTerminal::leave(const Client &client) {
    if (client_ == &client)
        client_ = nullptr;
    std::erase(watchers_, &client);
}

bool ServedTerminal::shown_to(const Client &client) const {
    return client_ == &client || std::ranges::find(watchers_, &client) != watchers_.end();
}

// Those who watch see the screen laid out anew; who is attached has its program draw.
void ServedTerminal::fit(WindowSize size) {
    screen_.resize(size);
    for (Client *watcher : std::vector(watchers_))
        watcher->picture(screen_.picture());
}

void ServedTerminal::redraw() {
    const WindowSize now = size();
    if (wanted_.rows == 0 || wanted_.columns == 0)
        wanted_ = now;
    if (wanted_.rows == 0 || wanted_.columns == 0)
        return; // a terminal without a size: there is nothing to draw again
    drawn_ = false;
    jiggles_ = 0;
    begun_ = 0;
    const auto rows = static_cast<uint16_t>(wanted_.rows > 1 ? wanted_.rows - 1 : wanted_.rows + 1);
    set_size({.rows = rows, .columns = wanted_.columns});
    sd_event_source *source = nullptr;
    if (sd_event_add_time_relative(event_, &source, CLOCK_MONOTONIC, jiggle_time, 1, on_jiggle, this) < 0)
        return set_size(wanted_);
    jiggle_.reset(source);
}

int ServedTerminal::on_jiggle(sd_event_source * /*source*/, uint64_t /*now*/, void *self) {
    auto &terminal = *static_cast<ServedTerminal *>(self);
    auto *source = terminal.jiggle_.get();
    const int now = ++terminal.jiggles_;
    if (std::exchange(terminal.drawn_, false)) {
        if (terminal.begun_ == 0)
            terminal.begun_ = now;
        terminal.last_drawn_ = now;
    }
    const int begun = terminal.begun_;
    const int pause = std::min(begun, longest_pause);
    const bool goes_on =
        begun == 0 ? now < begin_limit : now - terminal.last_drawn_ < pause && now - begun < most_pauses * pause;
    if (goes_on && now < jiggle_limit && sd_event_source_set_time_relative(source, jiggle_time) >= 0 &&
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0)
        return 0;
    terminal.jiggle_.reset();
    terminal.set_size(terminal.wanted_);
    return 0;
}

void ServedTerminal::resize(WindowSize size) {
    if (size.rows == 0 || size.columns == 0)
        return;
    wanted_ = size;
    fit(size);
    jiggle_.reset(); // another size comes as it is
    set_size(size);
}

void ServedTerminal::set_size(WindowSize size) const {
    const winsize value = {.ws_row = size.rows, .ws_col = size.columns, .ws_xpixel = 0, .ws_ypixel = 0};
    (void)::ioctl(master_.fd.get(), TIOCSWINSZ, &value); // a wrong size is no reason to part
}

WindowSize ServedTerminal::size() const { return jiggle_ ? wanted_ : size_of(master_.fd); }

TerminalEntry ServedTerminal::entry() const {
    return {.index = master_.index, .old_index = master_.old_index, .size = size(), .attached = client_ != nullptr};
}

} // namespace abey::session
