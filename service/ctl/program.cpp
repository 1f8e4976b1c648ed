// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ctl/program.h"
#include "ctl/command.h"
#include "ctl/output.h"
#include "dbus/names.h"

#include <cstdio>
#include <exception>
#include <functional>

#include <CLI/CLI.hpp>

namespace abey::ctl {
namespace {

// Registers a subcommand; `run` holds what it will do when it is the one that is called.
class CommandLine {
  public:
    CommandLine() {
        app_.require_subcommand(1);
        app_.set_version_flag("--version", std::string("abeyctl ") + ABEYANCE_VERSION);
        app_.failure_message([](const CLI::App * /*app*/, const CLI::Error &error) {
            return fmt::format("abeyctl: {}\n", bus::printable(error.what()));
        });
    }

    template <class Command>
    CLI::App *add(const char *name, const char *description, Command &command, Result<int> (*run)(const Command &)) {
        auto *subcommand = app_.add_subcommand(name, description);
        subcommand->add_flag("--json", command.json, "print one JSON document");
        subcommand->callback([this, &command, run] {
            json_ = command.json;
            run_ = [&command, run] { return run(command); };
        });
        return subcommand;
    }

    int main(int argc, char **argv) {
        // CLI11 would only say that a subcommand is missing
        if (argc > 1 && argv[1][0] != '-' && !is_command(argv[1])) {
            fmt::print(stderr, "abeyctl: there is no command \"{}\"; `abeyctl --help` lists them\n",
                       bus::printable(argv[1]));
            return 2;
        }
        try {
            app_.parse(argc, argv);
        } catch (const CLI::ParseError &error) {
            return app_.exit(error) == 0 ? 0 : 2;
        }
        const auto result = run_();
        if (result)
            return *result;
        const auto text = bus::printable(result.error().message());
        if (json_)
            ctl::print_failure(text);
        (void)std::fflush(stdout);
        fmt::print(stderr, "abeyctl: {}\n", text);
        return 1;
    }

  private:
    bool is_command(std::string_view name) {
        return !app_.get_subcommands([&](const CLI::App *one) { return one->get_name() == name; }).empty();
    }

    CLI::App app_{"Put a login session into abeyance, and bring it back."};
    std::function<Result<int>()> run_;
    bool json_ = false;
};

int call(int argc, char **argv) {
    CommandLine line;

    const char *detach_key = "keys that leave the terminal, such as ctrl-a,d; else as ABEYANCE_DETACH_KEY says";

    ctl::SuspendCommand suspend;
    auto *command = line.add("suspend", "suspend a session", suspend, ctl::suspend);
    command->add_option("SESSION", suspend.session, "logind's id of the session; without it, the one you are in");
    command->add_option("--unit", suspend.unit,
                        "instead: units of your user manager, such as 'tmux*.scope' or work.service");
    command->add_flag("--keep-running", suspend.keep_running, "the session runs on after its checkpoint");

    ctl::ResumeCommand resume;
    command = line.add("resume", "bring a suspended session back", resume, ctl::resume);
    command->add_option("CHECKPOINT", resume.checkpoint, "its id; without it, the only one that waits");
    command->add_option("--pids", resume.pids, "how processes get their pids back; else as the policy says")
        ->check(CLI::IsMember({"same", "namespace", "auto"}));
    command
        ->add_option("--on-divergence", resume.on_divergence,
                     "when the home has changed since; else as the policy says")
        ->check(CLI::IsMember({"rollback", "private", "keep", "fail"}));
    command->add_flag("--attach", resume.attach, "join its terminal at once");
    command->add_option("--detach-key", resume.detach_key, detach_key);

    ctl::ListCommand list;
    command = line.add("list", "list checkpoints", list, ctl::list);
    command->add_flag("--displaced", list.displaced, "instead, list the homes that resumes have displaced");

    command->add_flag("--quick", list.quick, "what is recorded, without looking at the saved homes anew");
    command->add_flag("--no-legend", list.no_legend, "without header and count");

    ctl::ShowCommand show;
    command = line.add("show", "show what is known of a checkpoint", show, ctl::show);
    command->add_option("CHECKPOINT", show.checkpoint, "its id; without it, the only one that waits");

    ctl::CheckCommand check;
    command = line.add("check", "tell what could not be brought back, and touch nothing", check, ctl::check);
    command->add_option("SESSION", check.session, "logind's id of the session; without it, the one you are in");
    command->add_option("--unit", check.unit, "instead: units of your user manager, such as 'tmux*.scope'");

    ctl::ExplainCommand explain;
    command = line.add("explain", "tell how each file that a session holds comes back", explain, ctl::explain);
    command->add_option("SESSION", explain.session, "logind's id of the session; without it, the one you are in");
    command->add_option("--unit", explain.unit, "instead: units of your user manager, such as 'tmux*.scope'");

    ctl::DiffCommand diff;
    command = line.add("diff", "tell what has changed in the home since a checkpoint", diff, ctl::diff);
    command->add_option("CHECKPOINT", diff.checkpoint, "its id; without it, the only one that waits");

    ctl::RunCommand run;
    command = line.add("run", "start a session that outlives this connection, and join it", run, ctl::run);
    command->add_flag("--join", run.join, "rather join one of yours that nobody is attached to, if there is one");
    command->add_flag("--detach", run.detach, "only start it");
    command->add_option("--detach-key", run.detach_key, detach_key);
    command->add_option("COMMAND", run.command, "after --; without it, your login shell");

    ctl::AttachCommand attach;
    command = line.add("attach", "join the terminal of a resumed or run session; Ctrl-\\ Ctrl-D leaves it", attach,
                       ctl::attach);
    command->add_option("SESSION", attach.session, "logind's id of the session; without it, the only one");
    command->add_option("--terminal", attach.terminal, "N of its /dev/pts/N, when it has several");
    command->add_option("--detach-key", attach.detach_key, detach_key);
    command->add_flag("--list", attach.list, "instead, list the terminals that could be joined");
    command->add_flag("--watch,--read-only", attach.watch,
                      "only look: what is typed is not sent, who is attached stays so");

    ctl::RemoveCommand remove;
    command = line.add("remove", "remove a checkpoint for good", remove, ctl::remove);
    command->add_option("CHECKPOINT", remove.checkpoint, "its id")->required();

    ctl::ExportCommand exported;
    command = line.add("export", "write a checkpoint with its home as one stream, for another machine; root only",
                       exported, ctl::export_command);
    command->add_option("CHECKPOINT", exported.checkpoint, "its id; without it, the only one that waits");
    command->add_option("-o,--output", exported.output, "a new file; without it, standard output");

    ctl::ImportCommand imported;
    command = line.add("import", "make a checkpoint of such a stream, after checking it; root only", imported,
                       ctl::import_command);
    command->add_option("FILE", imported.input, "the stream; without it, standard input");

    ctl::CheckpointCommand checkpoint;
    command =
        line.add("checkpoint", "checkpoint all sessions of a user, or one, which run on", checkpoint, ctl::checkpoint);
    command->add_option("USER", checkpoint.whose, "name or id; or session-N, of which N is logind's id")->required();

    ctl::JobsCommand jobs;
    line.add("jobs", "list what is being suspended and resumed, and how far it is", jobs, ctl::jobs);

    ctl::CancelCommand cancel;
    command = line.add("cancel", "cancel a suspend or resume, also one that nobody has asked for", cancel, ctl::cancel);
    command->add_option("JOB", cancel.job, "its number; `abeyctl jobs` lists them")->required();

    ctl::PinCommand pin;
    command = line.add("pin", "keep a checkpoint from being removed", pin, ctl::pin);
    command->add_option("CHECKPOINT", pin.checkpoint, "its id")->required();
    command->add_flag("--off", pin.off, "not any more");

    ctl::PruneCommand prune;
    command = line.add("prune", "remove old checkpoints and displaced homes as the policy says", prune, ctl::prune);
    command->add_flag("--dry-run", prune.dry_run, "only tell which");

    ctl::PolicyCommand policy;
    command = line.add("policy", "check or show the policy, or tell what it says of a file or a connection", policy,
                       ctl::policy_command);
    command->add_option("ACTION", policy.action, "check, show, test or reload")
        ->required()
        ->check(CLI::IsMember({"check", "show", "test", "reload"}));
    command->add_option("PATH", policy.path, "test: a file that a session might hold, whether it is there or not");
    command->add_option("--state", policy.state, "test: why it needs keeping; else as it is, or deleted")
        ->check(CLI::IsMember({"deleted", "linked", "unnamed", "not-lasting"}));
    command->add_option("--use", policy.use, "test: how it is held; else open")
        ->check(CLI::IsMember({"open", "mapped"}));
    command->add_option("--size", policy.size, "test: its size, such as '2 GiB'; else as it is, or 0");
    command->add_option("--owner", policy.owner,
                        "test: its owner, by name or number; else as it is, or its directory's");
    command->add_option("--file-system", policy.file_system, "test: where it lies, such as btrfs; else as it is");
    command->add_flag("--read-only", policy.read_only, "test: its holder cannot write");
    command->add_option("--socket", policy.socket, "test: instead, a unix socket outside, such as @name or a path");
    command->add_option("--address", policy.address, "test: instead, an internet address outside");
    command->add_option("--port", policy.port, "test: the port there")->check(CLI::Range(1, 65535));
    command->add_option("--device", policy.device, "test: instead, a device");
    command->add_option("--file", policy.file, "read this file instead of the system's");
    command->add_option("--user", policy.user, "show, test: what holds for this user");
    command->add_option("--service", policy.service, "and a session that this PAM service has opened, such as sshd");
    command->add_option("--tty", policy.tty, "and a session on this terminal, such as tty1");
    command->add_option("--unit", policy.unit, "and this unit of the user's manager");

    ctl::DoctorCommand doctor;
    line.add("doctor", "examine whether this machine has all that is needed", doctor, ctl::doctor);

    return line.main(argc, argv);
}

} // namespace

int program(int argc, char **argv) {
    try {
        return call(argc, argv);
    } catch (const std::exception &error) {
        (void)std::fprintf(stderr, "abeyctl: %s\n", error.what());
        return 1;
    }
}

} // namespace abey::ctl
