// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The modes that a program has set on its terminal, which say how keys, pointer and pastes reach it and how its further
// output is to be read, and the attributes that its next character gets: libtsm does not tell them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace abey::session {

class Modes {
  public:
    // Takes one byte of output. True: when it has got this byte, the terminal shows its alternate screen (DEC private
    // modes 47, 1047, 1049), and does not yet.
    bool take(char byte);

    [[nodiscard]] bool alternate_screen() const { return alternate_; }
    void resized() { region_.clear(); }
    // What sets a terminal in any state to just these modes; moves the cursor (DECSTBM does).
    [[nodiscard]] std::string text() const;
    // What brings a terminal in any state back to its normal screen with the modes of a reset; moves the cursor, and
    // leaves what is shown.
    [[nodiscard]] static std::string plain();

  private:
    // The DEC private modes of xterm's documentation (ctlseqs) that are kept, and what they are after a reset.
    struct Private {
        uint16_t number;
        bool on;
    };
    enum class In : uint8_t { text, escape, intermediate, sequence, string, string_escape };

    void reset();
    void soft_reset();
    void end_of_escape(char final);
    void end_of_sequence(char final);
    void set_pen(std::string_view parameters);
    void set_private(std::string_view parameters, bool on);
    [[nodiscard]] bool wants_alternate(std::string_view parameters) const;

    In in_ = In::text;
    std::string held_; // parameters and intermediates of the sequence so far; cut at its limit, then not understood
    bool overlong_ = false;

    std::array<Private, 13> private_ = initial;
    bool alternate_ = false;
    bool insert_ = false;           // IRM
    bool application_keys_ = false; // DECKPAM
    bool shifted_out_ = false;      // G1 is used
    std::array<char, 2> sets_ = {'B', 'B'};
    std::string region_;             // DECSTBM's parameters
    std::string cursor_shape_ = "0"; // DECSCUSR's; the terminal's own
    std::string pen_;                // SGR since the last reset of the attributes

    static constexpr std::array<Private, 13> initial = {{{1, false},
                                                         {5, false},
                                                         {7, true},
                                                         {9, false},
                                                         {25, true},
                                                         {1000, false},
                                                         {1002, false},
                                                         {1003, false},
                                                         {1004, false},
                                                         {1005, false},
                                                         {1006, false},
                                                         {1015, false},
                                                         {2004, false}}};
};

} // namespace abey::session
