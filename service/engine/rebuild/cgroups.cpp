// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/cgroups.h"

#include "engine/os/fd.h"

#include <cerrno>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace abey::rebuild {

Cgroups::~Cgroups() {
    for (auto path = made_.rbegin(); path != made_.rend(); ++path)
        ::rmdir(path->c_str());
    for (auto made = made_named_.rbegin(); made != made_named_.rend(); ++made)
        ::unlinkat(hierarchies_.at(made->first).get(), made->second.c_str(), AT_REMOVEDIR);
}

// Mounted nowhere: what the descriptor holds goes with it.
Result<const Fd *> Cgroups::hierarchy(const std::string &name) {
    if (const auto known = hierarchies_.find(name); known != hierarchies_.end())
        return &known->second;
    const Fd context(::fsopen("cgroup", FSOPEN_CLOEXEC));
    if (!context || ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "none", nullptr, 0) < 0 ||
        ::fsconfig(context.get(), FSCONFIG_SET_STRING, "name", name.c_str(), 0) < 0 ||
        ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        return fail(errno, "there is no cgroup hierarchy \"{}\" (version 1) here, and none can be made", name);
    Fd top(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
    if (!top)
        return fail(errno, "cannot get at the cgroup hierarchy \"{}\"", name);
    return &hierarchies_.emplace(name, std::move(top)).first->second;
}

Result<> Cgroups::place_in_named(const model::Thread &saved, int tid) {
    constexpr std::string_view mark = "name=";
    for (const std::string &group : saved.named_cgroups) {
        const size_t colon = group.find(":/");
        if (!group.starts_with(mark) || colon == std::string::npos || (group + "/").find("/../") != std::string::npos)
            return fail(EBADMSG, "the checkpoint has a cgroup {}", group);
        const std::string name = group.substr(mark.size(), colon - mark.size()), path = group.substr(colon + 2);
        const Fd &top = *TRY(hierarchy(name));
        for (size_t end = 0; end < path.size();) {
            end = std::min(path.find('/', end + 1), path.size());
            const std::string part = path.substr(0, end);
            if (::mkdirat(top.get(), part.c_str(), 0755) == 0)
                made_named_.emplace_back(name, part);
            else if (errno != EEXIST)
                return fail(errno, "cannot make the cgroup {}", group);
        }
        const Fd tasks(::openat(top.get(), (path + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
        const std::string id = std::to_string(tid);
        if (!tasks || ::write(tasks.get(), id.data(), id.size()) < 0)
            return fail(errno, "cannot put thread {} into the cgroup {}", saved.tid, group);
    }
    return {};
}

Result<> Cgroups::make(const std::string &own, const std::string &below) {
    for (size_t end = 0; end < below.size();) {
        end = std::min(below.find('/', end + 1), below.size());
        const std::string path = own + "/" + below.substr(0, end);
        if (::mkdir(path.c_str(), 0755) == 0)
            made_.push_back(path);
        else if (errno != EEXIST)
            return fail(errno, "cannot make the cgroup {}", path);
    }
    return {};
}

Result<> Cgroups::place(const std::string &own, const model::Tree &tree, const std::map<int, int> &pids) {
    for (const model::Task &task : tree.tasks) {
        if (task.cgroup.empty())
            continue;
        const auto pid = pids.find(task.pid);
        if (own.empty() || pid == pids.end())
            return fail(ENOTSUP, "process {} ({}): it was in a cgroup of its own ({}), but there is no cgroup v2 here",
                        task.pid, task.comm, task.cgroup);
        TRY_IN(make(own, task.cgroup), "process {} ({})", task.pid, task.comm);
        TRY_IN(write_file(own + "/" + task.cgroup + "/cgroup.procs", std::to_string(pid->second)),
               "process {} ({}): cannot put it into the cgroup {}", task.pid, task.comm, task.cgroup);
    }
    return {};
}

} // namespace abey::rebuild
