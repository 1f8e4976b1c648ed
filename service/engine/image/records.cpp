// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/records.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/wire_format_lite.h>

namespace abey::image {

namespace {

using google::protobuf::internal::WireFormatLite;
namespace io = google::protobuf::io;

Result<> read_records(io::ZeroCopyInputStream &stream, uint64_t file_size, const char *name, const EachRecord &each) {
    if (file_size > records_limit)
        return fail(EFBIG, "{} has {} bytes", name, file_size);
    const auto damaged = [&] { return fail(0, "\"{}\" cannot be read; the checkpoint is damaged", name); };
    io::CodedInputStream input(&stream);
    std::string bytes;
    while (const uint32_t tag = input.ReadTag()) {
        Record record;
        record.field = WireFormatLite::GetTagFieldNumber(tag);
        switch (WireFormatLite::GetTagWireType(tag)) {
        case WireFormatLite::WIRETYPE_VARINT:
            if (!input.ReadVarint64(&record.number))
                return damaged();
            break;
        case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
            uint32_t size = 0;
            if (!input.ReadVarint32(&size))
                return damaged();
            record.extent = {static_cast<uint64_t>(input.CurrentPosition()), size};
            if (size > file_size - record.extent.offset || !input.ReadString(&bytes, static_cast<int>(size)))
                return damaged();
            record.bytes = bytes;
            break;
        }
        default: // a field of a later version
            if (!WireFormatLite::SkipField(&input, tag))
                return damaged();
            continue;
        }
        TRY(each(record));
    }
    return input.ConsumedEntireMessage() ? Result<>() : damaged();
}

} // namespace

Result<> for_each_record(std::string_view file, const char *name, const EachRecord &each) {
    if (file.size() > records_limit)
        return fail(EFBIG, "{} has {} bytes", name, file.size());
    io::ArrayInputStream stream(file.data(), static_cast<int>(file.size()));
    return read_records(stream, file.size(), name, each);
}

Result<> for_each_record(const Fd &file, const char *name, const EachRecord &each) {
    const auto size = static_cast<uint64_t>(TRY(stat_of(file)).st_size);
    if (::lseek(file.get(), 0, SEEK_SET) < 0)
        return fail(errno, "cannot read {}", name);
    io::FileInputStream stream(file.get());
    TRY(read_records(stream, size, name, each));
    return stream.GetErrno() == 0 ? Result<>() : fail(stream.GetErrno(), "cannot read {}", name);
}

} // namespace abey::image
