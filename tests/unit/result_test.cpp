// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/result.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace abey {
namespace {

Result<int> inner(int code) {
    if (code != 0)
        return fail(code, "cannot open {}", "x");
    return 7;
}

Result<int> outer(int code) { return TRY_IN(inner(code), "checkpoint {}", 3) + 1; }

TEST(Result, ContextComesBeforeTheCauseAndErrnoLast) {
    auto result = outer(ENOENT);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), ENOENT);
    EXPECT_EQ(result.error().message(), "checkpoint 3: cannot open x: No such file or directory");
}

TEST(Result, ContextIsNotSaidTwice) {
    const auto seen = [](const char *what, const char *outer) { return Error(0, what).within(outer).message(); };
    EXPECT_EQ(seen("process 5 (sh), descriptor 3: no", "process 5 (sh)"), "process 5 (sh), descriptor 3: no");
    EXPECT_EQ(seen("process 5 (sh): no", "process 5 (sh)"), "process 5 (sh): no");
    EXPECT_EQ(seen("process 5 (sh)", "process 5 (sh)"), "process 5 (sh)");
    EXPECT_EQ(seen("process 55: no", "process 5"), "process 5: process 55: no");
    EXPECT_EQ(seen("no", "process 5"), "process 5: no");
}

TEST(Result, AnErrorIsCopiedAndMovedWhole) {
    Error first(ENOENT, "first"), second(0, "second");
    const Error copy = first;
    second = copy;
    EXPECT_EQ(second.message(), first.message());
    second = std::move(first);
    EXPECT_EQ(second.code(), ENOENT);
    const Error &itself = second;
    second = itself;
    EXPECT_EQ(second.message(), copy.message());
    EXPECT_EQ(Error(EMFILE, "x").message(),
              "x: Too many open files (raise the limit: ulimit -n, LimitNOFILE= of the unit)");
}

TEST(Result, ValuePassesThrough) { EXPECT_EQ(outer(0).value(), 8); }

} // namespace
} // namespace abey
