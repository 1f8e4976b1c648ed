// SPDX-License-Identifier: LGPL-2.1-or-later
#include "transfer/stream.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <poll.h>

namespace abey::transfer {
namespace {

constexpr size_t line_limit = 64;
constexpr uint64_t record_limit = 1ULL << 50U; // bytes
constexpr const char *broken = "this is no whole stream of `abeyctl export`";

Result<> go_on_unless(const Fd &stop) {
    pollfd stopped = {.fd = stop.get(), .events = POLLIN, .revents = 0};
    return ::poll(&stopped, 1, 0) > 0 ? fail(ECANCELED, "it was stopped, and nothing of it is kept") : Result<>();
}

} // namespace

void Running::add(std::string_view data) {
    while (!data.empty()) {
        const auto part = data.substr(0, image::block_size - block_.size());
        block_ += part;
        data.remove_prefix(part.size());
        if (block_.size() == image::block_size) {
            digests_.push_back(image::digest(std::as_bytes(std::span(block_))));
            block_.clear();
        }
    }
}

std::string Running::finish() {
    if (!block_.empty())
        digests_.push_back(image::digest(std::as_bytes(std::span(block_))));
    block_.clear();
    return image::to_hex(image::combine(digests_));
}

Result<> Writer::write(std::string_view data) {
    TRY(go_on_unless(stop_));
    TRY_IN(write_all(out_, data), "the stream");
    digest_.add(data);
    if (passed_)
        passed_(data.size());
    return {};
}

Result<> Writer::begin() { return write(first_line); }

Result<> Writer::record(std::string_view name, std::string_view data) {
    TRY(write(fmt::format("{} {}\n", name, data.size())));
    return write(data);
}

Result<> Writer::file(std::string_view name, const Fd &from, uint64_t size) {
    TRY(write(fmt::format("{} {}\n", name, size)));
    std::string buffer;
    for (uint64_t at = 0; at < size; at += buffer.size()) {
        buffer.resize(std::min<uint64_t>(piece_size, size - at));
        TRY(read_at(from, std::as_writable_bytes(std::span(buffer)), at));
        TRY(write(buffer));
    }
    return {};
}

Result<> Writer::end() {
    const auto digest = digest_.finish();
    return write(fmt::format("end {}\n{}", digest.size(), digest));
}

Result<> Reader::begin() {
    std::string first;
    const auto taken = pass(first_line.size(), [&](std::string_view piece) -> Result<> {
        first += piece;
        return {};
    });
    if (!taken && taken.error().code() == ECANCELED)
        return taken;
    if (!taken || first != first_line)
        return fail(EINVAL, "{}, or one of another version", broken);
    return {};
}

Result<> Reader::wait(bool for_more) const {
    // poll(2) passes over a descriptor of -1
    std::array<pollfd, 2> ready = {{{for_more ? in_.get() : -1, POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    int found = 0;
    do
        found = ::poll(ready.data(), ready.size(), for_more ? -1 : 0);
    while (found < 0 && errno == EINTR);
    if (found < 0)
        return fail(errno, "cannot wait for the stream");
    if (ready.back().revents != 0)
        return fail(ECANCELED, "it was stopped, and nothing of it is kept");
    return {};
}

Result<std::string_view> Reader::some(size_t most) {
    if (at_ == buffer_.size()) {
        TRY(wait(true));
        buffer_.resize(piece_size);
        ssize_t got = 0;
        do
            got = ::read(in_.get(), buffer_.data(), buffer_.size());
        while (got < 0 && errno == EINTR);
        const int code = errno;
        buffer_.resize(got < 0 ? 0 : static_cast<size_t>(got));
        at_ = 0;
        if (got < 0)
            return fail(code, "cannot read the stream");
    }
    const auto piece = std::string_view(buffer_).substr(at_, most);
    at_ += piece.size();
    if (passed_)
        passed_(piece.size());
    return piece;
}

Result<std::string> Reader::line() {
    std::string line;
    while (line.size() < line_limit) {
        const auto byte = TRY(some(1));
        if (byte.empty())
            return fail(EINVAL, "{}: it ends too early", broken);
        if (byte == "\n")
            return line;
        line += byte;
    }
    return fail(EINVAL, "{}: a record without a name", broken);
}

Result<Record> Reader::next() {
    const auto text = TRY(line());
    const auto space = text.find(' ');
    Record record{.name = text.substr(0, space)};
    const auto *const end = text.data() + text.size();
    const auto *const number = space == std::string::npos ? end : text.data() + space + 1;
    const auto [stop, error] = std::from_chars(number, end, record.size);
    const bool named =
        !record.name.empty() && std::ranges::all_of(record.name, [](char c) { return c >= 'a' && c <= 'z'; });
    if (!named || number == end || error != std::errc() || stop != end || record.size > record_limit)
        return fail(EINVAL, "{}: a record without a name or size", broken);
    if (record.name != "end") {
        digest_.add(text + "\n");
        return record;
    }
    const auto wanted = digest_.finish();
    std::string stated;
    if (record.size != wanted.size())
        return fail(EINVAL, "{}: its digest is malformed", broken);
    TRY(pass(record.size, [&](std::string_view piece) -> Result<> {
        stated += piece;
        return {};
    }));
    if (stated != wanted)
        return fail(EINVAL, "{}: its digest is wrong, it was damaged on the way", broken);
    if (!TRY(some(1)).empty())
        return fail(EINVAL, "{}: something follows its end", broken);
    return record;
}

Result<std::string> Reader::record(std::string_view name, size_t limit) {
    const auto found = TRY(next());
    if (found.name != name)
        return fail(EINVAL, "{}: a record \"{}\" where \"{}\" was expected", broken, found.name, name);
    if (found.size > limit)
        return fail(EFBIG, "{}: its record \"{}\" has {} bytes", broken, name, found.size);
    std::string data;
    TRY(pass(found.size, [&](std::string_view piece) -> Result<> {
        data += piece;
        return {};
    }));
    return data;
}

Result<> Reader::pass(uint64_t size, const std::function<Result<>(std::string_view piece)> &taker) {
    while (size > 0) {
        const auto piece = TRY(some(std::min<uint64_t>(size, piece_size)));
        if (piece.empty())
            return fail(EINVAL, "{}: it ends too early", broken);
        digest_.add(piece);
        TRY(taker(piece));
        size -= piece.size();
    }
    return {};
}

} // namespace abey::transfer
