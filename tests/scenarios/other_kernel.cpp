// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Makes an image look as if it had been saved under another kernel:
//     other_kernel FROM TO same|moved
// "same": that kernel's vDSO is the same but for its notes. "moved": its functions are where they were, as far as a
// program that was saved could know, but there is nothing in them that could be run.
#include "engine/image/image.h"
#include "engine/os/vdso.h"

#include <algorithm>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace abey {
namespace {

// What it says of the kernel's version.
Result<> change_note(std::string &vdso) {
    const size_t name = vdso.find(std::string("Linux\0", 6));
    if (name == std::string::npos || name + 8 >= vdso.size())
        return fail(0, "the vDSO has no note of the kernel's version");
    vdso[name + 8] = static_cast<char>(vdso[name + 8] ^ 1);
    return {};
}

Result<> forge(const std::string &from, const std::string &to, bool moved) {
    const auto reader = TRY(image::Reader::open(from));
    model::Tree tree = TRY(reader.tree());
    std::string &vdso = tree.machine.vdso;
    TRY(change_note(vdso));
    for (const os::VdsoFunction &function : TRY(os::vdso_functions(vdso)))
        if (moved)
            std::fill_n(vdso.begin() + static_cast<ssize_t>(function.offset), function.size, '\xcc'); // int3
    tree.machine.vdso_digest = image::to_hex(image::digest(std::as_bytes(std::span(vdso))));
    tree.machine.kernel_release = "6.0.0-other";
    tree.machine.boot_id = "another"; // so that the clocks have started over

    auto writer = TRY(image::Writer::create(to));
    const Fd pages = TRY(reader.pages());
    for (;;) {
        const ssize_t copied = ::copy_file_range(pages.get(), nullptr, writer.pages().get(), nullptr, 1U << 30U, 0);
        if (copied < 0)
            return fail(errno, "cannot copy the pages");
        if (copied == 0)
            break;
    }
    std::error_code error;
    if (std::filesystem::exists(from + "/deleted", error)) // made when the first file is put into it
        std::filesystem::copy(
            from + "/deleted", to + "/deleted",
            std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing, error);
    if (error)
        return fail(error.value(), "cannot copy {}/deleted", from);
    TRY(writer.write(tree));
    return writer.commit(reader.about());
}

} // namespace
} // namespace abey

int main(int argc, char **argv) {
    const std::string_view way = argc == 4 ? argv[3] : "";
    if (way != "same" && way != "moved") {
        fmt::print(stderr, "usage: {} FROM TO same|moved\n", argv[0]);
        return 2;
    }
    if (const auto done = abey::forge(argv[1], argv[2], way == "moved"); !done) {
        fmt::print(stderr, "{}\n", done.error().message());
        return 1;
    }
    return 0;
}
