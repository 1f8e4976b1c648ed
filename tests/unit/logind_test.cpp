// SPDX-License-Identifier: LGPL-2.1-or-later
//
// logind as a peer of this process tells what it is asked; nobody else is there.
#include "session/logind.h"

#include "dbus/bus.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string_view>
#include <thread>

#include <sys/socket.h>

#include <gtest/gtest.h>

namespace abey::session {
namespace {

constexpr const char *session_path = "/org/freedesktop/login1/session/_33";

int get_property(sd_bus * /*bus*/, const char * /*path*/, const char * /*interface*/, const char *property,
                 sd_bus_message *reply, void * /*userdata*/, sd_bus_error * /*error*/) {
    const std::string_view name(property);
    if (name == "User")
        return ::sd_bus_message_append(reply, "(uo)", 5001U, "/org/freedesktop/login1/user/_5001");
    if (name == "Seat")
        return ::sd_bus_message_append(reply, "(so)", "seat0", "/org/freedesktop/login1/seat/seat0");
    if (name == "Leader")
        return ::sd_bus_message_append(reply, "u", 4711U);
    if (name == "IdleSinceHint")
        return ::sd_bus_message_append(reply, "t", uint64_t{12});
    return ::sd_bus_message_append(reply, "s",
                                   name == "Id"      ? "3"
                                   : name == "Name"  ? "ada"
                                   : name == "TTY"   ? "pts/3"
                                   : name == "Class" ? "user"
                                   : name == "State" ? "online"
                                                     : "");
}

int on_get_session(sd_bus_message *message, void * /*userdata*/, sd_bus_error *error) {
    const char *id = nullptr;
    if (::sd_bus_message_read(message, "s", &id) < 0)
        return -EINVAL;
    if (std::string_view(id) != "3")
        return ::sd_bus_error_set(error, "org.freedesktop.login1.NoSuchSession", "No session");
    return ::sd_bus_reply_method_return(message, "o", session_path);
}

const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("GetSession", "s", "o", on_get_session, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};
const sd_bus_vtable session_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Id", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("User", "(uo)", get_property, 0, 0),
    SD_BUS_PROPERTY("Name", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("IdleSinceHint", "t", get_property, 0, 0),
    SD_BUS_PROPERTY("Seat", "(so)", get_property, 0, 0),
    SD_BUS_PROPERTY("TTY", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("Service", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("Scope", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("Leader", "u", get_property, 0, 0),
    SD_BUS_PROPERTY("Type", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("Class", "s", get_property, 0, 0),
    SD_BUS_PROPERTY("State", "s", get_property, 0, 0),
    SD_BUS_VTABLE_END,
};

int count_call(sd_bus_message *message, void *userdata, sd_bus_error * /*error*/) {
    uint8_t type = 0;
    if (::sd_bus_message_get_type(message, &type) >= 0 && type == SD_BUS_MESSAGE_METHOD_CALL)
        ++*static_cast<std::atomic<int> *>(userdata);
    return 0;
}

class LogindTest : public testing::Test {
  protected:
    LogindTest() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        sd_bus *server = nullptr;
        EXPECT_GE(::sd_bus_new(&server), 0);
        server_.reset(server);
        EXPECT_GE(::sd_bus_set_fd(server, ends[0], ends[0]), 0);
        EXPECT_GE(::sd_bus_set_server(server, 1, SD_ID128_MAKE(1, 2, 3, 4, 5, 6, 7, 8, 9, a, b, c, d, e, f, 0)), 0);
        EXPECT_GE(::sd_bus_set_anonymous(server, 1), 0);
        EXPECT_GE(::sd_bus_set_trusted(server, 1), 0);
        EXPECT_GE(::sd_bus_add_filter(server, nullptr, count_call, &calls_), 0);
        EXPECT_GE(::sd_bus_add_object_vtable(server, nullptr, "/org/freedesktop/login1",
                                             "org.freedesktop.login1.Manager", manager_vtable, nullptr),
                  0);
        EXPECT_GE(::sd_bus_add_object_vtable(server, nullptr, session_path, "org.freedesktop.login1.Session",
                                             session_vtable, nullptr),
                  0);
        EXPECT_GE(::sd_bus_start(server), 0);
        thread_ = std::jthread([this](const std::stop_token &stop) {
            while (!stop.stop_requested()) {
                const int done = ::sd_bus_process(server_.get(), nullptr);
                if (done < 0)
                    return;
                if (done == 0)
                    (void)::sd_bus_wait(server_.get(), 20'000);
            }
        });
        sd_bus *client = nullptr;
        EXPECT_GE(::sd_bus_new(&client), 0);
        client_.reset(client);
        EXPECT_GE(::sd_bus_set_fd(client, ends[1], ends[1]), 0);
        EXPECT_GE(::sd_bus_start(client), 0);
    }
    void TearDown() override {
        thread_.request_stop();
        thread_.join();
    }

    struct Unref {
        void operator()(sd_bus *bus) const { ::sd_bus_close_unref(bus); }
    };
    std::unique_ptr<sd_bus, Unref> server_, client_;
    std::atomic<int> calls_ = 0;
    std::jthread thread_;
};

TEST_F(LogindTest, ASessionIsAskedForByOneCall) {
    const auto session = Logind::over(client_.get()).session("3");
    ASSERT_TRUE(session) << session.error().message();
    EXPECT_EQ(session->id, "3");
    EXPECT_EQ(session->uid, 5001U);
    EXPECT_EQ(session->user, "ada");
    EXPECT_EQ(session->leader, 4711);
    EXPECT_EQ(session->tty, "pts/3");
    EXPECT_EQ(session->klass, "user");
    EXPECT_EQ(session->state, "online");
    EXPECT_EQ(session->seat, "seat0");
    EXPECT_EQ(calls_, 2) << "where it is, and all that is known of it";
}

TEST_F(LogindTest, OneThatIsNotThereHasAnErrorOfItsOwn) {
    const auto session = Logind::over(client_.get()).session("4");
    ASSERT_FALSE(session);
    EXPECT_EQ(session.error().code(), ENXIO);
}

} // namespace
} // namespace abey::session
