// SPDX-License-Identifier: LGPL-2.1-or-later
#include "files/ledger.h"

#include "files/identity.h"

namespace abey::files {

namespace {

constexpr const char *ledger_name = "areas"; // paths, each ended by NUL
constexpr size_t ledger_limit = 1U << 20U;

} // namespace

Result<> add_to_ledger(const Fd &deleted, const std::string &directory) {
    Fd ledger = TRY(open_at(deleted.get(), ledger_name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600));
    TRY(write_all(ledger, directory + '\0'));
    // A few milliseconds with the processes standing still, else a power loss leaves files in a home that nobody knows.
    if (::fsync(ledger.get()) != 0)
        return fail(errno, "cannot write the list of directories for kept files to disk");
    return {};
}

Result<std::vector<std::string>> read_ledger(const std::string &images) {
    std::vector<std::string> directories;
    auto text = read_file(fmt::format("{}/deleted/{}", images, ledger_name), ledger_limit);
    if (!text) {
        if (text.error().code() == ENOENT || text.error().code() == ENOTDIR)
            return directories;
        return std::unexpected(std::move(text).error());
    }
    for (size_t at = 0; at < text->size();) {
        size_t end = text->find('\0', at);
        if (end == std::string::npos)
            break; // half a line: its directory was never made
        directories.push_back(text->substr(at, end - at));
        at = end + 1;
    }
    return directories;
}

void remove_ledger(const Fd &deleted) noexcept { ::unlinkat(deleted.get(), ledger_name, 0); }

} // namespace abey::files
