// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/vdso.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <elf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::os {

namespace {

constexpr int getrandom_call = SYS_getrandom;

// What a function is when this kernel's vDSO does not have it (arch/x86/entry/vdso/vdso.lds.S).
struct Known {
    std::string_view name;
    int call; // takes the same arguments; -1: none does, the function fails with ENOSYS
};
constexpr std::array<Known, 7> known_functions = {{
    {"__vdso_clock_gettime", SYS_clock_gettime},
    {"__vdso_gettimeofday", SYS_gettimeofday},
    {"__vdso_time", SYS_time},
    {"__vdso_getcpu", SYS_getcpu},
    {"__vdso_clock_getres", SYS_clock_getres},
    {"__vdso_getrandom", getrandom_call},
    {"__vdso_sgx_enter_enclave", -1}, // no enclave comes back
}};

// movabs r11, ADDRESS; jmp r11: r11 is nobody's across a call (System V ABI, "Register Usage")
constexpr std::string_view load_r11 = "\x49\xbb";
constexpr std::string_view jump_r11 = "\x41\xff\xe3";

template <class T> std::string bytes_of(const T &value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

std::string jump_to(uint64_t address) { return std::string(load_r11) + bytes_of(address) + std::string(jump_r11); }

// mov rax, -ENOSYS; ret
std::string refusal() { return "\x48\xc7\xc0" + bytes_of(static_cast<int32_t>(-ENOSYS)) + "\xc3"; }

// mov eax, NUMBER; syscall; ret
std::string call_of(int number) {
    using namespace std::string_literals;
    return "\xb8"s + bytes_of(static_cast<int32_t>(number)) + "\x0f\x05\xc3"s;
}

// The fifth argument of -1 asks how the state has to be (lib/vdso/getrandom.c), which no system call tells:
// cmp r8, -1; je to the refusal behind the call
std::string random_call() {
    const std::string call = call_of(getrandom_call);
    return "\x49\x83\xf8\xff\x74" + std::string(1, static_cast<char>(call.size())) + call + refusal();
}

template <class T> Result<T> at(std::string_view image, uint64_t offset) {
    T value{};
    if (offset > image.size() || image.size() - offset < sizeof value)
        return fail(EBADMSG, "the vDSO refers to what is not in it");
    std::memcpy(&value, image.data() + offset, sizeof value);
    return value;
}

Result<std::string> name_at(std::string_view image, const Elf64_Shdr &strings, uint64_t offset) {
    if (strings.sh_offset > image.size() || strings.sh_size > image.size() - strings.sh_offset ||
        offset >= strings.sh_size)
        return fail(EBADMSG, "the vDSO has a name that is not in it");
    const std::string_view rest = image.substr(strings.sh_offset + offset, strings.sh_size - offset);
    return std::string(rest.substr(0, rest.find('\0')));
}

// The image with zeros where it tells of what kernel it is.
Result<std::string> without_notes(std::string image) {
    const auto header = TRY(at<Elf64_Ehdr>(image, 0));
    for (uint64_t index = 0; index < header.e_phnum; ++index) {
        const auto part = TRY(at<Elf64_Phdr>(image, header.e_phoff + index * sizeof(Elf64_Phdr)));
        if (part.p_type != PT_NOTE)
            continue;
        if (part.p_offset > image.size() || part.p_filesz > image.size() - part.p_offset)
            return fail(EBADMSG, "the vDSO has a note that is not in it");
        std::fill_n(image.begin() + static_cast<ptrdiff_t>(part.p_offset), part.p_filesz, '\0');
    }
    return image;
}

} // namespace

Result<std::vector<VdsoFunction>> vdso_functions(std::string_view image) {
    const auto header = TRY(at<Elf64_Ehdr>(image, 0));
    if (std::memcmp(&header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_machine != EM_X86_64)
        return fail(EBADMSG, "the vDSO is no ELF image for x86-64");
    const auto section = [&](uint64_t index) {
        return at<Elf64_Shdr>(image, header.e_shoff + index * sizeof(Elf64_Shdr));
    };
    std::vector<VdsoFunction> functions;
    for (uint64_t index = 0; index < header.e_shnum; ++index) {
        const auto table = TRY(section(index));
        if (table.sh_type != SHT_DYNSYM)
            continue;
        const auto strings = TRY(section(table.sh_link));
        for (uint64_t place = 0; place + sizeof(Elf64_Sym) <= std::min<uint64_t>(table.sh_size, image.size());
             place += sizeof(Elf64_Sym)) {
            const auto symbol = TRY(at<Elf64_Sym>(image, table.sh_offset + place));
            if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF)
                continue;
            if (symbol.st_value > image.size() || symbol.st_size > image.size() - symbol.st_value)
                return fail(EBADMSG, "the vDSO has a function that is not in it");
            functions.push_back({TRY(name_at(image, strings, symbol.st_name)), symbol.st_value, symbol.st_size});
        }
    }
    if (functions.empty())
        return fail(EBADMSG, "the vDSO has no functions");
    return functions;
}

bool belongs_to_vdso(const ProcMapping &mapping) {
    return mapping.name == "[vdso]" || mapping.name == "[vvar]" || mapping.name == "[vvar_vclock]";
}

Result<std::vector<ProcMapping>> own_vdso_parts() {
    std::vector<ProcMapping> parts;
    for (const ProcMapping &mapping : TRY(read_maps(::getpid())))
        if (belongs_to_vdso(mapping))
            parts.push_back(mapping);
    return parts;
}

Result<bool> own_vdso_is_sealed() {
    const auto mappings = TRY(read_smaps(::getpid()));
    const auto own = std::ranges::find(mappings, "[vdso]", &ProcMapping::name);
    return own != mappings.end() && own->has_flag(sealed);
}

Result<std::string> own_vdso() {
    for (const ProcMapping &part : TRY(own_vdso_parts()))
        if (part.name == "[vdso]")
            return std::string(reinterpret_cast<const char *>(part.start), part.end - part.start); // NOLINT: our own
    return fail(ENOTSUP, "this process has no vDSO; the kernel was started with vdso=0");
}

Result<VdsoBridge> VdsoBridge::make(std::string former, const std::string &own) {
    VdsoBridge bridge;
    auto wanted = TRY(vdso_functions(former));
    const auto here = TRY(vdso_functions(own));
    bridge.same_ = TRY(without_notes(former)) == TRY(without_notes(own));
    std::ranges::stable_partition(wanted, [](const VdsoFunction &f) { return f.name.starts_with("__vdso_"); });
    for (VdsoFunction &function : wanted) {
        // the C library's own name for the same, "clock_gettime", is there as well
        if (std::ranges::any_of(bridge.ways_, [&](const Way &way) { return way.from.offset == function.offset; }))
            continue;
        Way way{std::move(function)};
        const auto same = std::ranges::find(here, way.from.name, &VdsoFunction::name);
        const auto *const known = std::ranges::find(known_functions, way.from.name, &Known::name);
        if (same != here.end())
            way.to = same->offset;
        else if (known != known_functions.end())
            way.call = known->call;
        else
            return fail(ENOTSUP, "this kernel has no function {} for programs", way.from.name);
        if (way.from.size < code_of(way, 0).size())
            return fail(ENOTSUP, "its function {} is too short to lead elsewhere", way.from.name);
        bridge.ways_.push_back(std::move(way));
    }
    bridge.former_ = std::move(former);
    return bridge;
}

std::string VdsoBridge::code_of(const Way &way, uint64_t own_address) {
    if (way.to != 0)
        return jump_to(own_address + way.to);
    return way.call == getrandom_call ? random_call() : way.call < 0 ? refusal() : call_of(way.call);
}

bool VdsoBridge::goes_on_at(uint64_t offset) const {
    if (offset < system_call.size() || offset > former_.size() ||
        former_.compare(offset - system_call.size(), system_call.size(), system_call) != 0)
        return false;
    return std::ranges::none_of(ways_, [&](const Way &way) {
        return offset >= way.from.offset && offset - way.from.offset < code_of(way, 0).size() + system_call.size();
    });
}

std::string VdsoBridge::stand_in(uint64_t own_address) const {
    std::string image = former_;
    for (const Way &way : ways_) {
        const std::string code = code_of(way, own_address);
        image.replace(way.from.offset, code.size(), code);
    }
    return image;
}

} // namespace abey::os
