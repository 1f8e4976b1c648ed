// SPDX-License-Identifier: LGPL-2.1-or-later
// A child in a cgroup of its own, below that of its parent, with limits and another owner, and in one of a hierarchy
// without controllers (version 1). Another one with a thread in a threaded cgroup.
#include "scenario.h"

#include <sstream>
#include <thread>

#include <sys/mount.h>

namespace {

constexpr uid_t owner = 18943;
constexpr gid_t group = 58467;

// The line of version 2, the name only; of a process or "PID/task/TID".
std::string cgroup_of(const std::string &task) {
    std::istringstream lines(scenario::read_file("/proc/" + task + "/cgroup"));
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("0::"))
            return line.substr(3);
    return "";
}

std::string cgroup_of(pid_t pid) { return cgroup_of(std::to_string(pid)); }

void check_owner(const std::string &path, uid_t uid, gid_t gid, mode_t mode) {
    struct stat stat = {};
    SYS(::stat(path.c_str(), &stat));
    EQUAL(uid, stat.st_uid);
    EQUAL(gid, stat.st_gid);
    EQUAL(mode, stat.st_mode & 07777U);
}

// Its thread, by the name of its file, is in a cgroup below that of the process.
pid_t start_with_threads(const std::string &domain) {
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        std::thread([] {
            scenario::write_file(scenario::path("thread"), std::to_string(::gettid()));
            for (;;)
                ::pause();
        }).detach();
        for (;;)
            ::pause();
    }
    while (scenario::read_file(scenario::path("thread")).empty())
        ::usleep(1000);
    scenario::write_file(domain + "/cgroup.procs", std::to_string(child));
    scenario::write_file(domain + "/threads/cgroup.type", "threaded");
    scenario::write_file(domain + "/threads/cgroup.threads", scenario::read_file(scenario::path("thread")));
    return child;
}

std::string mount_of_cgroups() {
    std::ifstream mounts("/proc/self/mounts");
    for (std::string source, place, type, rest; mounts >> source >> place >> type && std::getline(mounts, rest);)
        if (type == "cgroup2")
            return place;
    return "";
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::string own = cgroup_of(::getpid());
    // the runner takes away what has this name
    const std::string name = scenario::directory.substr(scenario::directory.rfind('/') + 1);
    const std::string outer = mount_of_cgroups() + (own == "/" ? "" : own) + "/" + name;
    SYS(::mkdir(outer.c_str(), 0755));
    SYS(::mkdir((outer + "/inner").c_str(), 0755));
    const pid_t child = scenario::fork_child();
    if (child == 0)
        for (;;)
            ::pause();
    scenario::write_file(outer + "/inner/cgroup.procs", std::to_string(child));
    const std::string wanted = (own == "/" ? "" : own) + "/" + name + "/inner";
    EQUAL(wanted, cgroup_of(child));
    scenario::write_file(outer + "/cgroup.max.depth", "7");
    scenario::write_file(outer + "/inner/cgroup.max.descendants", "3");
    SYS(::chown((outer + "/inner").c_str(), owner, group));
    SYS(::chown((outer + "/inner/cgroup.procs").c_str(), owner, group));
    SYS(::chmod((outer + "/inner").c_str(), 0750));
    const std::string domain = outer + "/domain";
    SYS(::mkdir(domain.c_str(), 0755));
    SYS(::mkdir((domain + "/threads").c_str(), 0755));
    const pid_t other = start_with_threads(domain);
    const std::string thread = std::to_string(other) + "/task/" + scenario::read_file(scenario::path("thread"));
    const std::string wanted_domain = (own == "/" ? "" : own) + "/" + name + "/domain";
    EQUAL(wanted_domain + "/threads", cgroup_of(thread));
    const std::string hierarchy = scenario::path("hierarchy"), inner = hierarchy + "/outer/inner";
    SYS(::mkdir(hierarchy.c_str(), 0755));
    const bool first_version =
        ::mount("none", hierarchy.c_str(), "cgroup", 0, ("none,name=" + name).c_str()) == 0; // not in every kernel
    if (first_version) {
        SYS(::mkdir((hierarchy + "/outer").c_str(), 0755));
        SYS(::mkdir(inner.c_str(), 0755));
        scenario::write_file(inner + "/tasks", std::to_string(child));
    }
    const auto is_there = [&](pid_t pid, const std::string &place) {
        const auto all = scenario::read_file("/proc/" + std::to_string(pid) + "/cgroup");
        return !first_version || all.find(":name=" + name + ":" + place + "\n") != std::string::npos;
    };
    CHECK(is_there(child, "/outer/inner"));
    CHECK(is_there(::getpid(), "/"));
    scenario::ready();
    scenario::wait();
    EQUAL(wanted, cgroup_of(child));
    EQUAL(own, cgroup_of(::getpid()));
    CHECK(is_there(child, "/outer/inner"));
    CHECK(is_there(::getpid(), "/"));
    EQUAL("7\n", scenario::read_file(outer + "/cgroup.max.depth"));
    EQUAL("3\n", scenario::read_file(outer + "/inner/cgroup.max.descendants"));
    EQUAL("max\n", scenario::read_file(outer + "/inner/cgroup.max.depth"));
    check_owner(outer + "/inner", owner, group, 0750);
    check_owner(outer + "/inner/cgroup.procs", owner, group, 0644);
    check_owner(outer + "/inner/cgroup.threads", 0, 0, 0644);
    EQUAL(wanted_domain, cgroup_of(other));
    EQUAL(wanted_domain + "/threads", cgroup_of(thread));
    SYS(::kill(other, SIGKILL));
    SYS(::waitpid(other, nullptr, 0));
    SYS(::kill(child, SIGKILL));
    SYS(::waitpid(child, nullptr, 0));
    scenario::pass();
}
