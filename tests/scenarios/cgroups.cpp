// SPDX-License-Identifier: LGPL-2.1-or-later
// A child in a cgroup of its own, below that of its parent, and in one of a hierarchy without controllers (version 1).
#include "scenario.h"

#include <sstream>

#include <sys/mount.h>

namespace {

// The line of version 2, the name only.
std::string cgroup_of(pid_t pid) {
    std::istringstream lines(scenario::read_file("/proc/" + std::to_string(pid) + "/cgroup"));
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("0::"))
            return line.substr(3);
    return "";
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
    SYS(::kill(child, SIGKILL));
    SYS(::waitpid(child, nullptr, 0));
    scenario::pass();
}
