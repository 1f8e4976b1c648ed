// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/cgroups.h"

#include "engine/os/fd.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace abey::rebuild {

namespace {

std::vector<std::string> words_of(std::string_view text, char separator) {
    std::vector<std::string> words;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(separator));
        text.remove_prefix(std::min(text.size(), word.size() + 1));
        if (!word.empty() && word != "\n")
            words.emplace_back(word.ends_with('\n') ? word.substr(0, word.size() - 1) : word);
    }
    return words;
}

std::string in_words(const std::string &path) { return path.empty() ? "that of the session itself" : path; }

// Only what is not so already: that which nobody has changed needs nothing, and may be read-only here.
Result<> set_file(const std::string &directory, const model::CgroupFile &file) {
    const std::string path = directory + "/" + file.name;
    struct stat stat = {};
    if (::stat(path.c_str(), &stat) < 0) {
        if (file.value.empty() || file.value == "max" || file.value == "0")
            return {};
        return fail(ENOTSUP, "its setting {} ({}) does not exist here; enable the controller for the cgroup above",
                    file.name, file.value);
    }
    const auto now = file.value.empty() ? std::string() : TRY(read_file(path));
    if (words_of(now, '\n') != words_of(file.value, '\n'))
        for (const std::string &line : words_of(file.value, '\n'))
            TRY_IN(write_file(path, line), "cannot set {} to {}", file.name, line);
    if ((stat.st_uid != file.uid || stat.st_gid != file.gid) && ::chown(path.c_str(), file.uid, file.gid) < 0)
        return fail(errno, "cannot give {} to user {}", path, file.uid);
    if ((stat.st_mode & 07777U) != file.mode && ::chmod(path.c_str(), file.mode) < 0)
        return fail(errno, "cannot change the mode of {}", path);
    return {};
}

} // namespace

Cgroups::~Cgroups() {
    for (auto path = made_.rbegin(); path != made_.rend(); ++path)
        ::rmdir(path->c_str());
    for (const std::string &controller : enabled_)
        (void)write_file(own_ + "/cgroup.subtree_control", "-" + controller);
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

Result<> Cgroups::place_thread(const model::Thread &saved, int tid) {
    if (!saved.cgroup.empty())
        TRY_IN(write_file(own_ + "/" + saved.cgroup + "/cgroup.threads", std::to_string(tid)),
               "cannot put thread {} into the cgroup {}", saved.tid, saved.cgroup);
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

// First all of them, then what they are, then which controllers they have, each before those below; at last the
// settings.
Result<> Cgroups::make_all(const model::Tree &tree) {
    const auto directory = [this](const model::Cgroup &cgroup) {
        return cgroup.path.empty() ? own_ : own_ + "/" + cgroup.path;
    };
    for (const model::Cgroup &cgroup : tree.cgroups) {
        TRY(make(own_, cgroup.path));
        const std::string type = directory(cgroup) + "/cgroup.type";
        if (cgroup.threaded && TRY(read_file(type)) != "threaded\n")
            TRY_IN(write_file(type, "threaded"), "cannot make the cgroup {} a threaded one", cgroup.path);
    }
    for (const model::Cgroup &cgroup : tree.cgroups) {
        const std::string file = directory(cgroup) + "/cgroup.subtree_control";
        const auto now = words_of(TRY(read_file(file)), ' ');
        for (const std::string &controller : words_of(cgroup.controllers, ' ')) {
            if (std::ranges::find(now, controller) != now.end())
                continue;
            TRY_IN(write_file(file, "+" + controller), "cannot have the controller \"{}\" in cgroups below {}",
                   controller, in_words(cgroup.path));
            if (cgroup.path.empty())
                enabled_.push_back(controller);
        }
    }
    for (const model::Cgroup &cgroup : tree.cgroups) {
        if (cgroup.path.empty())
            continue;
        for (const model::CgroupFile &file : cgroup.files)
            TRY_IN(set_file(directory(cgroup), file), "cgroup {}", cgroup.path);
        struct stat stat = {};
        if (::stat(directory(cgroup).c_str(), &stat) < 0)
            return fail(errno, "cannot look at the cgroup {}", cgroup.path);
        if ((stat.st_uid != cgroup.uid || stat.st_gid != cgroup.gid) &&
            ::chown(directory(cgroup).c_str(), cgroup.uid, cgroup.gid) < 0)
            return fail(errno, "cannot give the cgroup {} to user {}", cgroup.path, cgroup.uid);
        if ((stat.st_mode & 07777U) != cgroup.mode && ::chmod(directory(cgroup).c_str(), cgroup.mode) < 0)
            return fail(errno, "cannot change the mode of the cgroup {}", cgroup.path);
    }
    return {};
}

Result<> Cgroups::place(const std::string &own, const model::Tree &tree, const std::map<int, int> &pids) {
    own_ = own;
    if (!tree.cgroups.empty() && own.empty())
        return fail(ENOTSUP, "the programs had cgroups of their own, but there is no cgroup v2 here");
    TRY(make_all(tree));
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
