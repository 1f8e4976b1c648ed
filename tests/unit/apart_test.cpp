// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/apart.h"
#include "engine/files.h"
#include "kinds_fixture.h"

#include <cstdarg>
#include <thread>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

// The thread that the kernel is to say it of; few kernels and machines can have one.
int sharing_thread = 0; // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

} // namespace

// In the place of the C library's, for the code that is tested here, too.
extern "C" int prctl(int option, ...) noexcept { // NOLINT(cert-dcl50-cpp): it has this type
    va_list rest;
    va_start(rest, option);
    unsigned long values[4];
    for (unsigned long &value : values)
        value = va_arg(rest, unsigned long);
    va_end(rest);
    if (option == PR_SCHED_CORE && values[0] == PR_SCHED_CORE_GET && sharing_thread != 0) {
        *reinterpret_cast<uint64_t *>(values[3]) = static_cast<int>(values[1]) == sharing_thread ? 4711 : 0;
        return 0;
    }
    return static_cast<int>(::syscall(SYS_prctl, option, values[0], values[1], values[2], values[3]));
}

using namespace abey;
using namespace abey::test;
using namespace std::string_literals;

namespace {

TEST(Confinement, IsNotLost) {
    using capture::lost_confinement;
    EXPECT_EQ(lost_confinement("", ""), "");
    EXPECT_EQ(lost_confinement("unconfined\n", "abey-worker (enforce)\n"), "") << "who had none gets none";
    EXPECT_EQ(lost_confinement("system_u:system_r:init_t:s0\0"s, "system_u:system_r:init_t:s0\n"), "") << "it is ours";
    EXPECT_NE(lost_confinement("/usr/bin/man (enforce)\n", "unconfined\n").find("\"/usr/bin/man (enforce)\""),
              std::string::npos);
    EXPECT_NE(lost_confinement("user_u:user_r:user_t:s0\0"s, ""), "");
}

class Apart : public Kinds {
  protected:
    // What is said of a process one of whose threads has called unshare(2) with these flags.
    std::vector<capture::Finding> findings_of_thread(int flags) {
        const Child child([flags] {
            std::thread([flags] {
                if (flags != 0)
                    must_call(::unshare(flags), "unshare");
                ::raise(SIGSTOP); // all of the process
                for (;;)
                    ::pause();
            }).detach();
            for (;;) // the thread stops us
                ::pause();
        });
        EXPECT_FALSE(child.failed());
        capture::Context context(tree_, files_, true);
        capture::check_apart(context, must(os::read_stat(child.pid())));
        return std::move(context.findings);
    }
};

TEST_F(Apart, ThreadsWithTablesOfTheirOwnAreRefused) {
    EXPECT_TRUE(findings_of_thread(0).empty());
    for (const int flag : {CLONE_FILES, CLONE_FS}) {
        const auto findings = findings_of_thread(flag);
        ASSERT_EQ(findings.size(), 1U) << flag;
        EXPECT_TRUE(findings[0].fatal);
        EXPECT_NE(findings[0].reason.find(flag == CLONE_FILES ? "descriptors" : "umask"), std::string::npos);
    }
}

TEST_F(Apart, SharedCoresAreTold) {
    const Child child([] {});
    ASSERT_FALSE(child.failed());
    const auto findings = [&] {
        capture::Context context(tree_, files_, true);
        capture::check_apart(context, must(os::read_stat(child.pid())));
        return std::move(context.findings);
    };
    sharing_thread = ::gettid();
    EXPECT_TRUE(findings().empty());
    sharing_thread = child.pid();
    const auto told = findings();
    sharing_thread = 0;
    ASSERT_EQ(told.size(), 1U);
    EXPECT_FALSE(told[0].fatal);
    EXPECT_NE(told[0].reason.find("PR_SCHED_CORE"), std::string::npos);
    EXPECT_EQ(told[0].pid, child.pid());
}

} // namespace
