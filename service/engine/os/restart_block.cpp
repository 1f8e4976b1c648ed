// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/restart_block.h"

#include "engine/os/kernel_types.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace abey::os {

namespace {

constexpr uint32_t largest_block = 128;
constexpr int16_t buffer = -static_cast<int16_t>(largest_block); // on the program's stack
constexpr int32_t offset_of_task = 8;                            // struct bpf_iter__task: meta, task

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
bpf_insn load(uint8_t to, uint8_t from, int16_t offset) {
    return instruction(BPF_LDX | BPF_MEM | BPF_DW, to, from, offset, 0);
}
bpf_insn move(uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
bpf_insn move_number(uint8_t to, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
bpf_insn add(uint8_t to, int32_t value) { return instruction(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value); }
bpf_insn call(int32_t function) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, function); }

// Called once for the task, and once without one at the end: the block's bytes into the iterator's output.
Result<Fd> load_program(uint32_t iterator, uint32_t block, uint32_t size) {
    const std::array<bpf_insn, 17> code = {
        move(BPF_REG_6, BPF_REG_1),
        load(BPF_REG_7, BPF_REG_6, offset_of_task),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_7, 0, 12, 0),
        move(BPF_REG_1, BPF_REG_10),
        add(BPF_REG_1, buffer),
        move_number(BPF_REG_2, static_cast<int32_t>(size)),
        move(BPF_REG_3, BPF_REG_7),
        add(BPF_REG_3, static_cast<int32_t>(block)),
        call(BPF_FUNC_probe_read_kernel),
        load(BPF_REG_1, BPF_REG_6, 0), // struct bpf_iter_meta
        load(BPF_REG_1, BPF_REG_1, 0), // its struct seq_file
        move(BPF_REG_2, BPF_REG_10),
        add(BPF_REG_2, buffer),
        move_number(BPF_REG_3, static_cast<int32_t>(size)),
        call(BPF_FUNC_seq_write),
        move_number(BPF_REG_0, 0),
        instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
    bpf_attr attributes = {};
    attributes.prog_type = BPF_PROG_TYPE_TRACING;
    attributes.expected_attach_type = BPF_TRACE_ITER;
    attributes.attach_btf_id = iterator;
    attributes.insns = reinterpret_cast<uint64_t>(code.data());
    attributes.insn_cnt = code.size();
    attributes.license = reinterpret_cast<uint64_t>("GPL"); // what the kernel asks for; ours allows it
    Fd program(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
    if (!program)
        return fail(ENOTSUP, "the kernel does not let its tasks be read by BPF: {}", ::strerror(errno));
    return program;
}

} // namespace

Result<RestartBlocks> RestartBlocks::open() {
    const KernelTypes types = TRY(KernelTypes::read());
    const uint32_t structure = TRY(types.structure("task_struct"));
    const uint32_t block = TRY(types.offset(structure, "restart_block"));
    const uint32_t size = TRY(types.size(structure, "restart_block"));
    if (size > largest_block || size < sizeof(uint64_t))
        return fail(ENOTSUP, "this kernel's restart_block has {} bytes", size);
    const auto in_block = [&](std::string_view name) -> Result<uint32_t> {
        const uint32_t offset = TRY(types.offset(structure, fmt::format("restart_block.{}", name))) - block;
        if (offset + sizeof(uint64_t) > size && offset + sizeof(uint32_t) > size)
            return fail(ENOTSUP, "this kernel's restart_block is not as expected");
        return offset;
    };
    Offsets offsets = {};
    offsets.futex_address = TRY(in_block("futex.uaddr"));
    offsets.futex_value = TRY(in_block("futex.val"));
    offsets.futex_end = TRY(in_block("futex.time"));
    offsets.sleep_clock = TRY(in_block("nanosleep.clockid"));
    offsets.sleep_address = TRY(in_block("nanosleep.rmtp"));
    offsets.sleep_end = TRY(in_block("nanosleep.expires"));
    offsets.poll_address = TRY(in_block("poll.ufds"));
    offsets.poll_count = TRY(in_block("poll.nfds"));
    offsets.poll_has_end = TRY(in_block("poll.has_timeout"));
    if (const auto seconds = in_block("poll.tv_sec")) {
        offsets.poll_seconds = *seconds;
        offsets.poll_nanoseconds = TRY(in_block("poll.tv_nsec"));
    } else { // newer kernels: a struct timespec64
        offsets.poll_seconds = TRY(in_block("poll.end_time"));
        offsets.poll_nanoseconds = offsets.poll_seconds + sizeof(int64_t);
    }
    const uint32_t iterator = TRY(types.function("bpf_iter_task"));
    return RestartBlocks(TRY(load_program(iterator, block, size)), offsets);
}

Result<RestartBlock> RestartBlocks::of(int tid) const {
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
    std::array<char, 2 *largest_block> bytes = {};
    const ssize_t size = iterator ? ::read(iterator.get(), bytes.data(), bytes.size()) : -1;
    if (size <= 0)
        return fail(size < 0 ? errno : ESRCH, "cannot look at thread {} by BPF", tid);
    const auto take = [&](uint32_t offset, auto &value) {
        if (offset + sizeof value <= static_cast<size_t>(size))
            std::memcpy(&value, bytes.data() + offset, sizeof value);
    };
    RestartBlock block;
    int32_t has_end = 0;
    take(offsets_.futex_address, block.futex_address);
    take(offsets_.futex_value, block.futex_value);
    take(offsets_.futex_end, block.futex_end);
    take(offsets_.sleep_clock, block.sleep_clock);
    take(offsets_.sleep_address, block.sleep_address);
    take(offsets_.sleep_end, block.sleep_end);
    take(offsets_.poll_address, block.poll_address);
    take(offsets_.poll_count, block.poll_count);
    take(offsets_.poll_has_end, has_end);
    take(offsets_.poll_seconds, block.poll_seconds);
    take(offsets_.poll_nanoseconds, block.poll_nanoseconds);
    block.poll_has_end = has_end != 0;
    return block;
}

} // namespace abey::os
