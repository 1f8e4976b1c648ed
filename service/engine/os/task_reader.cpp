// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/task_reader.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::os {

namespace {

constexpr int32_t offset_of_task = 8;   // struct bpf_iter__task: meta, task
constexpr uint32_t program_chunk = 256; // on the program's stack, which has 512 bytes
constexpr int16_t program_buffer = -static_cast<int16_t>(program_chunk);
constexpr int16_t program_word = program_buffer - 8;

long bpf(bpf_cmd command, bpf_attr &attributes) { return ::syscall(SYS_bpf, command, &attributes, sizeof attributes); }

bpf_insn instruction(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) {
    bpf_insn one = {};
    one.code = code;
    one.dst_reg = to & 0xfU;
    one.src_reg = from & 0xfU;
    one.off = offset;
    one.imm = value;
    return one;
}
bpf_insn load_word(uint8_t to, uint8_t from, int16_t offset) {
    return instruction(BPF_LDX | BPF_MEM | BPF_DW, to, from, offset, 0);
}
bpf_insn store_word(uint8_t to, int16_t offset, uint8_t from) {
    return instruction(BPF_STX | BPF_MEM | BPF_DW, to, from, offset, 0);
}
bpf_insn move_register(uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
bpf_insn move_number(uint8_t to, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
bpf_insn add_number(uint8_t to, int32_t value) {
    return instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value); // NOLINT(misc-redundant-expression): two zeros
}
bpf_insn call_helper(int32_t function) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }

// While it runs: r7 is the task, r8 an address of its kernel stack, r9 the iterator's output.
using Code = std::vector<bpf_insn>;

void append_code(Code &code, std::initializer_list<bpf_insn> more) { code.insert(code.end(), more); }

// From `offset` of what is in `base` to `to` of the program's stack.
void copy_in(Code &code, uint8_t base, uint32_t offset, int16_t to, uint32_t size) {
    append_code(code, {move_register(BPF_REG_1, BPF_REG_10), add_number(BPF_REG_1, to),
                       move_number(BPF_REG_2, static_cast<int32_t>(size)), move_register(BPF_REG_3, base),
                       add_number(BPF_REG_3, static_cast<int32_t>(offset)), call_helper(BPF_FUNC_probe_read_kernel)});
}

void put_out(Code &code, int16_t from, uint32_t size) {
    append_code(code,
                {move_register(BPF_REG_1, BPF_REG_9), move_register(BPF_REG_2, BPF_REG_10), add_number(BPF_REG_2, from),
                 move_number(BPF_REG_3, static_cast<int32_t>(size)), call_helper(BPF_FUNC_seq_write)});
}

// To where the pointer at `offset` of what is in `base` leads: into r8.
void follow(Code &code, uint8_t base, uint32_t offset) {
    copy_in(code, base, offset, program_word, sizeof(uint64_t));
    append_code(code, {load_word(BPF_REG_8, BPF_REG_10, program_word)});
}

// The iterator calls the program once for the task, and once without one at the end.
Result<Fd> load_program(const KernelTypes &types, const Code &body) {
    Code code = {load_word(BPF_REG_7, BPF_REG_1, offset_of_task),
                 instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_7, 0, static_cast<int16_t>(body.size() + 2), 0),
                 load_word(BPF_REG_9, BPF_REG_1, 0),  // struct bpf_iter_meta
                 load_word(BPF_REG_9, BPF_REG_9, 0)}; // its struct seq_file
    code.insert(code.end(), body.begin(), body.end());
    append_code(code, {move_number(BPF_REG_0, 0), instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)});
    bpf_attr attributes = {};
    attributes.prog_type = BPF_PROG_TYPE_TRACING;
    attributes.expected_attach_type = BPF_TRACE_ITER;
    attributes.attach_btf_id = TRY(types.function("bpf_iter_task"));
    attributes.insns = reinterpret_cast<uint64_t>(code.data());
    attributes.insn_cnt = static_cast<uint32_t>(code.size());
    attributes.license = reinterpret_cast<uint64_t>("GPL"); // what the kernel asks for; ours allows it
    Fd program(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
    if (!program)
        return fail(ENOTSUP, "the kernel does not let its tasks be read by BPF: {}", ::strerror(errno));
    return program;
}

} // namespace

Result<TaskReader> TaskReader::of_member(const KernelTypes &types, std::string_view member, uint32_t most) {
    const uint32_t structure = TRY(types.structure("task_struct"));
    const uint32_t offset = TRY(types.offset(structure, member));
    const uint32_t size = TRY(types.size(structure, member));
    if (size > std::min(most, program_chunk) || size < sizeof(uint64_t))
        return fail(ENOTSUP, "this kernel's {} has {} bytes", member, size);
    Code code;
    copy_in(code, BPF_REG_7, offset, program_buffer, size);
    put_out(code, program_buffer, size);
    return TaskReader(TRY(load_program(types, code)), size);
}

Result<TaskReader> TaskReader::of_stack(const KernelTypes &types) {
    const uint32_t structure = TRY(types.structure("task_struct"));
    Code code = {store_word(BPF_REG_10, program_word, BPF_REG_7)};
    put_out(code, program_word, sizeof(uint64_t));
    follow(code, BPF_REG_7, TRY(types.offset(structure, "thread.sp")));
    for (uint32_t at = 0; at < stack_bytes; at += program_chunk) {
        copy_in(code, BPF_REG_8, at, program_buffer, program_chunk);
        put_out(code, program_buffer, program_chunk);
    }
    return TaskReader(TRY(load_program(types, code)), sizeof(uint64_t) + stack_bytes);
}

Result<TaskReader> TaskReader::of_timers(const KernelTypes &types) {
    const uint32_t task = TRY(types.structure("task_struct"));
    const uint32_t process = TRY(types.structure("signal_struct"));
    const uint32_t timer = TRY(types.structure("k_itimer"));
    auto first = types.offset(process, "posix_timers.first");
    if (!first) // a list before Linux 6.3
        first = types.offset(process, "posix_timers.next");
    const uint32_t list = TRY(types.offset(timer, "list"));
    const auto in_timer = [&](std::string_view member) -> Result<uint32_t> {
        return TRY(types.offset(timer, member)) - list; // may be negative: it is added in 32 bits
    };
    const uint32_t id = TRY(in_timer("it_id")), overrun = TRY(in_timer("it_overrun"));
    Code code;
    follow(code, BPF_REG_7, TRY(types.offset(task, "signal")));
    follow(code, BPF_REG_8, TRY(std::move(first)));
    constexpr int16_t id_at = program_buffer, overrun_at = program_buffer + 8;
    for (size_t i = 0; i < most_timers; ++i) {
        append_code(code, {move_number(BPF_REG_1, 0), store_word(BPF_REG_10, id_at, BPF_REG_1)});
        copy_in(code, BPF_REG_8, id, id_at, sizeof(int32_t));
        copy_in(code, BPF_REG_8, overrun, overrun_at, sizeof(int64_t));
        put_out(code, id_at, timer_size);
        follow(code, BPF_REG_8, 0);
    }
    return TaskReader(TRY(load_program(types, code)), most_timers * timer_size);
}

Result<TaskReader> TaskReader::of_group(const KernelTypes &types, int fd) {
    const auto offset = [&types](std::string_view structure, std::string_view member) -> Result<uint32_t> {
        return types.offset(TRY(types.structure(structure)), member);
    };
    Code code;
    follow(code, BPF_REG_7, TRY(offset("task_struct", "files")));
    follow(code, BPF_REG_8, TRY(offset("files_struct", "fdt")));
    follow(code, BPF_REG_8, TRY(offset("fdtable", "fd")));
    follow(code, BPF_REG_8, static_cast<uint32_t>(fd) * sizeof(uint64_t));
    follow(code, BPF_REG_8, TRY(offset("file", "private_data")));
    copy_in(code, BPF_REG_8, TRY(offset("fsnotify_group", "fanotify_data.flags")), program_buffer, sizeof(uint32_t));
    follow(code, BPF_REG_8, TRY(offset("fsnotify_group", "fanotify_data.ucounts")));
    copy_in(code, BPF_REG_8, TRY(offset("ucounts", "uid")), program_buffer + 4, sizeof(uint32_t));
    put_out(code, program_buffer, group_size);
    return TaskReader(TRY(load_program(types, code)), group_size);
}

Result<std::string> TaskReader::read(int tid) const {
    bpf_iter_link_info task = {};
    task.task.tid = static_cast<uint32_t>(tid);
    bpf_attr attributes = {};
    attributes.link_create.prog_fd = static_cast<uint32_t>(program_.get());
    attributes.link_create.attach_type = BPF_TRACE_ITER;
    attributes.link_create.iter_info = reinterpret_cast<uint64_t>(&task);
    attributes.link_create.iter_info_len = sizeof task;
    const Fd link(static_cast<int>(bpf(BPF_LINK_CREATE, attributes)));
    if (!link)
        return fail(errno, "cannot look at thread {} by BPF", tid);
    attributes = {};
    attributes.iter_create.link_fd = static_cast<uint32_t>(link.get());
    const Fd iterator(static_cast<int>(bpf(BPF_ITER_CREATE, attributes)));
    std::string bytes(size_, '\0');
    const ssize_t size = iterator ? ::read(iterator.get(), bytes.data(), bytes.size()) : -1;
    if (size != static_cast<ssize_t>(bytes.size()))
        return fail(size < 0 ? errno : ESRCH, "cannot look at thread {} by BPF", tid);
    return bytes;
}

} // namespace abey::os
