// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/engine/program.h"
#include "ctl/engine/command.h"

#include <cstdio>

namespace abey::ctl::engine {

Result<policy::Policy> policy_from(const std::string &file) {
    return file.empty() ? policy::Policy::defaults() : policy::Policy::load(file);
}

namespace {

int run(int argc, char **argv) {
    CLI::App app("Checkpoint and restart of process trees", "abey-engine");
    app.require_subcommand(1);
    app.fallthrough();
    bool as_json = false;
    app.add_flag("--json", as_json, "Print one JSON document");
    Action action;
    add_checkpoint(app, action);
    add_restore(app, action);
    add_check(app, action);
    add_inspect(app, action);
    add_unlock(app, action);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError &error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    const auto outcome = action();
    if (!outcome) {
        if (as_json)
            fmt::print("{}\n", nlohmann::json{{"ok", false}, {"error", outcome.error().message()}}.dump(
                                   -1, ' ', false, nlohmann::json::error_handler_t::replace));
        fmt::print(stderr, "abey-engine: {}\n", outcome.error().message());
        return 1;
    }
    if (as_json)
        fmt::print("{}\n", outcome->json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    else
        fmt::print("{}", outcome->text);
    if (std::fflush(stdout) != 0) {
        fmt::print(stderr, "abey-engine: cannot write the result: {}\n", std::strerror(errno));
        return outcome->status == 0 ? 1 : outcome->status;
    }
    return outcome->status;
}

} // namespace

int program(int argc, char **argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception &error) { // a library's, for lack of memory
        fmt::print(stderr, "abey-engine: {}\n", error.what());
        return 1;
    }
}

} // namespace abey::ctl::engine
