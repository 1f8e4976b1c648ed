// SPDX-License-Identifier: LGPL-2.1-or-later
#include "store/records.h"

#include "engine/image/image.h"
#include "engine/os/network_lock.h"

#include <nlohmann/json.hpp>

namespace abey::store {
namespace {

std::string dump(const nlohmann::json &json) {
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// A path may hold any bytes, a JSON text may not.
nlohmann::json bytes_of(const std::string &path) { return std::vector<uint8_t>(path.begin(), path.end()); }

std::string text_of(const nlohmann::json &json) {
    const auto bytes = json.get<std::vector<uint8_t>>();
    return {bytes.begin(), bytes.end()};
}

// Runs `read` on the parsed text, and turns what the library throws into an error.
template <class Read> auto parsed(std::string_view text, Read read) -> Result<decltype(read(nlohmann::json()))> {
    try {
        return read(nlohmann::json::parse(text));
    } catch (const nlohmann::json::exception &error) {
        return fail(EINVAL, "malformed: {}", error.what());
    }
}

} // namespace

std::string to_json(const About &about) {
    return dump({{"id", about.id},
                 {"uid", about.uid},
                 {"user", about.user},
                 {"home", about.home},
                 {"session", about.session},
                 {"service", about.service},
                 {"tty", about.tty},
                 {"created", about.created},
                 {"kept_running", about.kept_running},
                 {"trigger", about.trigger},
                 {"boot", about.boot}});
}

Result<About> about_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        return About{.id = json.at("id").get<std::string>(),
                     .uid = json.at("uid").get<uint32_t>(),
                     .user = json.at("user").get<std::string>(),
                     .home = json.value("home", ""),
                     .session = json.at("session").get<std::string>(),
                     .service = json.value("service", ""),
                     .tty = json.value("tty", ""),
                     .created = json.at("created").get<uint64_t>(),
                     .kept_running = json.value("kept_running", false),
                     .trigger = json.value("trigger", ""),
                     .boot = json.value("boot", "")};
    });
}

std::string network_lock_of(const nlohmann::json &about) {
    const auto name = about.is_object() ? about.value(network_lock, nlohmann::json()) : nlohmann::json();
    return name.is_string() && os::is_lock_name(name.get<std::string>()) ? name.get<std::string>() : std::string();
}

Result<> commit(image::Writer &image, const Description &description) {
    nlohmann::json all = {{"id", description.id}, {"keep_running", description.keep_running}};
    if (!description.info.empty()) {
        all["info"] = nlohmann::json::parse(description.info, nullptr, false);
        if (!all["info"].is_object())
            return fail(EINVAL, "the session's information is not a JSON object");
    }
    if (description.home)
        all["home"] = nlohmann::json::parse(to_json(*description.home), nullptr, false);
    if (!description.lock.empty())
        all[network_lock] = description.lock;
    return image.commit(all);
}

Result<std::optional<snapshot::Saved>> home_of(const image::Reader &image) {
    const auto &about = image.about();
    if (!about.contains("home"))
        return std::optional<snapshot::Saved>();
    return TRY(saved_from_json(about["home"].dump()));
}

std::string network_lock_of(const image::Reader &image) { return network_lock_of(image.about()); }

Result<> unlock(const std::string &images) {
    const auto image = image::Reader::open(images);
    if (!image)
        return {}; // locks are made for checkpoints that are complete
    const std::string lock = network_lock_of(image->about());
    return lock.empty() ? Result<>() : os::lift_lock(lock);
}

std::string information_of(const Checkpoint &checkpoint) {
    const auto &about = checkpoint.about;
    nlohmann::json information{
        {"home", about.home},       {"service", about.service},           {"tty", about.tty},
        {"trigger", about.trigger}, {"kept_running", about.kept_running}, {"figures", checkpoint.figures}};
    if (checkpoint.home)
        information["snapshot"] = {{"provider", checkpoint.home->provider}, {"place", checkpoint.home->place}};
    return information.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string to_json(const snapshot::Saved &saved) {
    auto nested = nlohmann::json::array();
    for (const auto &one : saved.nested)
        nested.push_back({{"path", bytes_of(one.path)}, {"source", one.source}, {"read_only", one.read_only}});
    return dump({{"provider", saved.provider},
                 {"home", saved.home},
                 {"filesystem", saved.filesystem},
                 {"source", saved.source},
                 {"place", saved.place},
                 {"id", saved.id},
                 {"snapshot", saved.snapshot},
                 {"generation", saved.generation},
                 {"nested", std::move(nested)},
                 {"list", saved.list}});
}

Result<snapshot::Saved> saved_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        std::vector<snapshot::Nested> nested;
        for (const auto &one : json.value("nested", nlohmann::json::array()))
            nested.push_back({.path = text_of(one.at("path")),
                              .source = one.at("source").get<std::string>(),
                              .read_only = one.at("read_only").get<bool>()});
        return snapshot::Saved{.provider = json.at("provider").get<std::string>(),
                               .home = json.at("home").get<std::string>(),
                               .filesystem = json.at("filesystem").get<std::string>(),
                               .source = json.at("source").get<std::string>(),
                               .place = json.at("place").get<std::string>(),
                               .id = json.value("id", ""),
                               .snapshot = json.at("snapshot").get<std::string>(),
                               .generation = json.at("generation").get<uint64_t>(),
                               .nested = std::move(nested),
                               .list = json.value("list", "")};
    });
}

std::string to_json(const DisplacedBy &displaced) {
    const auto &home = displaced.home;
    return dump({{"home", home.home}, {"place", home.place}, {"state", home.state}, {"attempt", displaced.attempt}});
}

Result<DisplacedBy> displaced_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        return DisplacedBy{.home = {.home = json.at("home").get<std::string>(),
                                    .place = json.at("place").get<std::string>(),
                                    .state = json.value("state", "")},
                           .attempt = json.value("attempt", "")};
    });
}

std::string to_json(const PrivateHome &home) {
    return dump({{"place", bytes_of(home.place)}, {"attempt", home.attempt}});
}

Result<PrivateHome> private_home_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        return PrivateHome{.place = text_of(json.at("place")), .attempt = json.at("attempt").get<std::string>()};
    });
}

std::string to_json(const DisplacedHome &displaced) {
    const auto &home = displaced.home;
    return dump({{"uid", displaced.uid},
                 {"checkpoint", displaced.checkpoint},
                 {"provider", displaced.provider},
                 {"home", bytes_of(home.home)},
                 {"place", bytes_of(home.place)},
                 {"state", home.state},
                 {"created", displaced.created}});
}

Result<DisplacedHome> displaced_home_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        return DisplacedHome{.name = {},
                             .uid = json.at("uid").get<uint32_t>(),
                             .checkpoint = json.at("checkpoint").get<std::string>(),
                             .provider = json.at("provider").get<std::string>(),
                             .home = {.home = text_of(json.at("home")),
                                      .place = text_of(json.at("place")),
                                      .state = json.value("state", "")},
                             .created = json.at("created").get<uint64_t>()};
    });
}

std::string to_json(const std::map<std::string, uint64_t> &figures) { return dump(figures); }

std::string to_json(const std::map<uint32_t, std::string> &pictures) {
    auto json = nlohmann::json::array();
    for (const auto &[terminal, picture] : pictures)
        json.push_back({{"terminal", terminal}, {"picture", picture}});
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<std::map<uint32_t, std::string>> pictures_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        std::map<uint32_t, std::string> pictures;
        for (const auto &one : json)
            pictures.emplace(one.at("terminal").get<uint32_t>(), one.at("picture").get<std::string>());
        return pictures;
    });
}

Result<std::map<std::string, uint64_t>> figures_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) { return json.get<std::map<std::string, uint64_t>>(); });
}

std::string to_json(const Measured &measured) {
    nlohmann::json json = {{"problem", measured.problem}};
    if (measured.exclusive)
        json["exclusive"] = *measured.exclusive;
    return dump(json);
}

Result<Measured> measured_from_json(std::string_view text) {
    return parsed(text, [](const nlohmann::json &json) {
        Measured measured{.exclusive = {}, .problem = json.value("problem", "")};
        if (json.contains("exclusive"))
            measured.exclusive = json.at("exclusive").get<uint64_t>();
        return measured;
    });
}

} // namespace abey::store
