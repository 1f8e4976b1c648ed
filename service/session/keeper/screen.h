// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a terminal shows: a model of its screen, kept by libtsm from all that its programs write, so that whoever
// attaches sees it at once, also when the programs do not draw again by themselves.
#pragma once

#include "session/modes.h"
#include "session/terminal.h"

#include <memory>
#include <string>
#include <string_view>

struct tsm_screen;
struct tsm_vte;

namespace abey::session {

// Reads what any program of the session cares to write: not for a process with more rights than the session's user.
class Screen {
  public:
    // Without a size (0) it is 24 rows of 80 columns; at most 500 and 1000. Throws std::bad_alloc.
    explicit Screen(WindowSize size);

    void show(std::string_view output);
    void resize(WindowSize size);
    // What draws it all on a terminal of the same size in any state: contents of the normal and of the alternate
    // screen, attributes, cursor, and the modes of modes.h. It asks the terminal nothing.
    [[nodiscard]] std::string picture() const;
    // What a terminal would have answered to the questions in the output since the last call (ECMA-48 and xterm: device
    // attributes, cursor position); for programs that wait for it while nobody is attached.
    std::string take_answers();

  private:
    struct Place {
        unsigned row = 0, column = 0;
    };
    struct ReleaseScreen {
        void operator()(tsm_screen *screen) const;
    };
    struct ReleaseParser {
        void operator()(tsm_vte *parser) const;
    };
    [[nodiscard]] Place cursor() const;
    [[nodiscard]] std::string picture_of(unsigned first, unsigned rows) const;

    std::unique_ptr<tsm_screen, ReleaseScreen> screen_;
    std::unique_ptr<std::string> answers_; // libtsm calls back with the address it was given
    std::unique_ptr<tsm_vte, ReleaseParser> parser_;
    Modes modes_;
    Place normal_cursor_; // while the alternate screen is shown
};

} // namespace abey::session
