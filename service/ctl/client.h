// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What abeyctl says to abeyd. Calls block.
#pragma once

#include "dbus/bus.h"
#include "engine/capture/kind.h"
#include "engine/os/fd.h"
#include "engine/os/result.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace abey::ctl {

// The session that this process is in: what the system knows, else what the environment says.
Result<std::string> own_session();

// Ids of the units (session/user_unit.h) whose names are like the pattern (glob(7)): the caller's, root: all users'. An
// error when there is none.
Result<std::vector<std::string>> units_like(const std::string &pattern);

struct CheckpointEntry {
    std::string id;
    uint32_t uid = 0;
    std::string user;
    std::string session;
    uint64_t created = 0; // microseconds since 1970
    uint64_t size = 0;    // bytes
    std::string state;
    std::string path;
    // As recorded; describe() reads it.
    std::optional<uint64_t> exclusive; // bytes that the saved home alone holds; measure() finds it out anew
    std::string problem;               // why the home could not be brought back; the same
    bool pinned = false;
    bool kept_running = false;
    std::string trigger; // what asked for it; empty: a person
};

// String and boolean options of a call.
using CallOptions = std::map<std::string, std::string>;

// A session that is to begin: UTF-8 throughout.
struct RunRequest {
    std::vector<std::string> command;     // empty: the login shell
    std::vector<std::string> environment; // "NAME=value"
    std::string directory;                // empty: the home
    uint16_t rows = 0, columns = 0;       // 0: not known
};

class Client;
// What a command about that session is about: it, or what the policy says in place of a graphical one.
Result<std::vector<std::string>> parts_of(Client &client, const std::string &session);

// The same for what stands on the command line: units like the pattern, else that session, else the caller's own.
Result<std::vector<std::string>> meant_by(Client &client, const std::string &session, const std::string &unit);

class Client {
  public:
    static Result<Client> connect();

    [[nodiscard]] sd_bus *bus() const { return bus_.get(); }

    // The object path of the job. An empty value in `options` stands for `true`.
    Result<std::string> suspend_session(const std::string &session, const CallOptions &options);
    Result<std::vector<std::string>> list_parts(const std::string &session);
    Result<std::string> resume_checkpoint(const std::string &checkpoint, const CallOptions &options);
    // What this login is brought back by itself: the checkpoint and its job; empty: nothing.
    struct LoginResume {
        std::string checkpoint, job;
    };
    Result<LoginResume> resume_on_login(const std::string &login);
    Result<std::string> run_session(const RunRequest &request);
    // A connection to the keeper of a session that was resumed or run; whose it is says session/terminal.h.
    Result<Fd> attach_session(const std::string &session);
    Result<std::vector<capture::Finding>> check_session(const std::string &session);
    // JSON documents, as dbus/org.abeyance1.xml tells.
    Result<std::string> explain_session(const std::string &session);
    Result<std::string> diff_checkpoint(const std::string &checkpoint);
    Result<std::vector<CheckpointEntry>> list_checkpoints();
    struct DisplacedEntry {
        uint32_t uid = 0;
        std::string home, place, checkpoint;
        uint64_t created = 0; // microseconds since 1970
        bool needed = false;  // retention leaves it alone
    };
    Result<std::vector<DisplacedEntry>> list_displaced();
    // Fills in what the list does not tell.
    Result<> describe(std::vector<CheckpointEntry> &entries);
    // Has it found out what the saved homes hold, and notes it in the entries. Some seconds at most.
    Result<> measure(std::vector<CheckpointEntry> &entries);
    // What is known of the session in a checkpoint, JSON.
    Result<std::string> information(const CheckpointEntry &checkpoint);
    Result<> remove_checkpoint(const std::string &checkpoint);
    Result<> pin_checkpoint(const std::string &checkpoint, bool pinned);
    struct PrunedEntry {
        std::string id;
        uint32_t uid = 0;
        std::string reason;
    };
    Result<std::vector<PrunedEntry>> prune(bool dry_run);
    Result<> reload_policy();
    // When the service runs; it is not started for that.
    void announce_checkpoint(const std::string &checkpoint);
    Result<> subscribe();
    struct JobEntry {
        std::string path, kind, session, checkpoint;
        uint32_t uid = 0;
        std::string phase;
        uint32_t percent = 0;
        uint64_t time_left = 0; // microseconds; 0: not known
    };
    Result<std::vector<JobEntry>> list_jobs();
    Result<bool> is_running(const std::string &job);
    Result<> cancel(const std::string &job);

    // The checkpoint of that id; with an empty id the only one that waits.
    Result<CheckpointEntry> find_checkpoint(const std::string &id);

  private:
    explicit Client(bus::Bus bus) : bus_(std::move(bus)) {}
    Result<bus::Message> method(const char *member);
    // Waits so many seconds for the answer; 0: as the bus does, 25 s.
    Result<bus::Message> ask(const bus::Message &message, uint64_t patience = 0);
    // The same call again, with somebody there who asks for a password.
    Result<bus::Message> ask_with_password(const bus::Message &message, std::string &error_name);
    Result<std::string> start_job(const char *member, const std::string &id, const CallOptions &options);
    Result<std::string> ask_document(const char *member, const std::string &id);
    // How far it is.
    Result<> look_at(JobEntry &job);

    bus::Bus bus_;
};

} // namespace abey::ctl
