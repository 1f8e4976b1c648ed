// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/stage.h"

#include "engine/os/long_path.h"
#include "files/identity.h"
#include "files/remake.h"

#include <random>
#include <ranges>

#include <linux/mount.h>
#include <sys/syscall.h>

namespace abey::files {

Result<Stage> Stage::make(const Fd &directory, const std::string &path) {
    auto parts = TRY(parts_of(path));
    parts.pop_back();
    std::random_device source;
    const auto top = fmt::format(".abeyance-{:08x}{:08x}", source(), source());
    Stage stage;
    stage.directory_ = TRY(duplicate(directory));
    std::string below = ".";
    const auto enter = [&stage](const std::string &name) -> Result<> {
        if (::mkdirat(stage.directory_.get(), name.c_str(), 0700) != 0)
            return fail(errno, "cannot make the directory {}", printable(name));
        Fd above = std::move(stage.directory_);
        auto entered = open_at(above.get(), name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
        stage.made_.push_back({std::move(above), name});
        stage.directory_ = TRY(std::move(entered));
        return {};
    };
    TRY(enter(top));
    const Fd own = TRY(duplicate(stage.directory_));
    for (const auto &part : parts) {
        TRY(enter(part));
        below += "/" + part;
    }
    const Fd tree(
        static_cast<int>(::syscall(SYS_open_tree, own.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)));
    if (!tree)
        return fail(errno, "cannot have a mount of {} alone", top);
    stage.seen_ = TRY(os::open_long(tree.get(), below, O_PATH | O_DIRECTORY));
    return stage;
}

Stage::~Stage() {
    for (const Made &made : std::views::reverse(made_))
        ::unlinkat(made.above.get(), made.name.c_str(), AT_REMOVEDIR);
}

} // namespace abey::files
