// SPDX-License-Identifier: LGPL-2.1-or-later
// User and group ids, groups, capabilities, securebits, no_new_privs.
#include "scenario.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

std::string all() {
    std::string text;
    for (const char *name : {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"})
        text += std::string(name) + scenario::status_line(name) + "; ";
    return text;
}

} // namespace

int main(int argc, char **argv) {
    scenario::begin(argc, argv);
    const gid_t groups[] = {4, 20, 70000};
    SYS(::setgroups(3, groups));
    SYS(::prctl(PR_CAPBSET_DROP, CAP_SYS_TIME));
    SYS(::prctl(PR_SET_SECUREBITS, 0x10 /* SECBIT_KEEP_CAPS */));
    SYS(::setresgid(1001, 1002, 1003));
    SYS(::setresuid(2001, 2002, 2003));
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const unsigned permitted = 1U << CAP_CHOWN | 1U << CAP_NET_RAW;
    const __user_cap_data_struct data[2] = {{1U << CAP_CHOWN, permitted, 1U << CAP_NET_RAW}, {0, 0, 0}};
    SYS(::syscall(SYS_capset, &header, data));
    SYS(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
    SYS(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    const std::string before = all();
    const int securebits = SYS(::prctl(PR_GET_SECUREBITS));
    scenario::ready();
    scenario::wait();
    EQUAL(before, all());
    EQUAL(securebits, ::prctl(PR_GET_SECUREBITS));
    EQUAL(2002, ::geteuid());
    uid_t real = 0;
    uid_t effective = 0;
    uid_t saved = 0;
    SYS(::getresuid(&real, &effective, &saved));
    EQUAL(2001, real);
    EQUAL(2003, saved);
    EQUAL(-1, ::setuid(0));
    EQUAL(EPERM, errno);
    scenario::pass();
}
