// SPDX-License-Identifier: LGPL-2.1-or-later
#include "resume/resume.h"

#include "engine/image/image.h"
#include "engine/machine.h"
#include "engine/os/cause.h"
#include "engine/os/cgroup.h"
#include "engine/os/fault_point.h"
#include "engine/os/network_lock.h"
#include "engine/os/one_cpu.h"
#include "engine/rebuild/cgroups.h"
#include "engine/rebuild/family.h"
#include "engine/rebuild/fill_husk.h"
#include "engine/rebuild/namespaces.h"
#include "engine/rebuild/objects.h"
#include "engine/rebuild/own_namespaces.h"
#include "engine/rebuild/tcp_connection.h"
#include "engine/rebuild/vdso.h"
#include "files/cut.h"
#include "files/files.h"
#include "snapshot/provider.h"
#include "store/records.h"

#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <set>

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>

namespace abey::resume {

namespace {

using Clock = std::chrono::steady_clock;

uint64_t since(Clock::time_point start) {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

// Orphans of helpers come to us while the tree is made.
class Subreaper {
  public:
    Subreaper() {
        ::prctl(PR_GET_CHILD_SUBREAPER, &before_);
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    Subreaper(const Subreaper &) = delete;
    Subreaper &operator=(const Subreaper &) = delete;
    ~Subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, before_); }

  private:
    int before_ = 0;
};

// A home that was rolled back becomes what it was, should the resume fail.
class HomeBack {
  public:
    explicit HomeBack(snapshot::Provider *home) : home_(home) {}
    HomeBack(const HomeBack &) = delete;
    HomeBack &operator=(const HomeBack &) = delete;
    ~HomeBack() {
        if (displaced && !kept_)
            (void)home_->undo(*displaced);
    }
    void keep() { kept_ = true; }
    std::optional<snapshot::Displaced> displaced;

  private:
    snapshot::Provider *home_;
    bool kept_ = false;
};

// The saved state at the home's place, in a mount namespace of the caller and of the processes that it will make.
class PrivateHome {
  public:
    explicit PrivateHome(snapshot::Provider *home) : home_(home) {}
    PrivateHome(const PrivateHome &) = delete;
    PrivateHome &operator=(const PrivateHome &) = delete;
    ~PrivateHome() {
        if (kept_ || place_.empty())
            return;
        if (mounted_)
            ::umount2(path_.c_str(), MNT_DETACH);
        (void)home_->drop_copy(place_);
    }
    Result<std::string> make(const snapshot::Saved &saved) {
        path_ = saved.home;
        place_ = TRY(home_->copy_out(saved));
        if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) < 0)
            return fail(errno, "cannot have a mount namespace for the home");
        if (::mount(place_.c_str(), path_.c_str(), nullptr, MS_BIND, nullptr) < 0)
            return fail(errno, "cannot mount {} on {}", place_, path_);
        mounted_ = true;
        return place_;
    }
    void keep() { kept_ = true; }

  private:
    snapshot::Provider *home_;
    std::string path_, place_;
    bool mounted_ = false, kept_ = false;
};

// Will the home be brought back? Everything about that which could fail, fails here.
Result<bool> must_roll_back(const Request &request, const std::optional<snapshot::Saved> &saved) {
    if (!saved || request.home == nullptr || request.on_divergence == OnDivergence::keep)
        return false;
    if (!TRY(request.home->diverged(*saved)))
        return false;
    if (request.on_divergence == OnDivergence::fail)
        return fail(cause::diverged,
                    "{} has changed since the suspend; allow on-divergence = \"rollback\", \"private\" or \"keep\"",
                    saved->home);
    TRY(request.home->check(*saved));
    return true;
}

// All that is wrong, not only the first.
Result<> check_files(const model::Tree &tree, engine::FileOpener &files) {
    Result<> first;
    std::string all;
    size_t count = 0;
    for (const auto &[id, inode] : tree.inodes) {
        // names in a mount namespace of the tree's own can be looked up when that is there
        if (inode.mount_namespace != 0)
            continue;
        if (auto checked = files.check(inode); !checked) {
            all += (count++ == 0 ? "" : "; ") + checked.error().message();
            if (first)
                first = std::move(checked);
        }
    }
    if (count < 2)
        return first;
    return fail(0, "{} files cannot be brought back: {}", count, all);
}

Result<> adopt(const model::Tree &tree, rebuild::Context &context, rebuild::Family &family) {
    const auto each = [&](const auto &step) -> Result<> {
        for (const model::Task &task : tree.tasks)
            if (task.state != model::TaskState::zombie)
                TRY_IN(step(task), "process {} ({})", task.pid, task.comm);
        return {};
    };
    TRY(each([&](const model::Task &task) { return rebuild::fill_memory(context, family.of(task), task); }));
    TRY(rebuild::finish(context));
    TRY(each([&](const model::Task &task) { return rebuild::fill_places(context, family.of(task), task); }));
    std::set<model::ObjRef> tables;
    const auto each_whole = [&](const auto &step) {
        return each([&](const model::Task &outline) -> Result<> {
            const model::Task task = TRY(context.details.task(outline));
            return step(task);
        });
    };
    TRY(each_whole([&](const model::Task &task) {
        return rebuild::fill_state(context, family.of(task), task, !tables.insert(task.descriptors).second);
    }));
    TRY(each_whole([&](const model::Task &task) { return rebuild::fill_threads(context, family.of(task), task); }));
    return each_whole([&](const model::Task &task) { return rebuild::make_ready(family.of(task), task); });
}

Result<std::vector<TerminalMaster>> terminals_of(const model::Tree &tree, rebuild::Context &context) {
    std::vector<TerminalMaster> terminals;
    for (auto &[id, master] : context.masters) {
        unsigned index = 0;
        if (::ioctl(master.get(), TIOCGPTN, &index) < 0)
            return fail(errno, "cannot ask for the number of a terminal");
        terminals.push_back({index, tree.terminals.at(id).index, std::move(master)});
    }
    return terminals;
}

std::vector<int> pids_of(const model::Tree &tree, const rebuild::Context &context) {
    std::vector<int> pids;
    for (const model::Task &task : tree.tasks)
        if (task.state != model::TaskState::zombie)
            pids.push_back(context.pids.at(task.pid));
    return pids;
}

// The packets of its connections have been held back since the suspend: by the lock, or because the machine was off.
Result<bool> held_back(const std::string &lock, const std::string &boot_id) {
    if (lock.empty())
        return false;
    return TRY(engine::boot_id()) != boot_id || TRY(os::is_locked(lock));
}

// What no process holds does not keep them from going on: it is told.
void put_back_unheld(const model::Tree &tree, engine::FileOpener &files, std::string &told) {
    constexpr size_t most = 3;
    size_t failed = 0;
    std::string all;
    for (const auto &[id, inode] : tree.inodes) {
        if (!inode.unheld)
            continue;
        if (const auto back = files.put_back(inode); !back && ++failed <= most)
            all += (all.empty() ? "" : "; ") + back.error().message();
    }
    told = failed == 0 ? "" : fmt::format("not put back, {} in all: {}", failed, all);
}

using Tell = std::function<void(const char *phase, int percent)>;

// From nothing to running processes; an error leaves nothing of them.
Result<> rebuild_tree(image::Outline &outline, const image::Reader &image, const rebuild::OtherVdso *other_vdso,
                      engine::FileOpener &files, bool own_pids, Report &report, const Tell &tell) {
    const model::Tree &tree = outline.tree;
    const auto forking = Clock::now();
    TRY(rebuild::continue_clocks(tree.clocks, tree.machine.boot_id));
    Fd pidfd;
    const auto shop = TRY(rebuild::Workshop::open(tree, outline.footprint, pidfd));
    const os::OneCpu together; // with the husks, which get their own CPUs in the end
    std::optional<rebuild::Reaper> reaper;
    if (own_pids)
        reaper.emplace(TRY(rebuild::Reaper::make(shop, tree.tasks.front().pid)));
    rebuild::Context context(tree, files, TRY(image.pages()));
    context.details = image.details(outline);
    context.other_vdso = other_vdso;
    const std::string lock = store::network_lock_of(image);
    context.keeps_connections = TRY(held_back(lock, tree.machine.boot_id));
    rebuild::Cgroups cgroups;
    rebuild::Family family(tree, shop, reaper ? &reaper->husk() : nullptr);
    TRY(family.make(context));
    for (const model::Task &task : tree.tasks)
        context.pids[task.pid] = family.of(task).pid();
    const std::string mounts = TRY(read_file("/proc/self/mountinfo"));
    TRY(cgroups.place(os::cgroup_directory(mounts, os::cgroup_of(::getpid())), tree, context.pids));
    TRY(family.make_groups(context));
    TRY(rebuild::end_of_other_clocks());
    TRY(rebuild::make_namespaces(context));
    for (const model::Task &task : tree.tasks)
        if (task.state != model::TaskState::zombie)
            TRY_IN(rebuild::enter_namespaces(context, family.of(task), task), "process {} ({})", task.pid, task.comm);
    for (const model::Task &task : tree.tasks)
        if (task.state != model::TaskState::zombie)
            context.husks[task.pid] = &family.of(task);
    report.figures.forking_time = since(forking);

    tell("objects", 40);
    put_back_unheld(tree, files, report.left_behind);
    TRY(rebuild::fill(context));

    tell("adopt", 50);
    TRY(adopt(tree, context, family));

    for (const model::Task &task : tree.tasks)
        for (size_t i = 0; i < task.threads.size(); ++i)
            if (!task.threads[i].ended)
                TRY_IN(cgroups.place_thread(task.threads[i], family.of(task).threads().at(i).tid()), "process {} ({})",
                       task.pid, task.comm);

    tell("confirm", 90);
    report.roots = family.roots();
    report.terminals = TRY(terminals_of(tree, context));

    TRY(files.settle());
    TRY(rebuild::let_connections_go(context));
    tell("release", 95);
    auto guard = TRY(rebuild::all_or_nothing(pids_of(tree, context)));
    for (const model::Task &task : tree.tasks) {
        if (task.state != model::TaskState::zombie)
            TRY(rebuild::release(family.of(task), task, tree));
        os::fault_point("released");
    }
    if (reaper) {
        report.reaper = reaper->pid();
        TRY(reaper->let_go());
    }
    if (context.keeps_connections)
        TRY(os::lift_lock(lock));
    guard.dismiss();
    family.let_go();
    context.released = true;
    cgroups.keep();
    return {};
}

} // namespace

Result<Report> run(const Request &request) {
    const auto begin = Clock::now();
    const auto tell = [&](const char *phase, int percent) {
        if (request.progress)
            request.progress({phase, percent});
    };
    Report report;

    tell("check", 0);
    const auto image = TRY(image::Reader::open(request.images));
    TRY(image.verify());
    image::Outline outline = TRY(image.outline());
    const model::Tree &tree = outline.tree;
    // An earlier resume may have been killed at its last step.
    TRY(files::put_back(request.images));
    const auto here = TRY(engine::this_machine());
    TRY(engine::check_machine(tree.machine, here));
    const auto other_vdso = TRY(rebuild::other_vdso(tree, image.details(outline)));

    tell("check", 10);
    const auto saved = request.saved ? request.saved : TRY(store::home_of(image));
    const bool roll_back = TRY(must_roll_back(request, saved));
    std::vector<files::HomeTranslation> homes;
    engine::FormerFiles former;
    if (roll_back && saved) {
        former = TRY(request.home->former_files(*saved));
        homes.push_back({saved->home, request.home->view(*saved), {}, former, true});
    }
    TRY(check_files(tree, *files::make_opener(request.images, homes, request.on_changed)));
    int taken = rebuild::taken_id(tree);
    if (taken != 0 && request.pids == Pids::same)
        return fail(EEXIST, "process id {} is in use by another process; resume with --pids=namespace", taken);

    tell("home", 20);
    HomeBack home(request.home);
    PrivateHome private_home(request.home);
    if (request.home != nullptr)
        request.home->on_progress([&](int percent) { tell("home", 20 + percent / 10); });
    if (roll_back && saved && request.on_divergence == OnDivergence::private_home) {
        report.private_home = TRY(private_home.make(*saved));
        homes = {{saved->home, saved->home, {}, former}};
    } else if (roll_back && saved) {
        const auto &displaced = home.displaced.emplace(TRY(request.home->roll_back(*saved)));
        homes = {{saved->home, saved->home, displaced.place, former}};
        report.displaced_home = displaced.place;
    }

    tell("husks", 30);
    // The home may have taken a while.
    if (taken == 0)
        taken = rebuild::taken_id(tree);
    const bool own_pids = request.pids == Pids::in_namespace || (request.pids == Pids::automatic && taken != 0);
    const auto forking = Clock::now();
    TRY(raise_descriptor_limit()); // the worker holds many open files of the tree at once
    const Subreaper subreaper;
    auto files = files::make_opener(request.images, homes, request.on_changed);
    auto done = rebuild_tree(outline, image, other_vdso ? &*other_vdso : nullptr, *files, own_pids, report, tell);
    // Ids that were free when we looked may have been taken since, above all while a machine boots.
    if (!done && done.error().code() == EEXIST && request.pids == Pids::automatic && !own_pids) {
        files = files::make_opener(request.images, homes, request.on_changed);
        done = rebuild_tree(outline, image, other_vdso ? &*other_vdso : nullptr, *files, true, report, tell);
    }
    TRY(std::move(done));
    home.keep();
    private_home.keep();
    // Everything runs: what is left behind is told, and changes nothing about that.
    if (const auto finished = files->finish(request.keep_checkpoint); !finished)
        report.left_behind += (report.left_behind.empty() ? "" : "; ") + finished.error().message();
    report.figures.pages_restored += outline.footprint.page_bytes() / 4096;
    report.figures.restore_time = since(forking);
    report.figures.total_time = since(begin);
    tell("release", 100);
    return report;
}

} // namespace abey::resume
