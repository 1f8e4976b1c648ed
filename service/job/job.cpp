// SPDX-License-Identifier: LGPL-2.1-or-later
#include "job/job.h"

#include "engine/os/cause.h"
#include "engine/os/fd.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <span>

#include <nlohmann/json.hpp>

namespace abey::job {
namespace {

constexpr size_t file_limit = 4U << 20U;
constexpr size_t text_limit = 4096;
constexpr size_t finding_limit = 10'000;
constexpr size_t findings_size_limit = answer_limit;         // bytes, as written
constexpr size_t findings_beside_answer_limit = 512U << 10U; // the same

struct Named {
    Kind kind;
    std::string_view name;
};
constexpr std::array kinds{Named{Kind::suspend, "suspend"}, Named{Kind::resume, "resume"}, Named{Kind::check, "check"},
                           Named{Kind::remove, "remove"}, Named{Kind::run, "run"}};

std::string job_file(uint32_t number, const std::string &directory) {
    return fmt::format("{}/{}.json", directory, number);
}
std::string outcome_file(uint32_t number, const std::string &directory) {
    return fmt::format("{}/{}.result", directory, number);
}
std::string session_file(uint32_t number, const std::string &directory) {
    return fmt::format("{}/{}.session", directory, number);
}
std::string place_file(uint32_t number, const std::string &directory) {
    return fmt::format("{}/{}.place", directory, number);
}

// A member that must have the right type when it is there.
template <class T> T member(const nlohmann::json &object, const char *name) {
    auto found = object.find(name);
    return found == object.end() ? T{} : found->get<T>();
}

std::string text_member(const nlohmann::json &object, const char *name) {
    auto text = member<std::string>(object, name);
    if (text.size() > text_limit)
        text.resize(text_limit);
    return text;
}

std::string shortened(const std::string &text) { return text.substr(0, text_limit); }

nlohmann::json json_of(const capture::Finding &finding) {
    return {{"pid", finding.pid},
            {"comm", shortened(finding.comm)},
            {"object", shortened(finding.object)},
            {"reason", shortened(finding.reason)},
            {"advice", shortened(finding.advice)},
            {"fatal", finding.fatal}};
}

// Comms and paths are bytes; what is no UTF-8 is shown as U+FFFD.
std::string dump(const nlohmann::json &json) {
    return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

nlohmann::json json_of(std::vector<capture::Finding> findings, size_t most) {
    std::vector<nlohmann::json> all;
    size_t size = 0;
    const auto add_while_room = [&] {
        all.clear();
        size = 0;
        for (const auto &finding : findings) {
            auto one = json_of(finding);
            size += dump(one).size();
            if (size > most || all.size() + 1 == finding_limit)
                return false;
            all.push_back(std::move(one));
        }
        return true;
    };
    if (!add_while_room()) {
        std::ranges::stable_partition(findings, &capture::Finding::fatal);
        (void)add_while_room();
        const auto left = std::span(findings).subspan(all.size());
        const auto fatal = std::ranges::count_if(left, &capture::Finding::fatal);
        all.push_back(
            json_of(capture::Finding{.pid = left.front().pid,
                                     .comm = left.front().comm,
                                     .object = left.front().object,
                                     .reason = fmt::format("and {} more like these have no room here", left.size()),
                                     .advice = "mend some of the others first",
                                     .fatal = fatal > 0}));
    }
    return all;
}

Result<> replace_file(const std::string &path, std::string_view data) {
    const auto temporary = path + ".new";
    {
        auto file = TRY(open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
        if (auto written = write_all(file, data); !written) {
            ::unlink(temporary.c_str());
            return within(std::move(written).error(), "{}", temporary);
        }
    }
    if (::rename(temporary.c_str(), path.c_str()) < 0) {
        const int code = errno;
        ::unlink(temporary.c_str());
        return fail(code, "cannot rename {} to {}", temporary, path);
    }
    return {};
}

Result<std::string> read_own_file(const std::string &path) {
    auto file = TRY(open_file(path, O_RDONLY | O_NOFOLLOW));
    auto status = TRY_IN(stat_of(file), "{}", path);
    if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 022U) != 0)
        return fail(EPERM, "{}: not written by the service, ignoring it", path);
    return TRY_IN(read_all(file, file_limit), "{}", path);
}

} // namespace

std::string_view name_of(Kind kind) { return std::ranges::find(kinds, kind, &Named::kind)->name; }

Result<Kind> kind_of(std::string_view name) {
    if (const auto *found = std::ranges::find(kinds, name, &Named::name); found != kinds.end())
        return found->kind;
    return fail(EINVAL, "no such kind of job: \"{}\"", name);
}

Outcome failed(const Error &error) {
    const auto word = [&] {
        switch (error.code()) {
        case EDQUOT:
            return "QuotaExceeded";
        case cause::policy_invalid:
            return "PolicyInvalid";
        case cause::not_suspendable:
            return "NotSuspendable";
        case cause::diverged:
            return "Diverged";
        default:
            return "";
        }
    };
    return {.message = error.message(), .error = word()};
}

std::string unit_of(const Job &job) { return fmt::format("abeyance-{}@{}.service", name_of(job.kind), job.number); }

std::string to_json(const Job &job) {
    return dump({{"number", job.number},
                 {"kind", name_of(job.kind)},
                 {"uid", job.uid},
                 {"session", job.session},
                 {"checkpoint", job.checkpoint},
                 {"displaced", job.displaced},
                 {"keep_running", job.keep_running},
                 {"pids", job.pids},
                 {"on_divergence", job.on_divergence},
                 {"tty", job.tty},
                 {"login", job.login},
                 {"beside", job.beside},
                 {"automatic", job.automatic},
                 {"trigger", job.trigger},
                 {"command", job.command},
                 {"environment", job.environment},
                 {"directory", job.directory},
                 {"rows", job.rows},
                 {"columns", job.columns},
                 {"question", job.question}});
}

Result<Job> job_from_json(std::string_view text) {
    try {
        const auto json = nlohmann::json::parse(text);
        Job job;
        job.number = json.at("number").get<uint32_t>();
        job.kind = TRY(kind_of(json.at("kind").get<std::string>()));
        job.uid = json.at("uid").get<uint32_t>();
        job.session = text_member(json, "session");
        job.checkpoint = text_member(json, "checkpoint");
        job.displaced = text_member(json, "displaced");
        job.keep_running = member<bool>(json, "keep_running");
        job.pids = text_member(json, "pids");
        job.on_divergence = text_member(json, "on_divergence");
        job.tty = text_member(json, "tty");
        job.login = text_member(json, "login");
        job.beside = text_member(json, "beside");
        job.automatic = member<bool>(json, "automatic");
        job.trigger = text_member(json, "trigger");
        job.command = member<std::vector<std::string>>(json, "command");
        job.environment = member<std::vector<std::string>>(json, "environment");
        job.directory = text_member(json, "directory");
        job.rows = member<uint16_t>(json, "rows");
        job.columns = member<uint16_t>(json, "columns");
        job.question = text_member(json, "question");
        return job;
    } catch (const nlohmann::json::exception &error) {
        return fail(EINVAL, "not the description of a job: {}", error.what());
    }
}

std::string to_json(const Outcome &outcome) {
    return dump({{"ok", outcome.ok},
                 {"message", shortened(outcome.message)},
                 {"error", outcome.error},
                 {"checkpoint", outcome.checkpoint},
                 {"session", outcome.session},
                 {"figures", outcome.figures},
                 {"findings", json_of(outcome.findings,
                                      outcome.answer.empty() ? findings_size_limit : findings_beside_answer_limit)},
                 {"answer", outcome.answer}});
}

Result<Outcome> outcome_from_json(std::string_view text) {
    try {
        const auto json = nlohmann::json::parse(text);
        Outcome outcome;
        outcome.ok = json.at("ok").get<bool>();
        outcome.message = text_member(json, "message");
        outcome.error = text_member(json, "error");
        outcome.checkpoint = text_member(json, "checkpoint");
        outcome.session = text_member(json, "session");
        outcome.figures = member<std::map<std::string, uint64_t>>(json, "figures");
        for (const auto &item : member<nlohmann::json::array_t>(json, "findings")) {
            if (!item.is_object())
                return fail(EINVAL, "not the result of a job: a finding is no object");
            if (outcome.findings.size() == finding_limit)
                return fail(EFBIG, "more than {} findings", finding_limit);
            outcome.findings.push_back({.pid = member<int>(item, "pid"),
                                        .comm = text_member(item, "comm"),
                                        .object = text_member(item, "object"),
                                        .reason = text_member(item, "reason"),
                                        .advice = text_member(item, "advice"),
                                        .fatal = member<bool>(item, "fatal")});
        }
        outcome.answer = member<std::string>(json, "answer");
        return outcome;
    } catch (const nlohmann::json::exception &error) {
        return fail(EINVAL, "not the result of a job: {}", error.what());
    }
}

Result<uint32_t> number_from(std::string_view text) {
    uint32_t number = 0;
    const auto [stop, error] = std::from_chars(text.begin(), text.end(), number);
    if (error != std::errc{} || stop != text.end() || number == 0 || text.starts_with('0'))
        return fail(EINVAL, "not the number of a job: \"{}\"", text);
    return number;
}

Result<> store(const Job &job, const std::string &directory) {
    return replace_file(job_file(job.number, directory), to_json(job));
}

Result<uint32_t> next_number(const std::string &directory) {
    const auto path = directory + "/last";
    uint32_t last = 0;
    if (auto text = read_own_file(path); text)
        last = TRY_IN(number_from(*text), "{}", path);
    else if (text.error().code() != ENOENT)
        return std::unexpected(std::move(text).error());
    TRY(replace_file(path, fmt::format("{}", ++last)));
    return last;
}

Result<std::vector<uint32_t>> list(const std::string &directory) {
    std::vector<uint32_t> numbers;
    std::error_code error;
    std::filesystem::directory_iterator entry(directory, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
        if (entry->path().extension() != ".json")
            continue;
        if (auto number = number_from(entry->path().stem().string()))
            numbers.push_back(*number);
    }
    if (error)
        return fail(error.value(), "cannot list {}", directory);
    std::ranges::sort(numbers);
    return numbers;
}

Result<Outcome> load_outcome(uint32_t number, const std::string &directory) {
    const auto path = outcome_file(number, directory);
    const auto text = TRY(read_own_file(path));
    return TRY_IN(outcome_from_json(text), "{}", path);
}

void forget(uint32_t number, const std::string &directory) noexcept {
    ::unlink(job_file(number, directory).c_str());
    ::unlink(outcome_file(number, directory).c_str());
    ::unlink(session_file(number, directory).c_str());
    ::unlink(place_file(number, directory).c_str());
}

Result<Job> load(uint32_t number, const std::string &directory) {
    const auto path = job_file(number, directory);
    const auto text = TRY(read_own_file(path));
    auto job = TRY_IN(job_from_json(text), "{}", path);
    if (job.number != number)
        return fail(EINVAL, "{}: describes job {}", path, job.number);
    return job;
}

Result<> note_session(uint32_t number, const std::string &session, const std::string &directory) {
    return replace_file(session_file(number, directory), session);
}

Result<std::string> noted_session(uint32_t number, const std::string &directory) {
    return read_own_file(session_file(number, directory));
}

Result<> note_place(uint32_t number, const Place &place, const std::string &directory) {
    return replace_file(place_file(number, directory), dump({{"cgroup", place.cgroup}, {"leader", place.leader}}));
}

Result<Place> noted_place(uint32_t number, const std::string &directory) {
    const auto path = place_file(number, directory);
    const auto text = TRY(read_own_file(path));
    try {
        const auto json = nlohmann::json::parse(text);
        Place place{.cgroup = text_member(json, "cgroup"), .leader = member<int>(json, "leader")};
        if (!place.cgroup.starts_with('/'))
            return fail(EINVAL, "{}: names no directory", path);
        return place;
    } catch (const nlohmann::json::exception &error) {
        return fail(EINVAL, "{}: {}", path, error.what());
    }
}

std::string invocation() {
    const char *id = std::getenv("INVOCATION_ID"); // NOLINT(concurrency-mt-unsafe): nobody changes the environment
    return id == nullptr ? "" : id;
}

Result<> store_outcome(uint32_t number, const Outcome &outcome, const std::string &directory) {
    return replace_file(outcome_file(number, directory), to_json(outcome));
}

} // namespace abey::job
