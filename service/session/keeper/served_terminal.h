// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/os/fd.h"
#include "session/keeper/client.h"
#include "session/keeper/event.h"
#include "session/keeper/screen.h"
#include "session/terminal.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace abey::session {

// The master of a terminal, and where it is on both sides of the suspend.
struct Master {
    uint32_t index = 0;
    uint32_t old_index = 0;
    Fd fd;
    std::string picture; // what it showed before the suspend, as Screen::picture() draws it; empty: not known
};

// A terminal of the restored session. What its programs show is always taken from it, whether anybody looks or not, so
// that they never wait for a reader.
class ServedTerminal {
  public:
    // `closed`: nobody can write to the terminal any more, and nobody has it as controlling terminal.
    static Result<std::unique_ptr<ServedTerminal>> make(sd_event *event, Master master,
                                                        std::function<void(ServedTerminal &)> closed);

    // From now on `client` sees what is shown: first the screen as it is, then the programs are made to draw again,
    // because what was shown before the suspend may not be known here.
    // Whoever was attached before must have been told.
    void attach(Client &client, WindowSize size);
    // `client` sees what is shown from now on, first the screen as it is, at the size that the terminal has. It types
    // nothing, and nobody else notices.
    void watch(Client &client);
    // `client` sees nothing more of it.
    void leave(const Client &client);
    [[nodiscard]] Client *client() const { return client_; }
    [[nodiscard]] const std::vector<Client *> &watchers() const { return watchers_; }
    [[nodiscard]] bool shown_to(const Client &client) const;
    // Shows it all again to a client that has missed something.
    void refresh(Client &client) { client.picture(screen_.picture()); }

    void input(std::string_view data);
    void resize(WindowSize size);
    // Takes what the programs have shown until now.
    void drain();

    [[nodiscard]] TerminalEntry entry() const;
    [[nodiscard]] uint32_t index() const { return master_.index; }
    // Leader of the kernel session whose controlling terminal it is, as it was at first; 0: none.
    [[nodiscard]] pid_t leader() const { return leader_; }

  private:
    ServedTerminal(sd_event *event, Master master, std::function<void(ServedTerminal &)> closed);
    static int on_ready(sd_event_source *source, int fd, uint32_t events, void *self);
    static int on_jiggle(sd_event_source *source, uint64_t now, void *self);
    static int on_look(sd_event_source *source, uint64_t now, void *self);
    bool read();
    void write_input();
    void watch_master();
    void fit(WindowSize size);
    void redraw();
    void hung_up();
    void set_size(WindowSize size) const;
    [[nodiscard]] WindowSize size() const;

    sd_event *event_;
    Master master_;
    std::function<void(ServedTerminal &)> closed_;
    pid_t leader_ = 0;
    Screen screen_;     // what is shown, whether anybody looks or not
    std::string input_; // typed, not yet taken by the terminal
    Client *client_ = nullptr;
    std::vector<Client *> watchers_;
    EventSource source_;
    EventSource jiggle_; // the size is wrong on purpose until this has fired for the last time
    WindowSize wanted_;  // the right one then
    bool drawn_ = false; // something was shown since it last fired
    int jiggles_ = 0;    // how often it has fired
    int begun_ = 0;      // at which of these something had been shown for the first time; 0: not yet
    int last_drawn_ = 0; // and for the last time
    EventSource look_;   // is it still hung up?
};

} // namespace abey::session
