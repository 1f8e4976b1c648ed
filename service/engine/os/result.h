// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Errors by value. Every function that can fail for a reason outside the program returns Result<T>.
//
//  1. Fail where the cause is known, naming the thing, what was wanted and what the user can do:
//         return fail(errno, "process {} ({}): cannot seize it for the checkpoint", pid, comm);
//  2. Hand a failure on, adding what only the caller knows (the outermost context is printed first):
//         auto fd = TRY_IN(open_at(dir, name), "checkpoint {}", id);
//  3. Decide, where a decision belongs:
//         if (auto r = f(); !r) log(r.error().message());
#pragma once

#include <algorithm>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace abey {

// An errno (0 when the cause is not a system call) and a chain of context, the outermost part first. One pointer in
// size: every function hands it through.
class Error {
  public:
    Error(int code, std::string what);
    Error(Error &&other) noexcept : cause_(std::exchange(other.cause_, nullptr)) {}
    Error &operator=(Error &&other) noexcept {
        std::swap(cause_, other.cause_);
        return *this;
    }
    Error(const Error &other);
    Error &operator=(const Error &other);
    ~Error() {
        if (cause_ != nullptr)
            forget(cause_);
    }

    // errno value of the cause, 0 when none.
    [[nodiscard]] int code() const;

    // One line: "outer: inner: what happened: strerror".
    [[nodiscard]] std::string message() const;

    // Adds context, unless that is how the message begins already: what was told where it happened is not said twice.
    Error within(std::string_view outer) &&;

  private:
    struct Cause;
    static void forget(Cause *cause) noexcept;

    Cause *cause_;
};

template <class T = void> using Result = std::expected<T, Error>;

// Compiled once: the two templates below are used thousands of times.
std::unexpected<Error> fail_with(int code, fmt::string_view format, fmt::format_args values);
std::unexpected<Error> fail_within(Error error, fmt::string_view format, fmt::format_args values);

// A failure with an errno (or 0) and a formatted reason.
template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(int code, fmt::format_string<Args...> format, Args &&...args) {
    return fail_with(code, format, fmt::make_format_args(args...));
}

// The same failure, seen from further out.
template <class... Args>
[[nodiscard]] std::unexpected<Error> within(Error error, fmt::format_string<Args...> format, Args &&...args) {
    return fail_within(std::move(error), format, fmt::make_format_args(args...));
}

} // namespace abey

// The value of a Result, or return its error from the enclosing function.
#define TRY(...)                                                                                                       \
    __extension__({                                                                                                    \
        auto try_result_ = (__VA_ARGS__);                                                                              \
        if (!try_result_)                                                                                              \
            return std::unexpected(std::move(try_result_.error()));                                                    \
        *std::move(try_result_);                                                                                       \
    })

// The same, with context added to the error: TRY_IN(open_at(dir, name), "checkpoint {}", id).
#define TRY_IN(expression, ...)                                                                                        \
    __extension__({                                                                                                    \
        auto try_result_ = (expression);                                                                               \
        if (!try_result_)                                                                                              \
            return ::abey::within(std::move(try_result_.error()), __VA_ARGS__);                                        \
        *std::move(try_result_);                                                                                       \
    })
