// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/os/result.h"

#include "engine/os/cause.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace abey {

struct Error::Cause {
    int code = 0;
    std::string what;
};

Error::Error(int code, std::string what) : cause_(new Cause{code, std::move(what)}) {}

Error::Error(const Error &other) : cause_(other.cause_ != nullptr ? new Cause(*other.cause_) : nullptr) {}

Error &Error::operator=(const Error &other) {
    if (this != &other)
        *this = Error(other);
    return *this;
}

void Error::forget(Cause *cause) noexcept { delete cause; }

int Error::code() const { return cause_ != nullptr ? cause_->code : 0; }

std::string Error::message() const {
    if (cause_ == nullptr)
        return {};
    if (cause_->code == 0 || cause_->code >= cause::first)
        return cause_->what;
    const std::string_view advice =
        cause_->code == EMFILE ? " (raise the limit: ulimit -n, LimitNOFILE= of the unit)" : "";
    return fmt::format("{}: {}{}", cause_->what, std::generic_category().message(cause_->code), advice);
}

Error Error::within(std::string_view outer) && {
    if (cause_ == nullptr)
        return {0, std::string(outer)};
    std::string &what = cause_->what;
    const std::string_view rest = std::string_view(what).substr(std::min(outer.size(), what.size()));
    const bool said = what.starts_with(outer) && (rest.empty() || rest.front() == ':' || rest.front() == ',');
    if (!said)
        what = fmt::format("{}: {}", outer, what);
    return std::move(*this);
}

std::unexpected<Error> fail_with(int code, fmt::string_view format, fmt::format_args values) {
    return std::unexpected<Error>(Error(code, fmt::vformat(format, values)));
}

std::unexpected<Error> fail_within(Error error, fmt::string_view format, fmt::format_args values) {
    return std::unexpected<Error>(std::move(error).within(fmt::vformat(format, values)));
}

} // namespace abey
