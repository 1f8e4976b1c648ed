// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Every field of every struct of the model goes through the image. The fields are counted and visited by the compiler,
// so that one which is added later, and forgotten in the converter, is seen here.
#include "engine/image/convert_parts.h"

#include <array>
#include <map>
#include <type_traits>
#include <utility>
#include <variant>

#include <gtest/gtest.h>

namespace abey::image {
namespace {

struct Anything {
    template <class T> operator T() const; // NOLINT(google-explicit-constructor): stands for a value of any type
};

template <class T, class... Args> constexpr size_t fields_of() {
    if constexpr (requires { T{Args{}..., Anything{}}; })
        return fields_of<T, Args..., Anything>();
    else
        return sizeof...(Args);
}

// Calls visit(field) for each: a structured binding for every number of fields that occurs.
template <class T, class Visit> void each_field(T &object, Visit visit) {
    constexpr size_t count = fields_of<std::remove_const_t<T>>();
    const auto all = [&visit](auto &...field) { (visit(field), ...); };
#define FIELDS(N, ...)                                                                                                 \
    else if constexpr (count == (N)) {                                                                                 \
        auto &[__VA_ARGS__] = object;                                                                                  \
        all(__VA_ARGS__);                                                                                              \
    }
    if constexpr (count == 0) {
    }
#define A a1, a2, a3, a4, a5, a6, a7, a8, a9, a10
#define B A, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10
#define C B, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10
    FIELDS(1, a1)
    FIELDS(2, a1, a2)
    FIELDS(3, a1, a2, a3)
    FIELDS(4, a1, a2, a3, a4)
    FIELDS(5, a1, a2, a3, a4, a5)
    FIELDS(6, a1, a2, a3, a4, a5, a6)
    FIELDS(7, a1, a2, a3, a4, a5, a6, a7)
    FIELDS(8, a1, a2, a3, a4, a5, a6, a7, a8)
    FIELDS(9, a1, a2, a3, a4, a5, a6, a7, a8, a9)
    FIELDS(10, A)
    FIELDS(11, A, b1)
    FIELDS(12, A, b1, b2)
    FIELDS(13, A, b1, b2, b3)
    FIELDS(14, A, b1, b2, b3, b4)
    FIELDS(15, A, b1, b2, b3, b4, b5)
    FIELDS(16, A, b1, b2, b3, b4, b5, b6)
    FIELDS(17, A, b1, b2, b3, b4, b5, b6, b7)
    FIELDS(18, A, b1, b2, b3, b4, b5, b6, b7, b8)
    FIELDS(19, A, b1, b2, b3, b4, b5, b6, b7, b8, b9)
    FIELDS(20, B)
    FIELDS(21, B, c1)
    FIELDS(22, B, c1, c2)
    FIELDS(23, B, c1, c2, c3)
    FIELDS(24, B, c1, c2, c3, c4)
    FIELDS(25, B, c1, c2, c3, c4, c5)
    FIELDS(26, B, c1, c2, c3, c4, c5, c6)
    FIELDS(27, B, c1, c2, c3, c4, c5, c6, c7)
    FIELDS(28, B, c1, c2, c3, c4, c5, c6, c7, c8)
    FIELDS(29, B, c1, c2, c3, c4, c5, c6, c7, c8, c9)
    FIELDS(30, C)
    FIELDS(31, C, d1)
    FIELDS(32, C, d1, d2)
    FIELDS(33, C, d1, d2, d3)
    FIELDS(34, C, d1, d2, d3, d4)
    FIELDS(35, C, d1, d2, d3, d4, d5)
    FIELDS(36, C, d1, d2, d3, d4, d5, d6)
    FIELDS(37, C, d1, d2, d3, d4, d5, d6, d7)
    FIELDS(38, C, d1, d2, d3, d4, d5, d6, d7, d8)
    else static_assert(count == 0, "more fields than this test knows: add a line");
#undef A
#undef B
#undef C
#undef FIELDS
}

template <class T> constexpr bool is_variant = false;
template <class... T> constexpr bool is_variant<std::variant<T...>> = true;
template <class T> constexpr bool is_pair = false;
template <class A, class B> constexpr bool is_pair<std::pair<A, B>> = true;

// Something in every field that it does not have by itself. Numbers differ, so that none can stand for another.
template <class T> void fill(T &value, int &next) {
    if constexpr (std::is_same_v<T, bool>) {
        value = !value;
    } else if constexpr (std::is_enum_v<T>) {
        value = static_cast<T>(1);
    } else if constexpr (std::is_arithmetic_v<T>) {
        value = static_cast<T>(++next);
    } else if constexpr (std::is_same_v<T, model::Bytes>) {
        value = std::string("\xff\0", 2) + std::to_string(++next);
    } else if constexpr (is_pair<T>) {
        fill(value.first, next);
        fill(value.second, next);
    } else if constexpr (is_variant<T>) {
        std::visit([&next](auto &one) { fill(one, next); }, value);
    } else if constexpr (requires { value.resize(2); }) {
        value.resize(2);
        for (auto &one : value)
            fill(one, next);
    } else if constexpr (requires { value.begin(); }) { // std::array
        for (auto &one : value)
            fill(one, next);
    } else if constexpr (!std::is_same_v<T, std::monostate>) {
        each_field(value, [&next](auto &field) { fill(field, next); });
    }
}

template <class T> void expect_same(const T &was, const T &is, const std::string &where) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, model::Bytes>) {
        EXPECT_TRUE(was == is) << where << " does not go through the image";
    } else if constexpr (is_pair<T>) {
        expect_same(was.first, is.first, where + ".first");
        expect_same(was.second, is.second, where + ".second");
    } else if constexpr (is_variant<T>) {
        ASSERT_EQ(was.index(), is.index()) << where;
        std::visit(
            [&](const auto &one) {
                expect_same(one, std::get<std::remove_cvref_t<decltype(one)>>(is),
                            where + fmt::format("<{}>", was.index()));
            },
            was);
    } else if constexpr (requires { was.begin(); }) {
        ASSERT_EQ(was.size(), is.size()) << where;
        for (size_t i = 0; i < was.size(); ++i)
            expect_same(was[i], is[i], where + fmt::format("[{}]", i));
    } else if constexpr (!std::is_same_v<T, std::monostate>) {
        std::vector<const void *> fields;
        each_field(is, [&](const auto &field) { fields.push_back(&field); });
        size_t i = 0;
        each_field(was, [&](const auto &field) {
            const auto &other = *static_cast<std::remove_reference_t<decltype(field)> *>(fields[i]);
            expect_same(field, other, where + fmt::format(", field {}", ++i));
        });
    }
}

template <class Message, class T> void expect_to_go_through(T object, const char *name) {
    int next = 0;
    fill(object, next);
    Message message;
    put(object, message);
    Message copy;
    ASSERT_TRUE(copy.ParseFromString(message.SerializeAsString()));
    T back;
    const auto got = get(copy, back);
    ASSERT_TRUE(got) << name << ": " << got.error().message();
    expect_same(object, back, name);
}

template <size_t... I> void expect_each_payload(std::index_sequence<I...> /*alternatives*/) {
    const auto one = [](model::Payload payload) {
        model::OpenFile file;
        file.payload = std::move(payload);
        expect_to_go_through<pb::OpenFile>(file, "OpenFile");
    };
    (one(model::Payload(std::in_place_index<I + 1>)), ...); // without the first, which is none
}

TEST(Fields, AllGoThroughTheImage) {
    expect_to_go_through<pb::Machine>(model::Machine(), "Machine");
    expect_to_go_through<pb::Clocks>(model::Clocks(), "Clocks");
    expect_to_go_through<pb::Task>(model::Task(), "Task");
    expect_to_go_through<pb::AddressSpace>(model::AddressSpace(), "AddressSpace");
    expect_to_go_through<pb::DescriptorTable>(model::DescriptorTable(), "DescriptorTable");
    expect_to_go_through<pb::FsContext>(model::FsContext(), "FsContext");
    expect_to_go_through<pb::Inode>(model::Inode(), "Inode");
    expect_to_go_through<pb::Pipe>(model::Pipe(), "Pipe");
    expect_to_go_through<pb::UnixSocket>(model::UnixSocket(), "UnixSocket");
    expect_to_go_through<pb::InetSocket>(model::InetSocket(), "InetSocket");
    expect_to_go_through<pb::SharedMemory>(model::SharedMemory(), "SharedMemory");
    expect_to_go_through<pb::Terminal>(model::Terminal(), "Terminal");
    expect_to_go_through<pb::SemaphoreSet>(model::SemaphoreSet(), "SemaphoreSet");
    expect_to_go_through<pb::IpcQueue>(model::IpcQueue(), "IpcQueue");
    expect_to_go_through<pb::Cgroup>(model::Cgroup(), "Cgroup");
    expect_to_go_through<pb::Namespace>(model::Namespace(), "Namespace");
    expect_to_go_through<pb::FileSystem>(model::FileSystem(), "FileSystem");
    expect_each_payload(std::make_index_sequence<std::variant_size_v<model::Payload> - 1>());
    // With its open files' payloads these are all that a tree has, and the number of its last object.
    static_assert(fields_of<model::Tree>() == 19, "a new kind of object: add it above");
}

} // namespace
} // namespace abey::image
