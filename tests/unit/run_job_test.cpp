// SPDX-License-Identifier: LGPL-2.1-or-later
#include "session/keeper/run_job.h"

#include <gtest/gtest.h>

namespace abey::session {
namespace {

using Variables = std::vector<std::string>;

Variables merged(const Variables &from_pam, const Variables &from_caller, const Variables &of_account) {
    job::Job job;
    job.environment = from_caller;
    return environment_of(job, from_pam, of_account);
}

TEST(RunEnvironment, IsPamsBeforeTheCallersBeforeTheAccounts) {
    EXPECT_EQ(merged({"XDG_SESSION_ID=7"}, {"XDG_SESSION_ID=3", "TERM=xterm"}, {"TERM=linux", "HOME=/home/ada"}),
              (Variables{"XDG_SESSION_ID=7", "TERM=xterm", "HOME=/home/ada"}));
}

TEST(RunEnvironment, HasEachNameOnceAndWhole) {
    EXPECT_EQ(merged({}, {"A=1", "AB=2", "A=3", "EMPTY=", "LIST=x=y"}, {"EMPTY=full"}),
              (Variables{"A=1", "AB=2", "EMPTY=", "LIST=x=y"}));
}

TEST(RunEnvironment, LeavesOutWhatIsNoVariable) {
    EXPECT_EQ(merged({"PAM"}, {"", "=x", "NOTHING", "B=1"}, {}), (Variables{"B=1"}));
}

// Of a user that the database does not have.
TEST(RunCommand, OfAnUnknownUserIsRefused) {
    job::Job job;
    job.uid = 4294967294U - 77;
    const auto started = start_command(job, {});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ENOENT);
}

} // namespace
} // namespace abey::session
