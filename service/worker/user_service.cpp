// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker/user_service.h"

#include "engine/os/program.h"
#include "engine/os/user.h"
#include "session/user_unit.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include <sys/stat.h>

namespace abey::worker {
namespace {

constexpr std::chrono::seconds manager_limit{20};
constexpr size_t answer_limit = 64U << 10U;

// $1: the directory of drop-ins. ExecStop= and the like would be run for a program that is not stopped; what is killed
// is no failure.
constexpr const char *begin_script = R"(set -e
mkdir -p "$1"
cat > "$1/90-abeyance.conf"
exec systemctl --user daemon-reload)";
constexpr std::string_view drop_in = "[Service]\nRestart=no\nExecStop=\nExecStopPost=\nSuccessExitStatus=SIGKILL\n";
// $2: the unit, when its end is to be waited for, for half of manager_limit. Nothing is there to be taken away: no
// matter.
constexpr const char *end_script = R"(if [ -n "$2" ]; then
    late=$(($(date +%s) + 10))
    while [ $(date +%s) -lt $late ]; do
        case $(systemctl --user show --property=ActiveState --value -- "$2") in
        inactive | failed) break ;;
        esac
        sleep 0.1
    done
fi
[ -e "$1/90-abeyance.conf" ] || exit 0
rm -f "$1/90-abeyance.conf"
rmdir "$1" 2>/dev/null
exec systemctl --user daemon-reload)";

std::string drop_in_directory(const session::Session &session) {
    return fmt::format("/run/user/{}/systemd/user/{}.d", session.uid, session.scope);
}

Result<std::string> run_as_user(const session::Session &session, std::vector<std::string> arguments,
                                std::string_view input = {}) {
    const auto runtime = fmt::format("/run/user/{}", session.uid);
    struct stat status {};
    if (::stat(runtime.c_str(), &status) < 0)
        return fail(errno, "{}: cannot ask the user's service manager", runtime);
    const auto user = TRY(os::user_of(session.uid));
    std::string answer;
    const Program program{
        .arguments = std::move(arguments),
        .environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "XDG_RUNTIME_DIR=" + runtime},
        .input = std::string(input),
        .limit = manager_limit,
        .as = {{session.uid, user.gid}},
        .user = session.user};
    TRY_IN(run_program(program,
                       [&](std::string_view piece) {
                           if (answer.size() + piece.size() <= answer_limit)
                               answer += piece;
                       }),
           "the service manager of user {}", session.user);
    return answer;
}

// "Name=value" lines.
std::map<std::string, std::string, std::less<>> properties_from(std::string_view text) {
    std::map<std::string, std::string, std::less<>> all;
    while (!text.empty()) {
        const auto line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (const auto sign = line.find('='); sign != std::string_view::npos)
            all.emplace(line.substr(0, sign), line.substr(sign + 1));
    }
    return all;
}

} // namespace

bool is_user_service(const session::Session &session) {
    return session::is_unit_id(session.id) && session.scope.ends_with(".service");
}

Result<std::vector<capture::Finding>> ties_of(const Target &target) {
    std::vector<capture::Finding> findings;
    if (!is_user_service(target.session))
        return findings;
    const auto &unit = target.session.scope;
    const auto answer = TRY(run_as_user(
        target.session, {"systemctl", "--user", "show",
                         "--property=BusName,TriggeredBy,OnSuccess,NFileDescriptorStore,BoundBy,MainPID", "--", unit}));
    const auto properties = properties_from(answer);
    const auto value = [&](std::string_view name) {
        const auto found = properties.find(name);
        return found == properties.end() ? std::string() : found->second;
    };
    int pid = 0;
    const auto main = value("MainPID");
    (void)std::from_chars(main.data(), main.data() + main.size(), pid);
    const auto add = [&](std::string reason, const char *advice, bool fatal) {
        findings.push_back({.pid = pid,
                            .comm = unit,
                            .object = "service",
                            .reason = std::move(reason),
                            .advice = advice,
                            .fatal = fatal});
    };
    if (const auto name = value("BusName"); !name.empty())
        add(fmt::format("it owns the name {} on a bus: the next call to that would start it again", name),
            "stop it, and start it again afterwards", true);
    const auto triggers = value("TriggeredBy");
    if (triggers.find(".socket") != std::string::npos)
        add(fmt::format("its sockets belong to {}: the next connection would start it again", triggers),
            "stop it, and start it again afterwards", true);
    if (const auto stored = value("NFileDescriptorStore"); !stored.empty() && stored != "0")
        add(fmt::format("{} of its descriptors are kept by the service manager", stored), "", true);
    if (const auto next = value("OnSuccess"); !next.empty())
        add(fmt::format("{} would be started when it ends", next), "", true);
    if (const auto bound = value("BoundBy"); !bound.empty())
        add(fmt::format("{} ends with it", bound), "", false);
    return findings;
}

Result<> expect_end(const Target &target) {
    if (is_user_service(target.session))
        TRY(run_as_user(target.session, {"sh", "-c", begin_script, "sh", drop_in_directory(target.session)}, drop_in));
    return {};
}

Result<> end_seen(const Target &target, bool has_ended) {
    if (is_user_service(target.session))
        TRY(run_as_user(target.session, {"sh", "-c", end_script, "sh", drop_in_directory(target.session),
                                         has_ended ? target.session.scope : ""}));
    return {};
}

} // namespace abey::worker
