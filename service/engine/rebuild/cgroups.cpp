// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/cgroups.h"

#include "engine/os/fd.h"

#include <cerrno>

#include <sys/stat.h>
#include <unistd.h>

namespace abey::rebuild {

Cgroups::~Cgroups() {
    for (auto path = made_.rbegin(); path != made_.rend(); ++path)
        ::rmdir(path->c_str());
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
