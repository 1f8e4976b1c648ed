// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/client.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "ctl/stream_progress.h"
#include "dbus/names.h"
#include "transfer/transfer.h"

#include <csignal>

#include <sys/signalfd.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

namespace abey::ctl {

Result<int> import_command(const ImportCommand &command) {
    if (::geteuid() != 0)
        return fail(EPERM, "what a stream says is resumed with the rights that it says, also root's: only root may "
                           "import one");
    (void)std::signal(SIGPIPE, SIG_IGN);
    ::umask(077);
    if (command.input.empty() && ::isatty(STDIN_FILENO) != 0)
        return fail(0, "standard input is a terminal: name a file, or pipe a stream of `abeyctl export` here");
    const auto in =
        command.input.empty() ? Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) : TRY(open_file(command.input, O_RDONLY));
    sigset_t stopping;
    ::sigemptyset(&stopping);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        ::sigaddset(&stopping, signal);
    ::sigprocmask(SIG_BLOCK, &stopping, nullptr);
    const Fd stop(::signalfd(-1, &stopping, SFD_CLOEXEC));
    const auto done = [&] {
        StreamProgress progress("import");
        return transfer::import_checkpoint(store::Store(), in, progress.callback(), stop);
    }();
    if (!done)
        return std::unexpected(done.error());
    if (auto client = Client::connect())
        client->announce_checkpoint(done->id);
    if (command.json)
        print_json({{"ok", true}, {"checkpoint", done->id}, {"user", bus::printable(done->user)}});
    else
        fmt::print("Checkpoint {} of {} waits on this machine: `abeyctl resume {}`{}.\n", done->id,
                   bus::printable(done->user), done->id,
                   done->kept_running ? "" : ", or the next login of that user, brings it back");
    return 0;
}

} // namespace abey::ctl
