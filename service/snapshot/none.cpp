// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/none.h"

#include "snapshot/subvolume.h"
#include "snapshot/tree.h"
#include "snapshot/tree_states.h"

#include <filesystem>

#include <nlohmann/json.hpp>

namespace abey::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr size_t changes_shown = 5;

class None final : public Provider {
  public:
    None(std::string home, Verified verified) : home_(std::move(home)), verified_(std::move(verified)) {}

    Result<> prepare() override { return {}; }
    Result<Saved> save(const std::string &id) override;
    Result<> discard(const std::string &id) override { return discard_tree(home_, id); }
    Result<std::string> remove(const Saved &saved) override {
        if (!saved.place.empty())
            TRY(discard_tree(home_, fs::path(saved.place).filename().string()));
        return std::string();
    }
    Result<bool> diverged(const Saved &saved) override {
        const auto changed = TRY(changes(saved, 1));
        return !changed.empty();
    }
    Result<std::vector<Change>> changes(const Saved &saved, size_t limit) override;
    Result<> check(const Saved &saved) override;
    Result<Displaced> roll_back(const Saved & /*saved*/) override {
        return fail(ENOTSUP, "home {}: no state of it was kept that it could be brought back to", home_);
    }
    Result<> undo(const Displaced & /*displaced*/) override {
        return fail(ENOTSUP, "home {}: no state of it was displaced", home_);
    }

  private:
    [[nodiscard]] std::string path_of(const std::string &tree) const {
        return tree == "." ? home_ : home_ + "/" + tree;
    }
    [[nodiscard]] Result<Manifest> listed(const std::string &tree, bool contents) const;

    std::string home_;
    Verified verified_;
};

// One that does not exist is empty.
Result<Manifest> None::listed(const std::string &tree, bool contents) const {
    const auto path = path_of(tree);
    const auto directory = open_directory(AT_FDCWD, path);
    if (!directory && (directory.error().code() == ENOENT || directory.error().code() == ENOTDIR))
        return Manifest();
    if (!directory)
        return std::unexpected(directory.error());
    return Manifest::of(*directory, path, contents);
}

Result<Saved> None::save(const std::string &id) {
    Saved saved{.provider = "none", .home = home_};
    if (verified_.trees.empty())
        return saved;
    const auto parent = fs::path(home_).parent_path().string();
    const auto area = TRY(Area::open(parent, tree_area));
    auto passing = TRY(Passing::make(area.snapshots(), states_path(parent)));
    for (size_t i = 0; i < verified_.trees.size(); ++i) {
        const auto manifest = TRY(listed(verified_.trees[i], verified_.contents));
        TRY(manifest.write(passing.fd(), fmt::format("manifest-{}", i)));
    }
    const nlohmann::json about = {{"trees", verified_.trees}, {"contents", verified_.contents}};
    TRY(write_file(passing.path() + "/about", about.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    if (::syncfs(passing.fd().get()) < 0)
        return fail(errno, "cannot write {} to disk", passing.path());
    TRY(passing.become(id));
    if (::fsync(area.snapshots().get()) < 0)
        return fail(errno, "cannot write {} to disk", states_path(parent));
    saved.place = states_path(parent) + "/" + id;
    return saved;
}

Result<std::vector<Change>> None::changes(const Saved &saved, size_t limit) {
    std::vector<Change> all;
    if (saved.place.empty())
        return all;
    const auto place = open_directory(AT_FDCWD, saved.place);
    if (!place)
        return fail(place.error().code(), "home {}: the list of its files is gone", home_);
    const auto about = nlohmann::json::parse(TRY(read_file(saved.place + "/about")), nullptr, false);
    if (!about.is_object() || !about.contains("trees") || !about["trees"].is_array())
        return fail(EINVAL, "{}/about is damaged", saved.place);
    size_t number = 0;
    for (const auto &tree : about["trees"]) {
        if (!tree.is_string())
            return fail(EINVAL, "{}/about is damaged", saved.place);
        const auto name = tree.get<std::string>();
        const auto then = TRY(Manifest::read(*place, fmt::format("manifest-{}", number++)));
        const auto now = TRY(listed(name, about.value("contents", false)));
        for (Change &change : differences(then, now, Match::same_tree, limit - all.size())) {
            if (name != ".")
                change.path = change.path.empty() ? name : name + "/" + change.path;
            all.push_back(std::move(change));
        }
    }
    return all;
}

Result<> None::check(const Saved &saved) {
    const auto changed = TRY(changes(saved, changes_shown + 1));
    if (changed.empty())
        return {};
    std::string text;
    for (size_t i = 0; i < std::min(changed.size(), changes_shown); ++i)
        text += fmt::format("{}{}", i == 0 ? "" : ", ", changed[i].path.empty() ? "." : changed[i].path);
    return fail(
        0,
        "home {} has changed in {}{}, and no state of it was kept that it could be brought back to; resume with "
        "on-divergence = \"keep\" to go on with the home as it is",
        home_, text, changed.size() > changes_shown ? ", ..." : "");
}

} // namespace

std::unique_ptr<Provider> make_none(std::string home, Verified verified) {
    return std::make_unique<None>(std::move(home), std::move(verified));
}

} // namespace abey::snapshot
