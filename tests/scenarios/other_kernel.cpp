// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Makes an image look as if it had been saved under another kernel:
//     other_kernel FROM TO same|moved
// The functions of that kernel's vDSO are where they were, as far as a program that was saved could know, but there is
// nothing in them that could be run. "moved": one more of them is elsewhere, so that this kernel's vDSO cannot take
// that one's place.
#include "engine/image/image.h"
#include "engine/os/vdso.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace abey {
namespace {

// The second name of a function, at the end of the image, where there is nothing.
Result<> move_one(std::string &vdso) {
    constexpr size_t room = 64;
    const size_t place = vdso.size() - room;
    if (vdso.find_first_not_of('\0', place) != std::string::npos)
        return fail(0, "there is no room at the end of the vDSO");
    Elf64_Ehdr header;
    std::memcpy(&header, vdso.data(), sizeof header);
    for (size_t i = 0; i < header.e_shnum; ++i) {
        Elf64_Shdr table;
        std::memcpy(&table, vdso.data() + header.e_shoff + i * sizeof table, sizeof table);
        for (size_t at = 0; table.sh_type == SHT_DYNSYM && at < table.sh_size; at += sizeof(Elf64_Sym)) {
            Elf64_Sym symbol;
            std::memcpy(&symbol, vdso.data() + table.sh_offset + at, sizeof symbol);
            if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || ELF64_ST_BIND(symbol.st_info) != STB_WEAK)
                continue;
            symbol.st_value = place;
            symbol.st_size = room;
            std::memcpy(vdso.data() + table.sh_offset + at, &symbol, sizeof symbol);
            return {};
        }
    }
    return fail(0, "the vDSO has no second names");
}

Result<> forge(const std::string &from, const std::string &to, bool moved) {
    const auto reader = TRY(image::Reader::open(from));
    model::Tree tree = TRY(reader.tree());
    std::string &vdso = tree.machine.vdso;
    for (const os::VdsoFunction &function : TRY(os::vdso_functions(vdso)))
        std::fill_n(vdso.begin() + static_cast<ssize_t>(function.offset), function.size, '\xcc'); // int3
    if (moved)
        TRY(move_one(vdso));
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
    std::filesystem::copy(from + "/deleted", to + "/deleted",
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
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
