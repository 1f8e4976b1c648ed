// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The metadata files "tasks" and "objects" are one protobuf message each (image.proto). On the wire such a message is a
// sequence of fields, and messages one after the other are one message: so a file is written and read piece by piece,
// and never is in memory as a whole.
#pragma once

#include "engine/os/fd.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace abey::image {

// Of a file of records ("tasks", "objects"): writing more fails, and more is not read.
inline constexpr uint64_t records_limit = 1U << 30U; // bytes

// Where a record's bytes are in their file.
struct Extent {
    uint64_t offset = 0;
    size_t size = 0;
};

// One field of the outermost message.
struct Record {
    int field = 0;
    uint64_t number = 0;    // of a field that is one
    std::string_view bytes; // of one that is a message; until the next record is read
    Extent extent;          // of the bytes
};
using EachRecord = std::function<Result<>(const Record &)>;

// `name`: of the file, for the error when it is damaged.
Result<> for_each_record(std::string_view file, const char *name, const EachRecord &each);
Result<> for_each_record(const Fd &file, const char *name, const EachRecord &each);

} // namespace abey::image
