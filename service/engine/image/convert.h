// SPDX-License-Identifier: LGPL-2.1-or-later
//
// A model::Tree as bytes (protobuf, image.proto), and back.
#pragma once

#include "engine/details.h"
#include "engine/image/records.h"
#include "engine/model/tree.h"
#include "engine/os/result.h"

#include <map>
#include <string>
#include <string_view>

namespace abey::image {

struct Encoded {
    std::string tasks;
    std::string objects;
};

Result<Encoded> encode(const model::Tree &tree);

// Takes the bytes of a metadata file, a piece at a time.
using Sink = std::function<Result<>(std::string_view)>;
Result<> encode(const model::Tree &tree, const Sink &tasks, const Sink &objects);
Result<> encode(const model::Task &task, const Sink &tasks);
Result<> encode(const model::AddressSpace &space, const Sink &objects);

// The bytes may be anybody's: everything is checked, references too, before a tree is given. `pages_size`: of the file
// that page runs lie in.
Result<model::Tree> decode(std::string_view tasks, std::string_view objects, uint64_t pages_size);

// All of a tree but what is large (engine/details.h), and where that is. It has been checked as well.
struct Outline {
    // Its tasks lack actions (but those that are stopped), pending signals, timers, and of their threads registers and
    // some settings; its address spaces have nothing but their executable.
    model::Tree tree;
    std::map<int32_t, Extent> tasks; // by pid
    std::map<model::ObjRef, Extent> address_spaces;
    engine::Footprint footprint;
};
// Called once or several times with the same sequence of records.
using Source = std::function<Result<>(const EachRecord &)>;
Result<Outline> decode_outline(const Source &tasks, const Source &objects, uint64_t pages_size);

// One record, which has been checked before.
Result<model::Task> decode_task(std::string_view bytes);
Result<model::AddressSpace> decode_address_space(std::string_view bytes);

} // namespace abey::image
