// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/engine/command.h"
#include "resume/resume.h"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>

#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace abey::ctl::engine {

namespace {

struct RestoreOptions {
    std::string images;
    bool detach = false;
    resume::Pids pids = resume::Pids::automatic;
};

// Signals for us are meant for the restored process, as with a shell that has become it by exec.
Result<int> stay(const resume::Report &report, const Fd &signals) {
    const int root = report.roots.front();
    const int child = report.reaper != 0 ? report.reaper : root;
    for (;;) {
        signalfd_siginfo info = {};
        if (::read(signals.get(), &info, sizeof info) != sizeof info) {
            if (errno == EINTR)
                continue;
            return fail(errno, "cannot wait for process {}", root);
        }
        if (info.ssi_signo != SIGCHLD) {
            (void)::kill(root, static_cast<int>(info.ssi_signo));
            continue;
        }
        int status = 0;
        for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG))
            if (pid == child)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

Result<Outcome> restore(const RestoreOptions &options) {
    if (::geteuid() != 0)
        return fail(EPERM, "processes can only be checkpointed and restored by root");
    resume::Request request;
    request.images = std::filesystem::absolute(options.images).string();
    request.pids = options.pids;
    request.keep_checkpoint = true;
    const auto report = TRY(resume::run(request));
    Outcome outcome;
    outcome.json = {
        {"ok", true}, {"roots", report.roots}, {"reaper", report.reaper}, {"figures", resume::named(report.figures)}};
    if (options.detach)
        return outcome;
    sigset_t all;
    ::sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT})
        ::sigdelset(&all, own);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    const Fd signals(::signalfd(-1, &all, SFD_CLOEXEC));
    // a child that has ended before the mask was set has left its SIGCHLD nowhere: look once
    (void)::raise(SIGCHLD);
    outcome.status = TRY(stay(report, signals));
    outcome.json["status"] = outcome.status;
    return outcome;
}

} // namespace

void add_restore(CLI::App &app, Action &action) {
    auto options = std::make_shared<RestoreOptions>();
    auto *command = app.add_subcommand("restore", "Bring the processes of an image back");
    command->add_option("--images", options->images, "Image directory")->required();
    command->add_flag("--detach", options->detach, "Do not stay as their parent");
    const std::map<std::string, resume::Pids> pids = {
        {"same", resume::Pids::same}, {"namespace", resume::Pids::in_namespace}, {"auto", resume::Pids::automatic}};
    command
        ->add_option("--pids", options->pids,
                     "same, namespace (a new pid namespace), or auto: the same if they are free")
        ->transform(CLI::CheckedTransformer(pids));
    command->callback([&action, options] { action = [options] { return restore(*options); }; });
}

} // namespace abey::ctl::engine
