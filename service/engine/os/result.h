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

// An errno (0 when the cause is not a system call) and a chain of context, the outermost part first.
class Error {
  public:
    Error(int code, std::string what) : code_(code), what_(std::move(what)) {}

    // errno value of the cause, 0 when none.
    [[nodiscard]] int code() const { return code_; }

    // One line: "outer: inner: what happened: strerror".
    [[nodiscard]] std::string message() const;

    // Adds context, unless that is how the message begins already: what was told where it happened is not said twice.
    Error within(std::string_view outer) && {
        const std::string_view rest = std::string_view(what_).substr(std::min(outer.size(), what_.size()));
        const bool said = what_.starts_with(outer) && (rest.empty() || rest.front() == ':' || rest.front() == ',');
        if (!said)
            what_ = fmt::format("{}: {}", outer, what_);
        return std::move(*this);
    }

  private:
    int code_;
    std::string what_;
};

template <class T = void> using Result = std::expected<T, Error>;

// A failure with an errno (or 0) and a formatted reason.
template <class... Args>
[[nodiscard]] std::unexpected<Error> fail(int code, fmt::format_string<Args...> format, Args &&...args) {
    return std::unexpected<Error>(Error(code, fmt::format(format, std::forward<Args>(args)...)));
}

// The same failure, seen from further out.
template <class... Args>
[[nodiscard]] std::unexpected<Error> within(Error error, fmt::format_string<Args...> format, Args &&...args) {
    return std::unexpected<Error>(std::move(error).within(fmt::format(format, std::forward<Args>(args)...)));
}

} // namespace abey

// The value of a Result, or return its error from the enclosing function.
#define TRY(...)                                                                                                       \
    __extension__({                                                                                                    \
        auto try_result_ = (__VA_ARGS__);                                                                              \
        if (!try_result_)                                                                                              \
            return std::unexpected(std::move(try_result_).error());                                                    \
        std::move(try_result_).value();                                                                                \
    })

// The same, with context added to the error: TRY_IN(open_at(dir, name), "checkpoint {}", id).
#define TRY_IN(expression, ...)                                                                                        \
    __extension__({                                                                                                    \
        auto try_result_ = (expression);                                                                               \
        if (!try_result_)                                                                                              \
            return ::abey::within(std::move(try_result_).error(), __VA_ARGS__);                                        \
        std::move(try_result_).value();                                                                                \
    })
