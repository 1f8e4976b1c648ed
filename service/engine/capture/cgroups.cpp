// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/cgroups.h"

#include "engine/os/cgroup.h"

#include <algorithm>
#include <map>
#include <set>

#include <sys/stat.h>

namespace abey::capture {

namespace {

constexpr size_t largest_setting = 64U << 10U;
constexpr size_t most_cgroups = 10000;

// Context::state
struct ThreadCgroups {
    std::map<int, std::string> by_tid;
};

std::string without_end(std::string text) {
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

Result<model::Cgroup> capture_cgroup(const std::string &base, const std::string &below) {
    const std::string directory = base + "/" + below;
    model::Cgroup cgroup;
    cgroup.path = below;
    struct stat stat = {};
    if (::stat(directory.c_str(), &stat) < 0)
        return fail(errno, "cannot look at the cgroup {}", directory);
    cgroup.mode = stat.st_mode & 07777U;
    cgroup.uid = stat.st_uid;
    cgroup.gid = stat.st_gid;
    cgroup.threaded = without_end(TRY(read_file(directory + "/cgroup.type"))) == "threaded";
    cgroup.controllers = without_end(TRY(read_file(directory + "/cgroup.subtree_control")));
    for (const std::string &name : TRY(os::files_in(directory))) {
        const auto path = fmt::format("{}/{}", directory, name);
        if (model::is_action_in_cgroup(name) || ::stat(path.c_str(), &stat) < 0 || (stat.st_mode & S_IWUSR) == 0)
            continue;
        model::CgroupFile file = {name, stat.st_mode & 07777U, stat.st_uid, stat.st_gid, {}};
        if (!model::is_delegated_in_cgroup(name) && (stat.st_mode & S_IRUSR) != 0)
            file.value = without_end(read_file(path, largest_setting).value_or(""));
        cgroup.files.push_back(std::move(file));
    }
    return cgroup;
}

// "a/b/c" -> "a", "a/b", "a/b/c"
void add_with_outer(std::set<std::string> &all, const std::string &path) {
    for (size_t end = 0; end < path.size();) {
        end = std::min(path.find('/', end + 1), path.size());
        all.insert(path.substr(0, end));
    }
}

} // namespace

Result<> capture_cgroups(Context &context, const StandStill &still) {
    const std::string &base = still.base_cgroup();
    if (base.empty())
        return {};
    std::set<std::string> used; // sorted: the outer before the inner
    bool threaded = false;
    for (const os::CgroupBelow &below : TRY(os::cgroups_below(base))) {
        threaded |= below.threaded;
        if (still.has_whole_cgroup())
            used.insert(below.path);
        if (used.size() > most_cgroups)
            return fail(E2BIG, "more than {} cgroups below {}", most_cgroups, base);
    }
    for (const Stopped &process : still.processes()) {
        add_with_outer(used, process.cgroup);
        for (const os::Tracee &thread : process.threads) {
            if (!threaded)
                break;
            const auto own = still.below_base(os::cgroup_of(process.stat.door, thread.tid()));
            if (own != process.cgroup && !own.empty())
                context.state<ThreadCgroups>().by_tid[thread.tid()] = own;
            add_with_outer(used, own);
        }
    }
    for (const std::string &below : used)
        context.tree.cgroups.push_back(TRY(capture_cgroup(base, below)));
    if (!used.empty()) { // what those below need of their parent
        model::Cgroup top;
        top.controllers = without_end(TRY(read_file(base + "/cgroup.subtree_control")));
        context.tree.cgroups.insert(context.tree.cgroups.begin(), std::move(top));
    }
    return {};
}

std::string cgroup_of_thread(Context &context, int tid) {
    const auto &own = context.state<ThreadCgroups>().by_tid;
    const auto found = own.find(tid);
    return found == own.end() ? std::string() : found->second;
}

} // namespace abey::capture
