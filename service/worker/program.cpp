// SPDX-License-Identifier: LGPL-2.1-or-later
#include "worker/program.h"
#include "worker/worker.h"

#include <cstdio>
#include <exception>
#include <string_view>

#include <sys/stat.h>

namespace abey::worker {
namespace {

Result<job::Outcome> carry_out(const job::Job &job) {
    switch (job.kind) {
    case job::Kind::suspend:
        return suspend(job);
    case job::Kind::check:
        return check(job);
    case job::Kind::remove:
        return remove(job);
    case job::Kind::resume:
    case job::Kind::run:
        break;
    }
    return fail(EINVAL, "resumes and runs are the keeper's work");
}

Result<> run(std::string_view verb, std::string_view text) {
    const auto number = TRY(job::number_from(text));
    const auto job = job::load(number);
    if (verb == "clear") {
        // The daemon has taken note of the end already and forgotten the job
        if (!job && job.error().code() == ENOENT)
            return {};
        return clear(TRY(Result<job::Job>(job)));
    }
    if (!job)
        return std::unexpected(job.error());
    if (verb != job::name_of(job->kind))
        return fail(EINVAL, "job {} is no {} but a {}", number, verb, job::name_of(job->kind));
    const auto outcome = carry_out(*job);
    TRY(job::store_outcome(number, outcome ? *outcome : job::failed(outcome.error())));
    if (!outcome)
        return std::unexpected(outcome.error());
    return {};
}

Result<> run_settle() {
    const auto settled = TRY(settle());
    for (const auto &told : settled.told)
        fmt::print(stderr, "abey-worker: {}\n", told);
    for (size_t i = 1; i < settled.errors.size(); ++i)
        fmt::print(stderr, "abey-worker: {}\n", settled.errors[i].message());
    if (!settled.errors.empty())
        return std::unexpected(settled.errors.front());
    return {};
}

} // namespace

int program(int argc, char **argv) {
    const bool settle = argc == 2 && std::string_view(argv[1]) == "settle";
    if (argc != 3 && !settle) {
        (void)std::fputs("usage: abey-worker suspend|check|remove|clear NUMBER, or abey-worker settle\n", stderr);
        return 2;
    }
    ::umask(077);
    try {
        if (auto result = settle ? run_settle() : run(argv[1], argv[2]); !result) {
            fmt::print(stderr, "abey-worker: {}\n", result.error().message());
            return 1;
        }
    } catch (const std::exception &error) {
        (void)std::fprintf(stderr, "abey-worker: %s\n", error.what());
        return 1;
    }
    return 0;
}

} // namespace abey::worker
