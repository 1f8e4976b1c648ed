// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/shared_namespaces.h"

#include "engine/capture/namespaces.h"
#include "engine/os/mounts.h"
#include "engine/os/procfs.h"

#include <array>
#include <charconv>
#include <filesystem>
#include <set>

#include <unistd.h>

namespace abey::capture {

namespace {

constexpr std::array names = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};

class Sharers {
  public:
    explicit Sharers(Context &context) : context_(context), all_(context.state<Namespaces>()) {}

    // `link`: "net:[4026532201]"
    void note(const std::string &link, const std::string &who) {
        const auto shared = all_.by_link.find(link);
        if (shared == all_.by_link.end() || !told_.insert(shared->second).second)
            return;
        const auto &held = all_.held.at(shared->second);
        context_.findings.push_back(
            {.pid = held.pid,
             .comm = held.comm,
             .object = fmt::format("{} namespace", held.type),
             .reason = fmt::format("{} has it, too: after the restore the process is in a new one "
                                   "of its own",
                                   who),
             .advice = "end the program outside, or suspend it along with this one",
             .fatal = false});
    }

  private:
    Context &context_;
    const Namespaces &all_;
    std::set<model::ObjRef> told_;
};

void look_at_processes(const Context &context, Sharers &sharers) {
    std::error_code code;
    for (auto it = std::filesystem::directory_iterator("/proc", code);
         !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
        const std::string name = it->path().filename();
        int pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size() ||
            context.is_inside(pid) || pid == ::getpid())
            continue;
        const auto stat = os::read_stat(pid);
        if (!stat || stat->zombie() || stat->parent == ::getpid()) // helpers of ours
            continue;
        for (const char *type : names)
            if (const auto link = read_link(fmt::format("/proc/{}/ns/{}", pid, type)))
                sharers.note(*link, fmt::format("process {} ({}) outside", pid, stat->comm));
    }
}

// Of type nsfs: root "net:[4026532201]", point "/run/netns/blue".
void look_at_names(Sharers &sharers) {
    if (const auto mounts = os::own_mounts())
        for (const os::MountEntry &mount : *mounts)
            if (mount.type == "nsfs")
                sharers.note(mount.root, fmt::format("the name {} outside", mount.point));
}

} // namespace

void tell_shared_namespaces(Context &context) {
    if (context.state<Namespaces>().by_link.empty())
        return;
    Sharers sharers(context);
    look_at_processes(context, sharers);
    look_at_names(sharers);
}

} // namespace abey::capture
