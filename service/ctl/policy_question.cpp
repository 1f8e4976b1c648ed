// SPDX-License-Identifier: LGPL-2.1-or-later
//
// `abeyctl policy test`: what the policy says of one thing that a session might hold.
#include "ctl/output.h"
#include "ctl/policy.h"
#include "dbus/names.h"
#include "engine/os/user.h"
#include "policy/file_system.h"
#include "policy/words.h"

#include <charconv>
#include <filesystem>

#include <sys/stat.h>
#include <sys/vfs.h>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

const char *word_of(model::PeerAction action) {
    switch (action) {
    case model::PeerAction::hangup:
        return "hangup";
    case model::PeerAction::reconnect:
        return "reconnect";
    case model::PeerAction::keep:
        return "keep";
    case model::PeerAction::fail:
        break;
    }
    return "fail";
}

const char *word_of(policy::ChangedAction action) {
    switch (action) {
    case policy::ChangedAction::accept:
        return "accept";
    case policy::ChangedAction::restore_size:
        return "restore-size";
    case policy::ChangedAction::fail:
        break;
    }
    return "fail";
}

const char *word_of(policy::FileState state) {
    switch (state) {
    case policy::FileState::deleted:
        return "deleted";
    case policy::FileState::linked:
        return "linked";
    case policy::FileState::unnamed:
        return "unnamed";
    case policy::FileState::not_lasting:
        break;
    }
    return "not-lasting";
}

const char *told_of(policy::FileState state) {
    switch (state) {
    case policy::FileState::deleted:
        return "if it were deleted while it is held";
    case policy::FileState::linked:
        return "if its name were gone and others could not be found";
    case policy::FileState::unnamed:
        return "if it were made without a name";
    case policy::FileState::not_lasting:
        break;
    }
    return "its name does not last";
}

const char *word_of(std::optional<engine::DeviceAction> action) {
    if (!action)
        return "as its kind: fail, replace for terminals";
    return *action == engine::DeviceAction::drop      ? "drop"
           : *action == engine::DeviceAction::replace ? "replace"
                                                      : "fail";
}

// A file as rules would see it.
struct Question {
    std::string path;
    uint64_t size = 0;
    uint64_t file_system = 0;
    uint32_t owner = 0;
    policy::FileState state = policy::FileState::deleted;
};

// What is there now, or where it would lie.
Result<Question> found_at(const std::string &given) {
    Question file;
    std::error_code error;
    // Of a path that does not exist, as far as it does
    file.path = std::filesystem::weakly_canonical(std::filesystem::absolute(given, error), error).string();
    if (error)
        return fail(error.value(), "cannot examine {}", given);
    struct stat status {};
    const bool is_there = ::stat(file.path.c_str(), &status) == 0;
    if (!is_there && errno != ENOENT && errno != ENOTDIR)
        return fail(errno, "cannot examine {}", given);
    auto place = std::filesystem::path(file.path);
    while (!std::filesystem::exists(place, error) && place.has_relative_path())
        place = place.parent_path();
    struct statfs system {};
    if (::stat(place.c_str(), &status) < 0 || ::statfs(place.c_str(), &system) < 0)
        return fail(errno, "cannot examine {}", place.string());
    file.size = is_there ? static_cast<uint64_t>(status.st_size) : 0;
    file.owner = status.st_uid;
    file.file_system = static_cast<uint64_t>(system.f_type);
    return file;
}

Result<uint32_t> owner_of(const std::string &text) {
    uint32_t uid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
    if (error == std::errc() && end == text.data() + text.size())
        return uid;
    const auto user = TRY(os::find_user(text));
    if (!user)
        return fail(0, "there is no user \"{}\" (a number is taken, too)", text);
    return user->uid;
}

// What is given counts more than what is found.
Result<Question> file_in(const PolicyCommand &command, const policy::Policy &policy) {
    using enum policy::FileState;
    auto file = TRY(found_at(command.path));
    if (!command.size.empty()) {
        const auto size = policy::parse_size(command.size);
        if (!size)
            return fail(0, "--size: {}", size.error());
        file.size = *size;
    }
    if (!command.owner.empty())
        file.owner = TRY(owner_of(command.owner));
    if (!command.file_system.empty()) {
        const auto magic = policy::file_system_magic(command.file_system);
        if (!magic)
            return fail(0, "--file-system: unknown file system \"{}\"", command.file_system);
        file.file_system = *magic;
    }
    const bool lasts = !policy::is_volatile(file.file_system) && policy.lasts(file.path);
    file.state = lasts ? deleted : not_lasting;
    for (const auto state : {deleted, linked, unnamed, not_lasting})
        if (command.state == word_of(state))
            file.state = state;
    return file;
}

Result<int> test_file(const PolicyCommand &command, const policy::Policy &policy) {
    const auto file = TRY(file_in(command, policy));
    const auto choice = policy.choose({.path = file.path,
                                       .size = file.size,
                                       .file_system = file.file_system,
                                       .owner = file.owner,
                                       .state = file.state,
                                       .mapped = command.use == "mapped",
                                       .writable = !command.read_only});
    const auto names_of = [](const std::vector<model::Strategy> &strategies) {
        std::vector<std::string> names;
        names.reserve(strategies.size());
        for (const auto strategy : strategies)
            names.emplace_back(policy::strategy_name(strategy));
        return names;
    };
    const auto strategies = names_of(choice.strategies), pins = names_of(policy.pin(file.path));
    if (command.json) {
        print_json({{"path", file.path},
                    {"file-system", policy::file_system_name(file.file_system)},
                    {"state", word_of(file.state)},
                    {"strategies", strategies},
                    {"rule", choice.rule},
                    {"area", policy.area(file.path)},
                    {"pin", pins},
                    {"changed", word_of(policy.changed(file.path))}});
        return 0;
    }
    fmt::print("{} ({}, {})\n", bus::printable(file.path), policy::file_system_name(file.file_system),
               told_of(file.state));
    fmt::print("strategies  {}\nrule        {}\narea        {}\npin         {}\nchanged     {}\n",
               fmt::join(strategies, ", "), bus::printable(choice.rule), bus::printable(policy.area(file.path)),
               pins.empty() ? "none" : fmt::format("{}", fmt::join(pins, ", ")), word_of(policy.changed(file.path)));
    return 0;
}

Result<int> test_peer(const PolicyCommand &command, const policy::Policy &policy) {
    engine::PeerChoice choice;
    std::string peer = command.socket;
    if (command.address.empty()) {
        choice = policy.unix_peer(command.socket);
    } else {
        if (command.port == 0)
            return fail(0, "--address {} needs a --port", command.address);
        const auto address = os::InetAddress::of(command.address, static_cast<uint16_t>(command.port));
        if (!address)
            return fail(0, "--address: \"{}\" is no internet address, such as 192.0.2.7 or 2001:db8::1",
                        command.address);
        choice = policy.peer(*address);
        peer = fmt::format("{} port {}", command.address, command.port);
    }
    std::vector<std::string> actions = {word_of(choice.action)};
    if (choice.action == model::PeerAction::keep)
        actions.emplace_back(word_of(choice.otherwise));
    if (command.json) {
        print_json({{"peer", peer}, {"action", actions}, {"rule", choice.rule}});
        return 0;
    }
    fmt::print("{} (connected to, outside of the session)\naction      {}\nrule        {}\n", bus::printable(peer),
               fmt::join(actions, ", else "), bus::printable(choice.rule));
    return 0;
}

Result<int> test_device(const PolicyCommand &command, const policy::Policy &policy) {
    const auto choice = policy.device(command.device);
    const auto rule = choice.action ? choice.rule : "built in";
    if (command.json) {
        print_json({{"device", command.device}, {"action", word_of(choice.action)}, {"rule", rule}});
        return 0;
    }
    fmt::print("{} (that cannot be kept)\naction      {}\nrule        {}\n", bus::printable(command.device),
               word_of(choice.action), bus::printable(rule));
    return 0;
}

bool tells_of_a_file(const PolicyCommand &command) {
    return !command.state.empty() || !command.use.empty() || !command.size.empty() || !command.owner.empty() ||
           !command.file_system.empty() || command.read_only;
}

} // namespace

bool is_a_question(const PolicyCommand &command) {
    return !command.path.empty() || !command.socket.empty() || !command.address.empty() || !command.device.empty() ||
           command.port != 0 || tells_of_a_file(command);
}

Result<int> test_policy(const PolicyCommand &command) {
    const int things = static_cast<int>(!command.path.empty()) + static_cast<int>(!command.socket.empty()) +
                       static_cast<int>(!command.address.empty()) + static_cast<int>(!command.device.empty());
    if (things != 1)
        return fail(0, "policy test needs one of: the path of a file, --socket, --address with --port, --device");
    if (command.path.empty() && tells_of_a_file(command))
        return fail(0,
                    "--state, --use, --size, --owner, --file-system and --read-only are about a file: name its path");
    if (command.address.empty() && command.port != 0)
        return fail(0, "--port needs an --address");
    const auto policy = TRY(policy_for_subject(command));
    if (!command.path.empty())
        return test_file(command, policy);
    return command.device.empty() ? test_peer(command, policy) : test_device(command, policy);
}

} // namespace abey::ctl
