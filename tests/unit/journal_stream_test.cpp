// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/journal_stream.h"

#include <gtest/gtest.h>

namespace abey::capture {
namespace {

TEST(JournalStream, BeginsAsItDid) {
    EXPECT_EQ(journal_greeting_from("# This is private data. Do not parse.\nPRIORITY=3\nLEVEL_PREFIX=1\n"
                                    "FORWARD_TO_SYSLOG=0\nFORWARD_TO_KMSG=1\nFORWARD_TO_CONSOLE=0\nSTREAM_ID=57\n"
                                    "IDENTIFIER=my teller\n",
                                    "python3"),
              "my teller\n\n3\n1\n0\n1\n0\n");
}

TEST(JournalStream, IsLabelledWithTheProgramWhenNothingElseIsKnown) {
    EXPECT_EQ(journal_greeting_from("", "python3"), "python3\n\n6\n0\n0\n0\n0\n");
    EXPECT_EQ(journal_greeting_from("PRIORITY=9\nIDENTIFIER=with\\nescape\n", "sh"), "sh\n\n6\n0\n0\n0\n0\n");
    EXPECT_EQ(journal_greeting_from("XIDENTIFIER=no\nIDENTIFIER", "sh"), "sh\n\n6\n0\n0\n0\n0\n");
}

} // namespace
} // namespace abey::capture
