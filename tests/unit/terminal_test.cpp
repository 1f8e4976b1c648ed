// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/terminal.h"

#include <random>

#include <gtest/gtest.h>

namespace abey::session {
namespace {

const std::vector<ClientMessage> client_messages = {
    List(),        Attach{.terminal = 7, .size = {24, 80}}, Attach(),           Watch(), Watch{7}, Picture{7},
    Input{"ls\n"}, Input{std::string(data_limit, '\0')},    Resize{{0, 65535}}, Detach()};

std::vector<KeeperMessage> keeper_messages() {
    Terminals full;
    for (uint32_t i = 0; i < terminal_limit; ++i)
        full.entries.push_back({.index = i, .old_index = ~i, .size = {1, 2}, .attached = i % 2 == 0});
    return {Terminals(), full, Attached{3}, Output{"\x1b[2J"}, Output{std::string(data_limit, 'x')}, Ended{"gone"}};
}

TEST(TerminalMessages, ComeBackAsTheyWere) {
    for (const auto &message : client_messages) {
        auto parsed = parse_client_message(encode(message));
        ASSERT_TRUE(parsed) << message.index();
        EXPECT_EQ(*parsed, message);
        EXPECT_LE(encode(message).size(), packet_limit);
    }
    for (const auto &message : keeper_messages()) {
        auto parsed = parse_keeper_message(encode(message));
        ASSERT_TRUE(parsed) << message.index();
        EXPECT_EQ(*parsed, message);
        EXPECT_LE(encode(message).size(), packet_limit);
    }
}

TEST(TerminalMessages, OfOneSideAreNotOfTheOther) {
    for (const auto &message : client_messages)
        EXPECT_FALSE(parse_keeper_message(encode(message)));
    for (const auto &message : keeper_messages())
        EXPECT_FALSE(parse_client_message(encode(message)));
}

TEST(TerminalMessages, CutShortOrTooLongAreRefused) {
    // Of fixed length: every other length is wrong.
    for (const ClientMessage &message :
         {ClientMessage(List()), ClientMessage(Attach()), ClientMessage(Resize()), ClientMessage(Detach())}) {
        const std::string whole = encode(message);
        for (size_t length = 0; length < whole.size(); ++length)
            EXPECT_FALSE(parse_client_message(std::string_view(whole).substr(0, length)))
                << message.index() << " " << length;
        EXPECT_FALSE(parse_client_message(whole + '\0')) << message.index();
    }
    const std::string two = encode(KeeperMessage(Terminals{{TerminalEntry(), TerminalEntry()}}));
    for (size_t length = 0; length < two.size(); ++length) {
        const bool whole_entries = length == 1 || length == 1 + (two.size() - 1) / 2;
        EXPECT_EQ(parse_keeper_message(std::string_view(two).substr(0, length)).has_value(), whole_entries) << length;
    }
    // Of any length, but not none and not more than fits.
    EXPECT_FALSE(parse_client_message(encode(ClientMessage(Input{""}))));
    const std::string most = encode(ClientMessage(Input{std::string(data_limit, 'x')}));
    EXPECT_TRUE(parse_client_message(most));
    EXPECT_FALSE(parse_client_message(most + 'x'));
    const std::string list = encode(keeper_messages().at(1));
    EXPECT_FALSE(parse_keeper_message(list + list.substr(1, (list.size() - 1) / terminal_limit)));
}

TEST(TerminalMessages, EncodeCutsWhatIsOverTheLimit) {
    auto parsed = parse_client_message(encode(ClientMessage(Input{std::string(3 * data_limit, 'x')})));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(std::get<Input>(*parsed).data.size(), data_limit);
    EXPECT_TRUE(parse_keeper_message(encode(KeeperMessage(Ended{std::string(packet_limit, 'x')}))));
}

// What is taken is what encode() makes: nothing is read that is not there, nothing is lost.
TEST(TerminalMessages, AnyBytesAreTakenWholeOrRefused) {
    std::mt19937 random(20240501); // NOLINT(cert-msc51-cpp): the same every time
    size_t taken = 0;
    for (int round = 0; round < 200'000; ++round) {
        std::string packet(random() % 40, '\0');
        for (char &byte : packet)
            byte = static_cast<char>(random());
        if (!packet.empty() && round % 2 == 0)
            packet[0] = static_cast<char>(round % 4 < 2 ? random() % 8 : 128 + random() % 6);
        if (auto message = parse_client_message(packet)) {
            ++taken;
            EXPECT_EQ(encode(*message), packet);
        }
        if (auto message = parse_keeper_message(packet)) {
            ++taken;
            EXPECT_EQ(encode(*message), packet);
        }
    }
    EXPECT_GT(taken, 1000U);
}

} // namespace
} // namespace abey::session
