// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/provider.h"

#include "snapshot/btrfs.h"
#include "snapshot/none.h"
#include "snapshot/subvolume.h"

#include <filesystem>

namespace abey::snapshot {

Result<std::unique_ptr<Provider>> make_provider(const std::string &name, const std::string &home) {
    if (!home.starts_with('/'))
        return fail(EINVAL, "home \"{}\" is not an absolute path", home);
    std::error_code error;
    const auto real = std::filesystem::canonical(home, error).string();
    if (error)
        return fail(error.value(), "home {}", home);
    if (name == "btrfs")
        return make_btrfs(real);
    if (name == "none")
        return make_none(real);
    if (name != "auto")
        return fail(EINVAL, "no provider of homes is called \"{}\": there are btrfs, none and auto", name);
    const auto directory = TRY_IN(open_directory(AT_FDCWD, real), "home");
    return is_btrfs(directory) && is_subvolume(directory) ? make_btrfs(real) : make_none(real);
}

} // namespace abey::snapshot
