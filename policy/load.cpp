// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Which files make up a policy.
#include "engine/os/cause.h"
#include "engine/os/fd.h"
#include "policy/rules.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>

namespace abey::policy {

namespace {

namespace fs = std::filesystem;

enum class Trust : uint8_t { anybody, root_only };

// In the order in which they are asked, as with systemd: the administrator's, what holds until the next boot, what was
// installed by hand, what packages bring.
constexpr std::array directories = {"/etc/abeyance", "/run/abeyance", "/usr/local/lib/abeyance", "/usr/lib/abeyance"};

// Nothing: it is masked.
Result<std::string> text_of(const std::string &path, Trust trust) {
    Fd file = TRY_IN(open_file(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), "policy");
    struct stat stat = TRY(stat_of(file));
    if (trust == Trust::root_only && !S_ISREG(stat.st_mode) && stat.st_size == 0)
        return std::string(); // a link to /dev/null masks, as with systemd
    if (!S_ISREG(stat.st_mode))
        return fail(0, "policy {}: not a regular file", path);
    if (trust == Trust::root_only && (stat.st_uid != 0 || (stat.st_mode & (S_IWGRP | S_IWOTH)) != 0))
        return fail(0, "policy {}: somebody other than root can write it: chown root, chmod go-w", path);
    return TRY_IN(read_all(file, policy_size_limit), "policy {}", path);
}

// Some files, one after the other; the next one also when there are mistakes in the one before.
class Files {
  public:
    void add(const std::string &path, Trust trust) {
        const auto text = text_of(path, trust);
        if (!text)
            return note(path, text.error());
        auto found = read_rules(*text, path, *rules_);
        std::ranges::move(found, std::back_inserter(mistakes_));
    }
    void note(const std::string &path, const Error &error) {
        mistakes_.push_back(Mistake{.file = path, .key = {}, .nearest = {}, .message = error.message()});
    }
    [[nodiscard]] Result<Policy> policy() && {
        if (!mistakes_.empty())
            return failure(mistakes_);
        return Policy(std::move(rules_));
    }
    [[nodiscard]] Policy::Findings findings() && {
        return {.mistakes = std::move(mistakes_), .warnings = std::move(rules_->warnings)};
    }

  private:
    std::shared_ptr<Policy::Rules> rules_ = std::make_shared<Policy::Rules>();
    std::vector<Mistake> mistakes_;
};

// Adds the drop-ins of a directory, by name, but not those that are there already.
Result<> find_drop_ins(const std::string &directory, std::map<std::string, std::string> &found) {
    std::error_code error;
    fs::directory_iterator entries(directory, error);
    if (error) {
        if (error == std::errc::no_such_file_or_directory)
            return {};
        return fail(error.value(), "policy directory {}", directory);
    }
    for (; entries != fs::directory_iterator(); entries.increment(error)) {
        std::string name = entries->path().filename();
        if (name.ends_with(".toml") && !name.starts_with('.'))
            found.try_emplace(std::move(name), entries->path());
        if (error)
            break;
    }
    if (error)
        return fail(error.value(), "policy directory {}", directory);
    return {};
}

// A link that leads nowhere is a mistake, not a policy that says nothing.
bool is_there(const std::string &path) {
    return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

struct Paths {
    std::vector<std::string> files;                    // in the order in which they are read
    std::vector<std::pair<std::string, Error>> unread; // directories
};

Paths paths_of(const std::string &root) {
    Paths paths;
    for (const std::string_view directory : directories) {
        auto main_file = fmt::format("{}{}/policy.toml", root, directory);
        if (!is_there(main_file))
            continue;
        paths.files.push_back(std::move(main_file));
        break;
    }
    std::map<std::string, std::string> drop_ins;
    for (const std::string_view directory : directories) {
        const auto path = fmt::format("{}{}/policy.d", root, directory);
        if (auto looked = find_drop_ins(path, drop_ins); !looked)
            paths.unread.emplace_back(path, std::move(looked).error());
    }
    for (auto &[name, path] : drop_ins)
        paths.files.push_back(std::move(path));
    return paths;
}

Files all_files(const std::string &root) {
    Files files;
    const auto paths = paths_of(root);
    for (const auto &path : paths.files)
        files.add(path, Trust::root_only);
    for (const auto &[path, error] : paths.unread)
        files.note(path, error);
    return files;
}

Files one_file(const std::string &path) {
    Files files;
    files.add(path, Trust::anybody);
    return files;
}

} // namespace

Result<Policy> Policy::load(const std::string &file) { return one_file(file).policy(); }

Result<Policy> Policy::load_system(const std::string &root) {
    auto loaded = all_files(root).policy();
    if (!loaded && loaded.error().code() == 0)
        return fail(cause::policy_invalid, "{}", loaded.error().message());
    return loaded;
}

Policy::Findings Policy::examine(const std::string &file) { return one_file(file).findings(); }
Policy::Findings Policy::examine_system(const std::string &root) { return all_files(root).findings(); }

Result<std::vector<std::string>> Policy::system_files(const std::string &root) {
    auto paths = paths_of(root);
    if (!paths.unread.empty())
        return std::unexpected(std::move(paths.unread.front().second));
    return std::move(paths.files);
}

} // namespace abey::policy
