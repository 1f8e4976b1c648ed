// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/screen.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <new>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <libtsm.h>

namespace abey::session {
namespace {

constexpr WindowSize usual = {.rows = 24, .columns = 80};
// More cells would cost more memory than a screen is worth.
constexpr WindowSize largest = {.rows = 500, .columns = 1000};
constexpr size_t answers_limit = 4096;

WindowSize usable(WindowSize size) {
    if (size.rows == 0 || size.columns == 0)
        return usual;
    return {.rows = std::min(size.rows, largest.rows), .columns = std::min(size.columns, largest.columns)};
}

// `base` 30: of characters, 40: behind them. A colour is a number of the terminal's own 16, or its default, or RGB.
void add_colour(std::string &text, int code, std::array<uint8_t, 3> rgb, int base) {
    if (code < 0)
        fmt::format_to(std::back_inserter(text), ";{};2;{};{};{}", base + 8, rgb[0], rgb[1], rgb[2]);
    else if (code < 8)
        fmt::format_to(std::back_inserter(text), ";{}", base + code);
    else if (code < 16)
        fmt::format_to(std::back_inserter(text), ";{}", base + 60 + code - 8);
}

// SGR for these attributes, whatever was before.
std::string rendition(const tsm_screen_attr &attributes) {
    std::string text = "\x1b[0";
    if (attributes.bold != 0)
        text += ";1";
    if (attributes.italic != 0)
        text += ";3";
    if (attributes.underline != 0)
        text += ";4";
    if (attributes.blink != 0)
        text += ";5";
    if (attributes.inverse != 0)
        text += ";7";
    add_colour(text, attributes.fccode, {attributes.fr, attributes.fg, attributes.fb}, 30);
    add_colour(text, attributes.bccode, {attributes.br, attributes.bg, attributes.bb}, 40);
    return text + 'm';
}

// Takes the cells row by row, as libtsm hands them out.
class Drawing {
  public:
    // `rows` rows from `first` on.
    Drawing(std::string &text, unsigned first, unsigned rows) : text_(text), first_(first), rows_(rows) {}

    static int on_cell(tsm_screen * /*screen*/, uint64_t /*id*/, const uint32_t *characters, size_t count,
                       unsigned width, unsigned column, unsigned row, const tsm_screen_attr *attributes,
                       tsm_age_t /*age*/, void *self) {
        auto &drawing = *static_cast<Drawing *>(self);
        // Without width it is the second half of a wide character.
        if (width != 0 && row >= drawing.first_ && row - drawing.first_ < drawing.rows_)
            drawing.add({characters, count}, width, row - drawing.first_, column, *attributes);
        return 0;
    }

  private:
    void add(std::span<const uint32_t> characters, unsigned width, unsigned row, unsigned column,
             const tsm_screen_attr &attributes) {
        const bool blank = (characters.empty() || characters[0] == ' ') && attributes.inverse == 0 &&
                           attributes.underline == 0 && attributes.bccode == TSM_COLOR_BACKGROUND;
        if (blank) // as it is after the erasure
            return;
        go_to(row, column);
        auto now = rendition(attributes);
        if (now != last_)
            text_ += now;
        last_ = std::move(now);
        if (characters.empty())
            text_ += ' ';
        for (const uint32_t character : characters) {
            std::array<char, 4> bytes = {};
            text_.append(bytes.data(), tsm_ucs4_to_utf8(character, bytes.data()));
        }
        row_ = row;
        column_ = column + width;
    }

    void go_to(unsigned row, unsigned column) {
        constexpr unsigned few = 8; // blanks, which are shorter than a sequence and make text of it
        if (row != row_ || column - column_ > few)
            fmt::format_to(std::back_inserter(text_), "\x1b[{};{}H", row + 1, column + 1);
        else if (column != column_)
            fill(column - column_);
    }

    void fill(unsigned blanks) {
        if (std::exchange(last_, plain) != plain)
            text_ += plain;
        text_.append(blanks, ' ');
    }

    static constexpr const char *plain = "\x1b[0m";
    std::string &text_;
    unsigned first_;
    unsigned rows_;
    std::string last_;
    // Where the terminal's cursor is; at first nobody knows.
    unsigned row_ = ~0U;
    unsigned column_ = 0;
};

} // namespace

void Screen::ReleaseScreen::operator()(tsm_screen *screen) const { tsm_screen_unref(screen); }
void Screen::ReleaseParser::operator()(tsm_vte *parser) const { tsm_vte_unref(parser); }

Screen::Screen(WindowSize size) : answers_(std::make_unique<std::string>()) {
    const auto answer = [](tsm_vte * /*parser*/, const char *bytes, size_t length, void *to) {
        auto &answers = *static_cast<std::string *>(to);
        if (answers.size() + length <= answers_limit)
            answers.append(bytes, length);
    };
    size = usable(size);
    tsm_screen *screen = nullptr;
    if (tsm_screen_new(&screen, nullptr, nullptr) < 0)
        throw std::bad_alloc();
    screen_.reset(screen);
    tsm_vte *parser = nullptr;
    if (tsm_screen_resize(screen, size.columns, size.rows) < 0 ||
        tsm_vte_new(&parser, screen, answer, answers_.get(), nullptr, nullptr) < 0)
        throw std::bad_alloc();
    parser_.reset(parser);
    // libtsm sends the upper half of Latin-1 through G1 also when it has come as UTF-8, in which terminals know no such
    // half: it shall be G3 (LS3R of ECMA-35), which nobody designates.
    constexpr std::string_view g3_right = "\x1b|";
    tsm_vte_input(parser, g3_right.data(), g3_right.size());
}

std::string Screen::take_answers() { return std::exchange(*answers_, {}); }

void Screen::show(std::string_view output) {
    size_t fed = 0;
    for (size_t i = 0; i < output.size(); ++i) {
        if (!modes_.take(output[i]))
            continue;
        // libtsm keeps the cursor of the normal screen to itself while it shows the other one.
        tsm_vte_input(parser_.get(), output.data() + fed, i - fed);
        fed = i;
        normal_cursor_ = cursor();
    }
    tsm_vte_input(parser_.get(), output.data() + fed, output.size() - fed);
}

void Screen::resize(WindowSize size) {
    size = usable(size);
    const unsigned rows = tsm_screen_get_height(screen_.get());
    if (rows == size.rows && tsm_screen_get_width(screen_.get()) == size.columns)
        return;
    modes_.resized();
    // libtsm gives up the upper rows, and be the lower ones empty; terminals keep those around the cursor.
    if (size.rows < rows) {
        Screen smaller(size);
        smaller.show(picture_of(cursor().row < size.rows ? 0 : cursor().row + 1 - size.rows, size.rows));
        std::swap(*this, smaller);
        modes_ = smaller.modes_;
        return;
    }
    // Out of memory leaves it as it is: a picture that does not fit is mended by the programs that draw again.
    (void)tsm_screen_resize(screen_.get(), size.columns, size.rows);
}

Screen::Place Screen::cursor() const {
    return {.row = tsm_screen_get_cursor_y(screen_.get()), .column = tsm_screen_get_cursor_x(screen_.get())};
}

std::string Screen::picture() const { return picture_of(0, tsm_screen_get_height(screen_.get())); }

std::string Screen::picture_of(unsigned first, unsigned rows) const {
    std::string text;
    const auto go_to = [&](Place place) {
        const unsigned row = std::min(place.row - std::min(first, place.row), rows - 1);
        // Behind the last column is where the next character will go to a new line.
        const unsigned column = std::min(place.column, tsm_screen_get_width(screen_.get()) - 1);
        fmt::format_to(std::back_inserter(text), "\x1b[{};{}H", row + 1, column + 1);
    };
    const auto draw = [&] {
        text += "\x1b[0m\x1b[2J";
        Drawing drawing(text, first, rows);
        tsm_screen_draw(screen_.get(), Drawing::on_cell, &drawing);
        text += "\x1b[0m";
    };
    // libtsm draws the cursor as a cell with other colours, and all cells in other colours in reverse mode.
    const unsigned flags = tsm_screen_get_flags(screen_.get());
    const bool alternate = (flags & TSM_SCREEN_ALTERNATE) != 0;
    tsm_screen_set_flags(screen_.get(), TSM_SCREEN_HIDE_CURSOR);
    tsm_screen_reset_flags(screen_.get(), TSM_SCREEN_INVERSE);
    // Out of the states in which drawing would go wrong; then each screen, the last one being the one that is shown.
    text = Modes::plain();
    if (alternate) {
        tsm_screen_reset_flags(screen_.get(), TSM_SCREEN_ALTERNATE);
        draw();
        go_to(normal_cursor_);
        tsm_screen_set_flags(screen_.get(), TSM_SCREEN_ALTERNATE);
        text += "\x1b[?1049h";
    }
    draw();
    text += modes_.text(); // moves the cursor
    go_to(cursor());
    if ((flags & TSM_SCREEN_INVERSE) != 0)
        tsm_screen_set_flags(screen_.get(), TSM_SCREEN_INVERSE);
    if ((flags & TSM_SCREEN_HIDE_CURSOR) == 0)
        tsm_screen_reset_flags(screen_.get(), TSM_SCREEN_HIDE_CURSOR);
    return text;
}

} // namespace abey::session
