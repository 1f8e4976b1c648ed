// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/command.h"
#include "ctl/new_file.h"
#include "ctl/output.h"
#include "ctl/stream_progress.h"
#include "dbus/names.h"
#include "transfer/transfer.h"

#include <algorithm>
#include <csignal>

#include <sys/signalfd.h>

#include <nlohmann/json.hpp>

namespace abey::ctl {
namespace {

Result<std::string> only_waiting(const store::Store &store) {
    auto listed = TRY(store.list());
    std::erase_if(listed.checkpoints, [](const store::Checkpoint &one) { return one.state != store::State::waiting; });
    if (listed.checkpoints.size() == 1)
        return listed.checkpoints.front().about.id;
    return fail(0, "{} checkpoints wait; name one, `abeyctl list` lists them", listed.checkpoints.size());
}

Result<> write_to(const store::Store &store, const std::string &id, const ExportCommand &command) {
    StreamProgress progress("export");
    if (command.output.empty()) {
        if (::isatty(STDOUT_FILENO) != 0)
            return fail(0, "standard output is a terminal: name a file with --output, or pipe it somewhere");
        const Fd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
        return transfer::export_checkpoint(store, id, out, progress.callback());
    }
    // Holds the memory of a session: nobody else's to read, and nothing to be left lying about.
    auto out = TRY(NewFile::create(command.output, 0600));
    Fd stop;
    if (out.has_name()) {
        sigset_t stopping;
        ::sigemptyset(&stopping);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP})
            ::sigaddset(&stopping, signal);
        ::sigprocmask(SIG_BLOCK, &stopping, nullptr);
        stop = Fd(::signalfd(-1, &stopping, SFD_CLOEXEC));
    }
    TRY(transfer::export_checkpoint(store, id, out.fd(), progress.callback(), stop));
    return out.keep();
}

} // namespace

Result<int> export_command(const ExportCommand &command) {
    if (::geteuid() != 0)
        return fail(EPERM, "a stream holds the memory of all that runs in the session, also of root's programs: only "
                           "root may export one");
    if (command.json && command.output.empty())
        return fail(0, "--json needs --output: standard output cannot be both");
    (void)std::signal(SIGPIPE, SIG_IGN);
    const store::Store store;
    const auto id = command.checkpoint.empty() ? TRY(only_waiting(store)) : command.checkpoint;
    TRY(write_to(store, id, command));
    if (command.json)
        print_json({{"ok", true}, {"checkpoint", id}, {"output", bus::printable(command.output)}});
    else if (!command.output.empty())
        fmt::print("Checkpoint {} is written to {}. It still waits here, too: `abeyctl remove {}` when it has been "
                   "imported elsewhere.\n",
                   id, bus::printable(command.output), id);
    return 0;
}

} // namespace abey::ctl
