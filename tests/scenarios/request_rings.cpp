// SPDX-License-Identifier: LGPL-2.1-or-later
// Native asynchronous I/O: contexts moved to another place, with events that were not fetched, in the middle of a ring.
#include "scenario.h"

#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>

using namespace scenario;

namespace {

struct Header { // struct aio_ring of the kernel
    unsigned id, count, head, tail, magic, compatible, incompatible, length;
};

aio_context_t set_up(unsigned requests) {
    aio_context_t context = 0;
    SYS(::syscall(SYS_io_setup, requests, &context));
    return context;
}

Header header(aio_context_t context) {
    Header now = {};
    std::memcpy(&now, reinterpret_cast<const void *>(context), sizeof now); // NOLINT: the kernel's memory
    return now;
}

void submit(aio_context_t context, int fd, int opcode, void *memory, size_t size, long offset, unsigned long data) {
    iocb request = {};
    request.aio_data = data;
    request.aio_lio_opcode = static_cast<unsigned short>(opcode);
    request.aio_fildes = static_cast<unsigned>(fd);
    request.aio_buf = reinterpret_cast<unsigned long>(memory);
    request.aio_nbytes = size;
    request.aio_offset = offset;
    iocb *list[] = {&request};
    EQUAL(1, SYS(::syscall(SYS_io_submit, context, 1, list)));
}

// Fetches one event and compares it.
void fetched(aio_context_t context, unsigned long data, long result) {
    io_event event = {};
    EQUAL(1, SYS(::syscall(SYS_io_getevents, context, 1, 1, &event, nullptr)));
    EQUAL(data, event.data);
    EQUAL(result, event.res);
}

void nothing_left(aio_context_t context) {
    io_event event = {};
    EQUAL(0, SYS(::syscall(SYS_io_getevents, context, 0, 1, &event, nullptr)));
}

} // namespace

int main(int argc, char **argv) {
    begin(argc, argv);
    const int fd = SYS(::open(path("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    char text[] = "asynchronous";
    char answer[sizeof text] = {};

    const aio_context_t untouched = set_up(1);
    const aio_context_t first = set_up(1);
    submit(first, fd, IOCB_CMD_PWRITE, text, sizeof text, 0, 1);
    submit(first, fd, IOCB_CMD_PREAD, answer, 5, 0, 2);
    submit(first, fd, IOCB_CMD_PREAD, answer, sizeof answer, 1000, 3);

    // Larger, moved, and turned past its end
    aio_context_t second = set_up(300);
    const unsigned count = header(second).count;
    CHECK(count > 127);
    const size_t size = 32 + size_t{count} * 32;
    void *place = SYS(::mmap(nullptr, size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SYS(::syscall(SYS_mremap, second, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place));
    second = reinterpret_cast<aio_context_t>(place);
    for (unsigned i = 0; i < count - 1; ++i) {
        submit(second, fd, IOCB_CMD_PREAD, answer, 1, 0, i);
        fetched(second, i, 1);
    }
    submit(second, fd, IOCB_CMD_PREAD, answer, 2, 0, 71);
    submit(second, fd, IOCB_CMD_PREAD, answer, 3, 0, 72);
    const Header before = header(second);
    EQUAL(count - 1, before.head);
    EQUAL(1U, before.tail);

    ready();
    wait();
    nothing_left(untouched);
    submit(untouched, fd, IOCB_CMD_PREAD, answer, 4, 0, 4);
    fetched(untouched, 4, 4);
    fetched(first, 1, sizeof text);
    fetched(first, 2, 5);
    fetched(first, 3, 0);
    nothing_left(first);
    const Header after = header(second);
    EQUAL(before.count, after.count);
    EQUAL(before.head, after.head);
    EQUAL(before.tail, after.tail);
    submit(second, fd, IOCB_CMD_PREAD, answer, sizeof answer, 0, 73);
    fetched(second, 71, 2);
    fetched(second, 72, 3);
    fetched(second, 73, sizeof answer);
    nothing_left(second);
    EQUAL(std::string(text), std::string(answer));
    SYS(::syscall(SYS_io_destroy, second));
    SYS(::syscall(SYS_io_destroy, first));
    pass();
}
