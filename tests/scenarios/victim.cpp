// SPDX-License-Identifier: LGPL-2.1-or-later
// What the engine is killed over and refused for: two processes that must not notice. It counts in DIRECTORY/count,
// computes in vector registers without a pause, and fills as many MiB of memory as it is told (second argument). A
// third, io_uring, packets, dispatch, fdinfo, asked, events, tun or segment, makes it hold such a ring, have its system
// calls handed to itself, hold what proc(5) tells of a descriptor, be asked before a file is opened, have unread events
// of files, have a network device of its own, or share a System V segment with its child in another ipc namespace.
#include "scenario.h"

#include <atomic>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace {

std::atomic<bool> stop = false;
std::atomic<long> rounds = 0;

// One step of each lane is undone by the next: a register that was lost or mixed up shows at once.
void *compute(void *) {
    constexpr int lanes = 8;
    double value[lanes];
    for (int i = 0; i < lanes; ++i)
        value[i] = 1.0 + i;
    while (!stop) {
        for (int step = 0; step < 100000; ++step)
            for (int i = 0; i < lanes; ++i)
                value[i] = step % 2 == 0 ? value[i] * 4.0 : value[i] / 4.0;
        for (int i = 0; i < lanes; ++i)
            EQUAL(1.0 + i, value[i]);
        ++rounds;
    }
    return nullptr;
}

// A ring of io_uring(7), mapped, with its descriptor closed.
void map_io_uring() {
    char parameters[120] = {}; // struct io_uring_params
    const int fd = static_cast<int>(SYS(::syscall(425 /* io_uring_setup */, 4, parameters)));
    SYS(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    SYS(::close(fd));
}

// A ring of a packet(7) socket, mapped.
void map_packet_ring() {
    const int fd = SYS(::socket(AF_PACKET, SOCK_RAW, 0));
    const tpacket_req ring = {.tp_block_size = 4096, .tp_block_nr = 2, .tp_frame_size = 1024, .tp_frame_nr = 8};
    SYS(::setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring));
    SYS(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
}

// Files of fanotify(7): one whose opening it would have to allow, or one whose opening it has not read about.
void watch_file(unsigned kind, unsigned long long event) {
    scenario::write_file(scenario::path("watched"), "");
    const int group = SYS(::fanotify_init(kind | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY));
    SYS(::fanotify_mark(group, FAN_MARK_ADD, event, AT_FDCWD, scenario::path("watched").c_str()));
    if (kind == FAN_CLASS_NOTIF)
        SYS(::close(SYS(::open(scenario::path("watched").c_str(), O_RDONLY))));
}

void make_network_device() {
    const int fd = SYS(::open("/dev/net/tun", O_RDWR));
    ifreq request = {};
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    SYS(::ioctl(fd, TUNSETIFF, &request));
}

// prctl(2), PR_SET_SYSCALL_USER_DISPATCH: as emulators do; none is handed over as long as this byte is 0.
char handed_over = 0;

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const std::size_t size = (argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1) << 20;
    auto *memory =
        static_cast<unsigned *>(SYS(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    for (std::size_t i = 0; i < size / 4096; ++i)
        memory[i * 1024] = static_cast<unsigned>(i * 2654435761U + 1);
    auto *count = static_cast<std::atomic<long> *>(
        SYS(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)));
    if (argc > 3 && std::string_view(argv[3]) == "io_uring")
        map_io_uring();
    if (argc > 3 && std::string_view(argv[3]) == "packets")
        map_packet_ring();
    if (argc > 3 && std::string_view(argv[3]) == "dispatch")
        SYS(::prctl(59, 1, 0, 0, &handed_over));
    if (argc > 3 && std::string_view(argv[3]) == "fdinfo")
        SYS(::open("/proc/self/fdinfo/0", O_RDONLY));
    if (argc > 3 && std::string_view(argv[3]) == "asked")
        watch_file(FAN_CLASS_CONTENT, FAN_OPEN_PERM);
    if (argc > 3 && std::string_view(argv[3]) == "events")
        watch_file(FAN_CLASS_NOTIF, FAN_OPEN);
    if (argc > 3 && std::string_view(argv[3]) == "tun")
        make_network_device();
    const bool has_segment = argc > 3 && std::string_view(argv[3]) == "segment";
    if (has_segment)
        CHECK(::shmat(SYS(::shmget(IPC_PRIVATE, 4096, 0600)), nullptr, 0) != reinterpret_cast<void *>(-1));
    int ends[2];
    SYS(::pipe(ends));
    const pid_t child = scenario::fork_child();
    if (child == 0) {
        if (has_segment)
            SYS(::unshare(CLONE_NEWIPC));
        char byte = 0;
        while (::read(ends[0], &byte, 1) == 1 && byte == 'n')
            count->fetch_add(1);
        ::_exit(byte == 'e' ? 0 : 1);
    }
    pthread_t thread = {};
    EQUAL(0, pthread_create(&thread, nullptr, compute, nullptr));
    scenario::ready();
    long sent = 0;
    while (!scenario::told(5)) {
        EQUAL(1, ::write(ends[1], "n", 1));
        ++sent;
        scenario::write_file(scenario::path("count"), std::to_string(sent) + "\n");
    }
    const long before = rounds;
    for (int i = 0; i < 1000 && rounds == before; ++i)
        ::usleep(5000);
    CHECK(rounds > before);
    stop = true;
    EQUAL(0, pthread_join(thread, nullptr));
    EQUAL(1, ::write(ends[1], "e", 1));
    EQUAL(0, scenario::exit_status(child));
    EQUAL(sent, count->load());
    for (std::size_t i = 0; i < size / 4096; ++i)
        EQUAL(static_cast<unsigned>(i * 2654435761U + 1), memory[i * 1024]);
    scenario::pass();
}
