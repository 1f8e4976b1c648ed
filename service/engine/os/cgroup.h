// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A cgroup v2 directory (Documentation/admin-guide/cgroup-v2.rst), always relative to a descriptor of it.
#pragma once

#include "engine/os/guard.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace abey::os {

// Where a cgroup is in the file system, by the text of /proc/PID/mountinfo (proc(5)) and its name in /proc/PID/cgroup;
// empty: in no mounted cgroup v2 hierarchy.
std::string cgroup_directory(std::string_view mountinfo, std::string_view group);
// The name of a process's cgroup: the "0::" line of /proc/PID/cgroup; empty when there is no such line.
std::string cgroup_of(int pid);
std::string cgroup_of(int pid, int tid); // of a thread: others may be elsewhere (threaded mode)

struct CgroupBelow {
    std::string path; // below where was looked
    bool threaded = false;
};
// The cgroups below a directory, the outer before the inner.
Result<std::vector<CgroupBelow>> cgroups_below(const std::string &directory);
// The names of a directory's files.
Result<std::vector<std::string>> files_in(const std::string &directory);

// Where a thread is in hierarchies without controllers that programs have made (cgroups(7), version 1), as
// "name=x:/path"; not that of systemd, and none when it is at the top.
std::vector<std::string> named_cgroups(int pid, int tid);

class Cgroup {
  public:
    static Result<Cgroup> open(const std::string &path);

    [[nodiscard]] const std::string &path() const { return path_; }
    // Process ids with the path of their cgroup below this one ("" for this one itself).
    Result<std::vector<std::pair<int, std::string>>> processes() const;
    // cgroup.freeze, and waits until cgroup.events says that it is so.
    Result<> freeze() const;
    Result<> thaw() const;
    // Kills everything in it and below (cgroup.kill, Linux 5.14), and waits until nothing is left; one that has been
    // removed had nothing left. ETIMEDOUT: a process does not end.
    Result<> kill() const;
    // cgroup.freeze, open for writing.
    [[nodiscard]] Result<Fd> freezer() const;

  private:
    Cgroup(Fd directory, std::string path) : directory_(std::move(directory)), path_(std::move(path)) {}
    Result<> set(const char *name, std::string_view value) const;
    // Waits until cgroup.events says so.
    [[nodiscard]] Result<> wait_for(std::string_view event, std::string_view failure) const;
    struct Listed {
        std::vector<std::pair<int, std::string>> processes; // by their first threads
        std::map<int, std::string> threads;                 // in the cgroup that a process of theirs would be in
    };
    Result<> list_below(const Fd &directory, const std::string &below, const std::string &domain, int depth,
                        Listed &into) const;
    Fd directory_;
    std::string path_;
};

// Freezes on construction by freeze(), thaws on destruction, and also when this process is killed: a child of it stands
// guard. Without that nobody would know that the cgroup must be thawed.
class Frozen {
  public:
    // EDEADLK: this process is in the cgroup itself. The cgroup must outlive what is returned.
    static Result<Frozen> freeze(const Cgroup &cgroup);
    Frozen(Frozen &&other) noexcept : cgroup_(std::exchange(other.cgroup_, nullptr)), guard_(std::move(other.guard_)) {}
    Frozen &operator=(Frozen &&) = delete;
    Frozen(const Frozen &) = delete;
    Frozen &operator=(const Frozen &) = delete;
    ~Frozen();

  private:
    Frozen(const Cgroup *cgroup, Guard guard) : cgroup_(cgroup), guard_(std::move(guard)) {}
    const Cgroup *cgroup_;
    Guard guard_;
};

} // namespace abey::os
