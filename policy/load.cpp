// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which files make up a policy.
#include "engine/os/cause.h"
#include "engine/os/fd.h"
#include "policy/rules.h"

#include <filesystem>
#include <map>

namespace abey::policy {

namespace {

namespace fs = std::filesystem;

enum class Trust : uint8_t { anybody, root_only };

Result<> add_file(const std::string &path, Trust trust, Policy::Rules &rules) {
    Fd file = TRY_IN(open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), "policy");
    struct stat stat = TRY(stat_of(file));
    if (trust == Trust::root_only && !S_ISREG(stat.st_mode) && stat.st_size == 0)
        return {}; // a link to /dev/null masks, as with systemd
    if (!S_ISREG(stat.st_mode))
        return fail(0, "policy {}: not a regular file", path);
    if (trust == Trust::root_only && (stat.st_uid != 0 || (stat.st_mode & (S_IWGRP | S_IWOTH)) != 0))
        return fail(0, "policy {}: somebody other than root can write it: chown root, chmod go-w", path);
    std::string text = TRY_IN(read_all(file, policy_size_limit), "policy {}", path);
    return read_rules(text, path, rules);
}

// The drop-ins of a directory by name.
Result<std::map<std::string, std::string>> drop_ins(const std::string &directory) {
    std::map<std::string, std::string> found;
    std::error_code error;
    fs::directory_iterator entries(directory, error);
    if (error) {
        if (error == std::errc::no_such_file_or_directory)
            return found;
        return fail(error.value(), "policy directory {}", directory);
    }
    for (; entries != fs::directory_iterator(); entries.increment(error)) {
        std::string name = entries->path().filename();
        if (name.ends_with(".toml") && !name.starts_with('.'))
            found[name] = entries->path();
        if (error)
            break;
    }
    if (error)
        return fail(error.value(), "policy directory {}", directory);
    return found;
}

} // namespace

Result<Policy> Policy::load(const std::string &file) {
    auto rules = std::make_shared<Rules>();
    TRY(add_file(file, Trust::anybody, *rules));
    return Policy(std::move(rules));
}

Result<std::vector<std::string>> Policy::system_files(const std::string &root) {
    const auto vendor = TRY(drop_ins(root + "/usr/lib/abeyance/policy.d"));
    const auto local = TRY(drop_ins(root + "/etc/abeyance/policy.d"));
    std::vector<std::string> files;
    for (const auto &[name, path] : vendor)
        if (!local.contains(name))
            files.push_back(path);
    std::string main_file = root + "/etc/abeyance/policy.toml";
    // A link that leads nowhere is a mistake, not a policy that says nothing
    if (::faccessat(AT_FDCWD, main_file.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
        files.push_back(std::move(main_file));
    for (const auto &[name, path] : local)
        files.push_back(path);
    return files;
}

Result<Policy> Policy::load_system(const std::string &root) {
    auto rules = std::make_shared<Rules>();
    for (const auto &path : TRY(system_files(root)))
        if (auto added = add_file(path, Trust::root_only, *rules); !added)
            return added.error().code() != 0 ? std::unexpected(std::move(added).error())
                                             : fail(cause::policy_invalid, "{}", added.error().message());
    return Policy(std::move(rules));
}

} // namespace abey::policy
