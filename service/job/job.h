// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A job: one suspend, resume, check or removal, carried out by a worker in a unit of its own. The daemon writes what is
// to be done into a file only root reads; the worker reports back through systemd (progress, as the unit's status text)
// and through a result file. Neither needs the other to be running, so a job outlives a restart of the daemon.
#pragma once

#include "engine/capture/kind.h"
#include "engine/os/result.h"

#include <csignal>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace abey::job {

// Holds NUMBER.json (what is to be done) and NUMBER.result (what came of it), mode 0700, root's.
inline constexpr const char *jobs_directory = "/run/abeyance/jobs";

// Of a run job: bytes of command, environment and directory together, and the number of strings in each.
inline constexpr size_t command_size_limit = 256U << 10U;
inline constexpr size_t command_count_limit = 2048;

// Of the answer to a question: bytes that it takes in the result, where it is a text within JSON. More cannot be read.
inline constexpr size_t answer_limit = 3U << 20U;

// Tells a keeper to give a resume, or run, up: as long as that can be undone. Once the session is there it means
// nothing, unlike the SIGTERM of who stops its unit, which ends the session.
inline constexpr int cancel_signal = SIGUSR1;

enum class Kind : uint8_t { suspend, resume, check, remove, run };

std::string_view name_of(Kind kind);
Result<Kind> kind_of(std::string_view name);

struct Job {
    uint32_t number = 0; // never used twice between two boots
    Kind kind = Kind::suspend;
    uint32_t uid = 0;       // the user whose session or checkpoint it is
    std::string session;    // suspend, check: the logind session
    std::string checkpoint; // suspend: the id to be; resume, remove: the checkpoint
    std::string displaced;  // remove: instead, the record of a displaced home (store::DisplacedHome)
    bool keep_running = false;
    std::string pids;          // resume: "same", "namespace", "auto"; empty: the policy's choice
    std::string on_divergence; // resume: "rollback", "private", "keep", "fail"; empty: the policy's choice
    std::string tty;           // terminal of the user who waits for it ("pts/3"), for a message; may be empty
    std::string login;         // resume: the login session for which it is done; empty: a call did
    std::string beside;     // resume: another session of the user's that runs; the home is not rolled back beneath it
    bool automatic = false; // started by a trigger, not by a call
    std::string trigger;    // suspend: which, as store::About has it
    // run: what is started, for whom the caller waits
    std::vector<std::string> command;     // empty: the user's login shell
    std::vector<std::string> environment; // "NAME=value"
    std::string directory;                // where; empty: the home
    uint16_t rows = 0, columns = 0;       // of its terminal; 0: as is usual
    std::string question; // check: "explain" (of the session), "diff" (of the checkpoint), "measure" (all of the
                          // user's, root: of all); empty: the findings
};

struct Outcome {
    bool ok = false;
    std::string message;                     // one line for people: what is wrong, or what there is to know
    std::string error;                       // for programs: what kind of failure, as bus::error has it; may be empty
    std::string checkpoint;                  // suspend: the new one
    std::string session;                     // resume, run: the new logind session
    std::map<std::string, uint64_t> figures; // the field's names, as restore_time
    std::vector<capture::Finding> findings;
    std::string answer; // check: to its question, a JSON document
};

// Of a job that has failed so.
Outcome failed(const Error &error);

// Unit in which a job runs: "abeyance-suspend@12.service".
std::string unit_of(const Job &job);

std::string to_json(const Job &job);
Result<Job> job_from_json(std::string_view text);
// However much there is to tell, it can be read back: texts are cut, and of findings those that have no room are
// counted, the fatal ones last.
std::string to_json(const Outcome &outcome);
Result<Outcome> outcome_from_json(std::string_view text);

// A job number as an instance name of a unit: decimal, no leading zero, 1 to 2^32-1.
Result<uint32_t> number_from(std::string_view text);

// The daemon's side. store() is durable against a crash of the daemon (rename), not against a power loss: /run is gone
// then.
Result<> store(const Job &job, const std::string &directory = jobs_directory);
// The number for the next job. Counts on as long as the machine runs, also when the daemon is started again: units of
// former jobs (keepers) live on under their numbers.
Result<uint32_t> next_number(const std::string &directory = jobs_directory);
// Numbers of all jobs that have a file.
Result<std::vector<uint32_t>> list(const std::string &directory = jobs_directory);
// ENOENT: the worker ended without saying anything.
Result<Outcome> load_outcome(uint32_t number, const std::string &directory = jobs_directory);
void forget(uint32_t number, const std::string &directory = jobs_directory) noexcept;

// Both sides. Refuses a file that is not root's own (or the caller's, for tests).
Result<Job> load(uint32_t number, const std::string &directory = jobs_directory);

// The worker's side. Says how far the job is: the status text of its unit, "freeze (20%)". Losing one is harmless.
void report_progress(std::string_view phase, int percent);
// A job that moves on may go on: its unit's time limit is for one that does not (EXTEND_TIMEOUT_USEC, sd_notify(3)).
void ask_for_time(uint64_t microseconds);
Result<> store_outcome(uint32_t number, const Outcome &outcome, const std::string &directory = jobs_directory);

// A resume's login session, noted before anything is brought back, for whoever ends it when its keeper cannot.
Result<> note_session(uint32_t number, const std::string &session, const std::string &directory = jobs_directory);
// ENOENT: it was never opened.
Result<std::string> noted_session(uint32_t number, const std::string &directory = jobs_directory);

// Where the processes of a suspend's session are, noted before they are brought to a standstill: whoever clears up
// after a killed worker finds them, whether or not somebody who knows of sessions answers then.
struct Place {
    std::string cgroup; // absolute directory
    int leader = 0;     // of the login; 0: none
};
Result<> note_place(uint32_t number, const Place &place, const std::string &directory = jobs_directory);
// ENOENT: they never stood still.
Result<Place> noted_place(uint32_t number, const std::string &directory = jobs_directory);

// systemd's id of this run of the unit, which ExecStopPost= has as well, and no other run ever had (systemd.exec(5),
// $INVOCATION_ID). Empty: not started by systemd.
std::string invocation();

// Reads a status text back; nothing when it is not one of ours.
struct Progress {
    std::string phase;
    uint32_t percent = 0;
};
Result<Progress> progress_from(std::string_view status);

} // namespace abey::job
