// SPDX-License-Identifier: LGPL-2.1-or-later
#include "suspend/suspend.h"

#include "engine/capture/descriptors.h"
#include "engine/capture/freeze.h"
#include "engine/capture/landlock.h"
#include "engine/capture/mounts.h"
#include "engine/capture/shared_memory.h"
#include "engine/capture/sleeping.h"
#include "engine/capture/tcp_connection.h"
#include "engine/capture/tree.h"
#include "engine/capture/waiting.h"
#include "engine/image/image.h"
#include "engine/image/pages.h"
#include "engine/machine.h"
#include "engine/os/cause.h"
#include "engine/os/fault_point.h"
#include "engine/os/late_close.h"
#include "engine/os/network_lock.h"
#include "engine/os/procfs.h"
#include "files/files.h"
#include "files/unheld.h"
#include "files/write_back.h"
#include "policy/policy.h"
#include "snapshot/provider.h"
#include "store/records.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace abey::suspend {

namespace {

using Clock = std::chrono::steady_clock;

uint64_t since(Clock::time_point start) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

// What has to be taken back when the suspend fails. The processes and the image take care of themselves.
class Undo {
  public:
    Undo(engine::FileKeeper &files, snapshot::Provider *home) : files_(files), home_(home) {}
    Undo(const Undo &) = delete;
    Undo &operator=(const Undo &) = delete;
    ~Undo() {
        if (done_)
            return;
        files_.discard();
        if (saved)
            (void)home_->remove(*saved);
    }
    void nothing() { done_ = true; }
    std::optional<snapshot::Saved> saved;

  private:
    engine::FileKeeper &files_;
    snapshot::Provider *home_;
    bool done_ = false;
};

capture::Target target_of(const Request &request) {
    return {.pid = request.pid, .cgroup = request.cgroup, .spare = request.spare};
}

// What saving the home will do to the session, or why it cannot be saved.
void add_home(snapshot::Provider &home, std::vector<capture::Finding> &findings) {
    const auto foretold = home.foretell();
    if (!foretold)
        findings.push_back({.pid = 0,
                            .comm = "",
                            .object = "home",
                            .reason = foretold.error().message(),
                            .advice = "",
                            .fatal = true});
    else if (!foretold->empty())
        findings.push_back({.pid = 0, .comm = "", .object = "home", .reason = *foretold, .advice = "", .fatal = false});
}

void ask_policy(capture::Context &context, const policy::Policy &policy) {
    context.peers = [&policy](const os::InetAddress &remote) { return policy.peer(remote); };
    context.unix_peers = [&policy](std::string_view name) { return policy.unix_peer(name); };
    context.devices = [&policy](std::string_view path) { return policy.device(path); };
}

// A home that is saved is the one that everybody sees.
void refuse_private_home(const Request &request, capture::Context &context, const os::ProcStat &first) {
    if (request.home == nullptr)
        return;
    if (const std::string place = capture::differing_mount(context, first.door); !place.empty())
        context.findings.push_back(
            {.pid = first.pid,
             .comm = first.comm,
             .object = "mnt namespace",
             .reason = fmt::format("the session sees another directory at {} than the others do (as after "
                                   "a resume with a private home), so its home cannot be saved yet",
                                   place),
             .advice = "end the session",
             .fatal = true});
}

// What lies in XDG_RUNTIME_DIR without being held. `keeper` null: what would be left out.
Result<> keep_unheld(const Request &request, capture::Context &context, engine::FileKeeper *keeper) {
    if (request.runtime_directory.empty())
        return {};
    auto left = TRY(files::keep_unheld(*request.policy, request.runtime_directory, context.tree, keeper)).left_out;
    if (!left.empty())
        context.findings.push_back({.pid = 0,
                                    .comm = "",
                                    .object = "XDG_RUNTIME_DIR",
                                    .reason = std::move(left),
                                    .advice = "",
                                    .fatal = false});
    return {};
}

Result<> refuse_terminals(const Request &request, const model::Tree &tree) {
    const auto count = static_cast<size_t>(
        std::ranges::count_if(tree.terminals, [](const auto &one) { return !one.second.master_inside; }));
    if (count > request.most_terminals)
        return fail(cause::not_suspendable,
                    "its processes use {} terminals of programs outside, and no more than {} can be served after a "
                    "resume: end some of them",
                    count, request.most_terminals);
    return {};
}

Result<> claim(const Request &request, const image::PageWriter &pages) {
    return request.claim ? request.claim(pages.size()) : Result<>();
}

Result<std::vector<capture::Finding>> look(const Request &request) {
    const auto files = files::make_keeper(*request.policy, request.images, request.id, request.keep_running);
    model::Tree tree;
    capture::Context context(tree, *files, true);
    ask_policy(context, *request.policy);
    TRY(capture::preflight(context, target_of(request)));
    TRY(keep_unheld(request, context, nullptr));
    if (const auto processes = capture::list(target_of(request)); processes && !processes->empty())
        refuse_private_home(request, context, processes->front());
    return std::move(context.findings);
}

// Ends the suspend before anything is done. Processes that run change while they are looked at: only what is found
// twice counts, and the standstill decides about the rest.
Result<> refuse_beforehand(const Request &request) {
    auto first = TRY(look(request));
    if (capture::refuse_fatal(first))
        return {};
    const auto second = TRY(look(request));
    std::erase_if(first, [&](const capture::Finding &one) {
        return std::ranges::none_of(second, [&](const capture::Finding &other) {
            return other.fatal && other.pid == one.pid && other.object == one.object;
        });
    });
    return capture::refuse_fatal(first);
}

// Processes that go on use their connections: the checkpoint's state of them is soon a former one.
engine::PeerPolicy kept_by_themselves(engine::PeerPolicy policy) {
    return [policy = std::move(policy)](const os::InetAddress &remote) {
        auto choice = policy(remote);
        if (choice.action == model::PeerAction::keep) {
            choice.action = model::PeerAction::hangup;
            choice.rule += "; the program that runs on keeps it";
        }
        return choice;
    };
}

// Saves what is large as soon as it has been captured; what all else needs of it stays in the tree.
Result<> save_large(model::Tree &tree, model::Task &task, int pid, image::PageWriter &pages, image::Writer &image,
                    Figures &figures) {
    if (const auto space = tree.address_spaces.find(task.address_space); space != tree.address_spaces.end()) {
        const auto begin = Clock::now();
        TRY(pages.plan(pid, space->second));
        figures.memdump_time += since(begin);
        TRY(image.add(space->second));
        tree.address_spaces.erase(space);
    }
    TRY(image.add(task));
    ++figures.tasks;
    figures.threads += task.threads.size();
    task.threads = {};
    task.actions = {};
    task.pending = {};
    task.posix_timers = {};
    return {};
}

// The checkpoint is durable: without the lock it loses connections, nothing else.
void hold_back(const std::string &lock, capture::Context &context) {
    const auto locked = os::lock_for_good(lock, capture::kept_connections(context));
    if (!locked)
        context.findings.push_back(
            {.pid = 0,
             .comm = "",
             .object = "connections",
             .reason = fmt::format("their packets cannot be held back until the restore: {}", locked.error().message()),
             .advice = "",
             .fatal = false});
}

} // namespace

Result<Report> run(const Request &request) {
    const auto begin = Clock::now();
    const auto tell = [&](const char *phase, int percent) {
        if (request.progress)
            request.progress({phase, percent});
    };
    Report report;
    Figures &figures = report.figures;

    tell("preflight", 0);
    // Without a home nothing precedes the standstill that would be in vain, and that refuses the same.
    if (request.home != nullptr)
        TRY(refuse_beforehand(request));
    os::LateClose late;
    const auto files =
        files::make_keeper(*request.policy, request.images, request.id, request.keep_running, {}, request.pins);
    auto image = TRY(image::Writer::create(request.images));
    Undo undo(*files, request.home);
    if (request.home != nullptr) {
        request.home->on_progress([&](int percent) { tell("home", percent * 5 / 100); });
        TRY(request.home->prepare());
    }
    capture::Witnesses witnesses;
    capture::Sleepers sleepers;
    for (const os::ProcStat &process : TRY(capture::list(target_of(request)))) {
        const std::string maps = os::read_proc(process.door, "maps").value_or("");
        files::write_back(process.door, maps);
        files->look_ahead(process.door, maps);
        sleepers.look_ahead(process.door);
        if (const auto status = os::read_status(process.door)) // takes its time, which they need not stand still for
            (void)witnesses.for_task(process.door, status->uids[0], status->gids[0]);
    }
    model::Tree tree;
    tree.machine = TRY(engine::this_machine());

    capture::Waits waits; // as late as can be: they end
    for (const os::ProcStat &process : TRY(capture::list(target_of(request))))
        waits.look_ahead(process);

    tell("freeze", 5);
    const auto frozen = Clock::now();
    auto still = TRY(capture::StandStill::of(target_of(request)));
    figures.freezing_time = since(frozen);
    os::fault_point("frozen");

    tell("capture", 10);
    capture::Context context(tree, *files, false);
    context.state<capture::Witnesses>() = std::move(witnesses);
    context.state<capture::Sleepers>() = std::move(sleepers);
    waits.stops = still.stops();
    context.state<capture::Waits>() = std::move(waits);
    ask_policy(context, *request.policy);
    if (request.keep_running)
        context.peers = kept_by_themselves(std::move(context.peers));
    image::PageWriter pages(still.processes().size() > 1);
    context.captured = [&](int pid, model::Task &task) { return save_large(tree, task, pid, pages, image, figures); };
    TRY(capture::capture_tree(context, still));
    // the first process of a pid namespace does not end before all that we have put there are reaped
    context.state<capture::Witnesses>() = {};
    refuse_private_home(request, context, still.processes().front().stat);
    TRY(capture::refuse_fatal(context.findings));
    TRY(refuse_terminals(request, tree));
    const auto shared = Clock::now();
    for (const auto &[id, file] : context.state<capture::SharedMemories>().readable)
        TRY(pages.plan(file, tree.shared_memory.at(id)));
    figures.memdump_time += since(shared);
    TRY(claim(request, pages)); // nothing else is worth its time when this does not fit
    os::fault_point("captured");

    tell("rescue", 20);
    TRY(capture::rescue_files(context));
    TRY(keep_unheld(request, context, files.get()));
    for (auto &[name, blocks] : files->digests())
        image.add_digests(name, std::move(blocks));
    os::fault_point("rescued");

    tell("snapshot", 30);
    if (request.home != nullptr) {
        const auto snapshot = Clock::now();
        undo.saved = TRY(request.home->save(request.id));
        figures.snapshot_time = since(snapshot);
    }

    tell("memory", 40);
    const auto memory = Clock::now();
    TRY(claim(request, pages)); // once more, with the files that have been rescued
    image.add_digests("pages-1", TRY(pages.write(image.pages())));
    figures.memwrite_time = since(memory);
    os::fault_point("memory");

    // What goes on needs not wait for the disk: nothing that is saved can change any more.
    if (request.keep_running) {
        still = {};
        figures.frozen_time = since(frozen);
    }

    tell("commit", 80);
    figures.pages_scanned = pages.figures().scanned;
    figures.pages_skipped = pages.figures().skipped;
    figures.pages_written = pages.figures().written;
    for (const auto &[id, table] : tree.descriptor_tables)
        figures.descriptors += table.descriptors.size();
    tree.tasks.clear(); // they are saved
    TRY(image.write(tree));
    TRY(files->sync());
    std::string lock;
    if (!capture::kept_connections(context).empty())
        lock = TRY(os::new_lock_name());
    TRY(store::commit(image, {.id = request.id,
                              .keep_running = request.keep_running,
                              .info = request.info,
                              .home = undo.saved,
                              .lock = lock}));
    undo.nothing();
    os::fault_point("committed");

    tell("end", 95);
    if (!request.keep_running) {
        // A lock that stays must not be one of processes that live on.
        if (!lock.empty()) {
            still.doom();
            hold_back(lock, context);
        }
        os::fault_point("locked");
        TRY(still.kill_all());
        capture::close_silently(context);
        figures.frozen_time = since(frozen);
        late.share();
    }
    figures.total_time = since(begin);
    report.findings = std::move(context.findings);
    tell("end", 100);
    return report;
}

Result<Explained> explain(const Request &request) {
    Explained all;
    const auto files = files::make_keeper(*request.policy, request.images, request.id, request.keep_running,
                                          [&all](const files::Explanation &one) { all.files.push_back(one); });
    model::Tree tree;
    capture::Context context(tree, *files, true);
    ask_policy(context, *request.policy);
    TRY(capture::preflight(context, target_of(request)));
    if (!request.runtime_directory.empty())
        all.unheld = TRY(files::keep_unheld(*request.policy, request.runtime_directory, tree, nullptr));
    return all;
}

Result<std::vector<capture::Finding>> check(const Request &request) {
    auto findings = TRY(look(request));
    if (request.home != nullptr)
        add_home(*request.home, findings);
    return findings;
}

} // namespace abey::suspend
