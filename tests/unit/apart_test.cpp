// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/apart.h"
#include "engine/files.h"
#include "kinds_fixture.h"

#include <thread>

#include <sched.h>

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

} // namespace
