// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/terminal.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace abey::session {
namespace {

enum class Kind : uint8_t {
    list = 1,
    attach = 2,
    input = 3,
    resize = 4,
    detach = 5,
    watch = 6,
    picture = 7,
    terminals = 128,
    attached = 129,
    output = 130,
    ended = 131,
};

constexpr size_t text_limit = 512;
constexpr size_t entry_size = 4 + 4 + 2 + 2 + 1;
static_assert(1 + terminal_limit * entry_size <= packet_limit);

class Packer {
  public:
    explicit Packer(Kind kind) : packet_(1, static_cast<char>(kind)) {}
    template <class T> Packer &number(T value) {
        packet_.append(reinterpret_cast<const char *>(&value), sizeof value);
        return *this;
    }
    Packer &size(const WindowSize &size) { return number(size.rows).number(size.columns); }
    Packer &text(std::string_view text, size_t limit) {
        packet_.append(text.substr(0, limit));
        return *this;
    }
    std::string done() { return std::move(packet_); }

  private:
    std::string packet_;
};

// Takes from the front; complete() tells whether all that was taken was there and right, and nothing is left.
class Unpacker {
  public:
    explicit Unpacker(std::string_view rest) : rest_(rest) {}
    template <class T> T number() {
        T value = 0;
        if (rest_.size() < sizeof value) {
            malformed_ = true;
            return 0;
        }
        rest_.copy(reinterpret_cast<char *>(&value), sizeof value);
        rest_.remove_prefix(sizeof value);
        return value;
    }
    bool boolean() {
        const auto value = number<uint8_t>();
        malformed_ |= value > 1;
        return value == 1;
    }
    WindowSize size() {
        WindowSize size;
        size.rows = number<uint16_t>();
        size.columns = number<uint16_t>();
        return size;
    }
    std::string text(size_t limit) {
        if (rest_.empty() || rest_.size() > limit) {
            malformed_ = true;
            return {};
        }
        return std::string(std::exchange(rest_, {}));
    }
    [[nodiscard]] size_t left() const { return rest_.size(); }
    [[nodiscard]] bool complete() const { return !malformed_ && rest_.empty(); }

  private:
    std::string_view rest_;
    bool malformed_ = false;
};

std::unexpected<Error> malformed() { return fail(EBADMSG, "not a message about terminals"); }

Terminals unpack_terminals(Unpacker &body) {
    Terminals message;
    while (body.left() >= entry_size && message.entries.size() < terminal_limit) {
        TerminalEntry &entry = message.entries.emplace_back();
        entry.index = body.number<uint32_t>();
        entry.old_index = body.number<uint32_t>();
        entry.size = body.size();
        entry.attached = body.boolean();
    }
    return message;
}

struct Encoder {
    std::string operator()(const List &) const { return Packer(Kind::list).done(); }
    std::string operator()(const Attach &message) const {
        return Packer(Kind::attach).number(message.terminal).size(message.size).done();
    }
    std::string operator()(const Watch &message) const { return Packer(Kind::watch).number(message.terminal).done(); }
    std::string operator()(const Picture &message) const {
        return Packer(Kind::picture).number(message.terminal).done();
    }
    std::string operator()(const Input &message) const {
        return Packer(Kind::input).text(message.data, data_limit).done();
    }
    std::string operator()(const Resize &message) const { return Packer(Kind::resize).size(message.size).done(); }
    std::string operator()(const Detach &) const { return Packer(Kind::detach).done(); }
    std::string operator()(const Terminals &message) const {
        Packer packer(Kind::terminals);
        for (size_t i = 0; i < std::min(message.entries.size(), terminal_limit); ++i) {
            const TerminalEntry &entry = message.entries[i];
            packer.number(entry.index).number(entry.old_index).size(entry.size).number<uint8_t>(entry.attached ? 1 : 0);
        }
        return packer.done();
    }
    std::string operator()(const Attached &message) const {
        return Packer(Kind::attached).number(message.terminal).done();
    }
    std::string operator()(const Output &message) const {
        return Packer(Kind::output).text(message.data, data_limit).done();
    }
    std::string operator()(const Ended &message) const {
        return Packer(Kind::ended).text(message.why, text_limit).done();
    }
};

} // namespace

std::string encode(const ClientMessage &message) { return std::visit(Encoder(), message); }
std::string encode(const KeeperMessage &message) { return std::visit(Encoder(), message); }

Result<ClientMessage> parse_client_message(std::string_view packet) {
    if (packet.empty() || packet.size() > packet_limit)
        return malformed();
    Unpacker body(packet.substr(1));
    ClientMessage message;
    switch (static_cast<Kind>(static_cast<uint8_t>(packet.front()))) {
    case Kind::list:
        message = List();
        break;
    case Kind::attach: {
        const auto terminal = body.number<uint32_t>();
        message = Attach{.terminal = terminal, .size = body.size()};
        break;
    }
    case Kind::watch:
        message = Watch{body.number<uint32_t>()};
        break;
    case Kind::picture:
        message = Picture{body.number<uint32_t>()};
        break;
    case Kind::input:
        message = Input{body.text(data_limit)};
        break;
    case Kind::resize:
        message = Resize{body.size()};
        break;
    case Kind::detach:
        message = Detach();
        break;
    default:
        return malformed();
    }
    if (!body.complete())
        return malformed();
    return message;
}

Result<KeeperMessage> parse_keeper_message(std::string_view packet) {
    if (packet.empty() || packet.size() > packet_limit)
        return malformed();
    Unpacker body(packet.substr(1));
    KeeperMessage message;
    switch (static_cast<Kind>(static_cast<uint8_t>(packet.front()))) {
    case Kind::terminals:
        message = unpack_terminals(body);
        break;
    case Kind::attached:
        message = Attached{body.number<uint32_t>()};
        break;
    case Kind::output:
        message = Output{body.text(data_limit)};
        break;
    case Kind::ended:
        message = Ended{body.text(text_limit)};
        break;
    default:
        return malformed();
    }
    if (!body.complete())
        return malformed();
    return message;
}

} // namespace abey::session
