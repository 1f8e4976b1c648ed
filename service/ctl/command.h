// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The subcommands of abeyctl, one file each. Each prints its own output and returns the exit status; an error is
// printed by main, once.
#pragma once

#include "engine/os/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace abey::ctl {

struct SuspendCommand {
    std::string session; // empty: the caller's
    std::string unit;    // instead: a pattern for scopes of users' managers
    bool keep_running = false;
    bool json = false;
};
Result<int> suspend(const SuspendCommand &command);

struct ResumeCommand {
    std::string checkpoint; // empty: the only one that waits
    std::string pids;
    std::string on_divergence;
    bool attach = false;
    std::string detach_key; // of attach
    bool json = false;
};
Result<int> resume(const ResumeCommand &command);

struct ListCommand {
    bool displaced = false; // homes that resumes have put aside
    bool quick = false;     // what is recorded, without looking at the homes
    bool no_legend = false; // rows only
    bool json = false;
};
Result<int> list(const ListCommand &command);

struct ShowCommand {
    std::string checkpoint;
    bool json = false;
};
Result<int> show(const ShowCommand &command);

struct CheckCommand {
    std::string session; // empty: the caller's
    std::string unit;    // instead: as above
    bool json = false;
};
// 1: a suspend would be refused.
Result<int> check(const CheckCommand &command);

struct ExplainCommand {
    std::string session; // empty: the caller's
    std::string unit;    // instead: as above
    bool json = false;
};
// 1: a suspend would be refused because of a file.
Result<int> explain(const ExplainCommand &command);

struct DiffCommand {
    std::string checkpoint; // empty: the only one that waits
    bool json = false;
};
Result<int> diff(const DiffCommand &command);

struct AttachCommand {
    std::string session; // empty: the only one there is
    std::optional<uint32_t> terminal;
    bool watch = false;     // look only
    std::string detach_key; // "ctrl-a,d"; empty: as the environment says
    bool list = false;      // what could be attached to
    bool json = false;      // the same
};
Result<int> attach(const AttachCommand &command);

struct RunCommand {
    std::vector<std::string> command; // empty: the login shell
    bool join = false;                // rather a session that was left behind
    bool detach = false;              // start it only
    std::string detach_key;           // as of attach
    bool json = false;                // as detach
};
Result<int> run(const RunCommand &command);

struct RemoveCommand {
    std::string checkpoint;
    bool json = false;
};
Result<int> remove(const RemoveCommand &command);

struct ExportCommand {
    std::string checkpoint; // empty: the only one that waits
    std::string output;     // empty: standard output
    bool json = false;
};
// Root's alone, like the next: without the service.
Result<int> export_command(const ExportCommand &command);

struct ImportCommand {
    std::string input; // empty: standard input
    bool json = false;
};
Result<int> import_command(const ImportCommand &command);

struct CheckpointCommand {
    std::string whose; // name or id of a user, or "session-N"
    bool json = false;
};
// 1: some session that could be checkpointed was not.
Result<int> checkpoint(const CheckpointCommand &command);

struct JobsCommand {
    bool json = false;
};
Result<int> jobs(const JobsCommand &command);

struct CancelCommand {
    std::string job; // its number
    bool json = false;
};
Result<int> cancel(const CancelCommand &command);

struct PinCommand {
    std::string checkpoint;
    bool off = false;
    bool json = false;
};
Result<int> pin(const PinCommand &command);

struct PruneCommand {
    bool dry_run = false;
    bool json = false;
};
Result<int> prune(const PruneCommand &command);

struct PolicyCommand {
    std::string action; // "check", "show", "test", "reload"
    std::string path;   // test: of a file that a session might hold; there may be none now
    // test: what it would be; left empty: as the file is that is there, else deleted, open, empty and its directory's
    std::string state, use, size, owner, file_system;
    bool read_only = false;
    std::string socket, address, device; // test: instead of a file
    int port = 0;                        // of the address
    std::string file;                    // a policy to be read instead of the system's
    // show, test: of whom and what; with none of them what holds for everybody else
    std::string user, service, tty, unit;
    bool json = false;
};
Result<int> policy_command(const PolicyCommand &command);

struct DoctorCommand {
    bool json = false;
};
// 1: something that Abeyance cannot do without is missing.
Result<int> doctor(const DoctorCommand &command);

} // namespace abey::ctl
