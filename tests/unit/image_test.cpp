// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/convert.h"
#include "engine/image/image.h"
#include "engine/image/inspect.h"
#include "engine/image/records.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/user.h>

namespace abey::image {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t page = 4096;

model::Thread thread_of(int tid) {
    model::Thread thread;
    thread.tid = tid;
    thread.comm = "name\n(odd)";
    thread.registers.assign(sizeof(user_regs_struct), '\1');
    thread.xstate.assign(2696, '\2');
    thread.signal_mask = 0xfffffffffffffffeULL;
    thread.alternate_stack = {0x7000, 1, 8192};
    thread.pending = {model::Bytes(sizeof(siginfo_t), '\3')};
    thread.credentials.groups = {1, 2, 3};
    thread.credentials.ambient = 1ULL << 40U;
    thread.credentials.no_new_privs = true;
    thread.scheduling.nice = -5;
    thread.scheduling.affinity = "\x03";
    thread.rseq = {0x8000, 32, 0x53053053, 0};
    thread.clear_child_tid = 0x9000;
    thread.parent_death_signal = 9;
    return thread;
}

// One of each kind of object, with references between them.
model::Tree full_tree() {
    model::Tree tree;
    tree.machine = {"6.1.0", "boot", "digest", 7, "a CPU"};
    tree.clocks = {1, -2, 3};
    auto &inode = tree.inodes[1];
    inode.id = 1;
    inode.identity = {1, 2, 3, 4, 5, 6};
    inode.naming = model::Naming::replaced;
    inode.path = "/home/ada/\xff\n name";
    inode.mtime = {5, 6};
    inode.xattrs = {{"user.a", std::string("b\0c", 3)}};
    inode.kept = {model::Strategy::embed, "policy.toml:3", "1", "", {{model::Strategy::reflink, "not possible here"}}};
    const auto open_file = [&](model::ObjRef id, model::Payload payload) {
        tree.open_files[id] = {id,
                               2,
                               77,
                               {1, 10, 29, 0, 0},
                               {{.kind = model::FileLock::Kind::ofd, .write = true, .start = 5, .end = 9}},
                               std::move(payload)};
    };
    tree.pipes[2] = {2, 99, 65536, std::string("a\0b", 3), 0};
    tree.unix_sockets[3].id = 3;
    tree.unix_sockets[3].peer = 3;
    tree.unix_sockets[3].queue = {{"data", {10}, std::string("\0abstract", 9), 1, 2, 3}};
    tree.shared_memory[4].id = 4;
    tree.shared_memory[4].size = page + 1;
    tree.shared_memory[4].pages = {{0, 2 * page, page}};
    tree.terminals[5].id = 5;
    tree.terminals[5].rows = 24;
    open_file(10, model::DiskFile{1});
    open_file(11, model::Device{1});
    open_file(12, model::PipeEnd{2});
    open_file(13, model::SocketFile{3});
    open_file(14, model::SharedMemoryFile{4});
    open_file(15, model::TerminalEnd{5, true, false});
    open_file(16, model::EventCounter{~0ULL - 1, true});
    open_file(17, model::SignalReceiver{2});
    open_file(18, model::TimerFile{1, 2, 3, {4, 5}, {6, 7}});
    open_file(19, model::PollSet{{{3, 12, 1, 42}}});
    auto &table = tree.descriptor_tables[20];
    table.id = 20;
    for (int number = 0; number < 10; ++number)
        table.descriptors.push_back({number, number % 2 == 0, static_cast<model::ObjRef>(10 + number)});
    tree.fs_contexts[21] = {21, 10, 0, 027};
    auto &space = tree.address_spaces[22];
    space.id = 22;
    space.executable = 10;
    space.layout.auxv = "auxv";
    model::Mapping mapping;
    mapping.start = 16 * page;
    mapping.end = 20 * page;
    mapping.vm_flags = {"lo", "dd"};
    space.mappings = {mapping};
    space.pages = {{17 * page, page, 0}};
    model::Task task;
    task.pid = task.process_group = task.session = 100;
    task.comm = "leader";
    task.threads = {thread_of(100), thread_of(101)};
    task.address_space = 22;
    task.descriptors = 20;
    task.fs = 21;
    task.terminal = 5;
    task.actions.resize(64);
    task.actions[9] = {1, 2, 3, 4};
    task.posix_timers = {{1, 2, 3, 4, 5, 6, 7, {8, 9}, {10, 11}}};
    task.limits[7] = {1024, 4096};
    tree.tasks.push_back(task);
    model::Task zombie;
    zombie.pid = 102;
    zombie.parent = 100;
    zombie.state = model::TaskState::zombie;
    zombie.exit_code = 256;
    tree.tasks.push_back(zombie);
    tree.last_id = 22;
    return tree;
}

constexpr uint64_t pages_size = 3 * page;

TEST(Convert, WhatIsEncodedComesBack) {
    const auto first = encode(full_tree());
    ASSERT_TRUE(first);
    const auto tree = decode(first->tasks, first->objects, pages_size);
    ASSERT_TRUE(tree) << tree.error().message();
    const auto second = encode(*tree);
    ASSERT_TRUE(second);
    EXPECT_EQ(first->tasks, second->tasks);
    EXPECT_EQ(first->objects, second->objects);
    EXPECT_EQ(tree->inodes.at(1).path, "/home/ada/\xff\n name");
    EXPECT_EQ(tree->inodes.at(1).kept.tried.at(0).reason, "not possible here");
    EXPECT_EQ(std::get<model::TimerFile>(tree->open_files.at(18).payload).interval, (model::Time{6, 7}));
    EXPECT_EQ(tree->tasks.at(0).actions.at(9).restorer, 3U);
    EXPECT_EQ(tree->clocks.monotonic, -2);
}

// Every prefix of a valid image is either refused or a valid tree; it never does harm.
TEST(Convert, TruncatedBytesAreRefused) {
    const auto encoded = encode(full_tree()).value();
    for (size_t length = 0; length < encoded.objects.size(); ++length)
        EXPECT_FALSE(decode(encoded.tasks, std::string_view(encoded.objects).substr(0, length), pages_size) &&
                     length < encoded.objects.size() / 2);
    for (size_t length = 0; length < encoded.tasks.size(); ++length)
        (void)decode(std::string_view(encoded.tasks).substr(0, length), encoded.objects, pages_size);
}

void expect_refused(const model::Tree &tree, std::string_view words) {
    const auto encoded = encode(tree).value();
    const auto decoded = decode(encoded.tasks, encoded.objects, pages_size);
    ASSERT_FALSE(decoded) << "expected: " << words;
    EXPECT_NE(decoded.error().message().find(words), std::string::npos) << decoded.error().message();
}

TEST(Convert, WhatMakesNoSenseIsRefusedByName) {
    auto tree = full_tree();
    tree.open_files.at(10).payload = model::DiskFile{99};
    expect_refused(tree, "object 10 (open file): its inode 99 does not exist");
    tree = full_tree();
    tree.address_spaces.at(22).mappings.push_back(tree.address_spaces.at(22).mappings.front());
    expect_refused(tree, "out of place");
    tree = full_tree();
    tree.address_spaces.at(22).pages.front().offset = pages_size;
    expect_refused(tree, "object 22 (address space)");
    tree = full_tree();
    tree.tasks[1].parent = 7;
    expect_refused(tree, "its parent 7 does not come before it");
    tree = full_tree();
    tree.tasks[0].threads[1].tid = 100;
    expect_refused(tree, "thread id 100");
    tree = full_tree();
    tree.tasks[0].threads[0].registers.pop_back();
    expect_refused(tree, "bytes of registers");
    tree = full_tree();
    tree.inodes.at(1).kept.blob = "../../etc/shadow";
    expect_refused(tree, "object 1 (inode)");
    tree = full_tree();
    tree.descriptor_tables.at(20).descriptors[1].number = 0;
    expect_refused(tree, "descriptor 0 is out of order");
    tree = full_tree();
    tree.machine.vdso = std::string(2 * page, 'v'); // not what the digest says
    expect_refused(tree, "its vDSO of 8192 bytes");
}

TEST(Convert, WhatActsIsNoSettingOfACgroup) {
    const auto with = [](const std::string &file, const std::string &value) {
        auto tree = full_tree();
        tree.cgroups = {{.path = "one", .files = {{.name = file, .mode = 0644, .value = value}}}};
        return tree;
    };
    for (const char *file : {"cgroup.freeze", "cgroup.kill", "memory.reclaim", "cpu.pressure", "cpuset.cpus.partition"})
        expect_refused(with(file, "1"), file);
    for (const char *file : {"cgroup.procs", "cgroup.threads"}) {
        expect_refused(with(file, "1"), file);
        const auto owned = encode(with(file, "")).value();
        EXPECT_TRUE(decode(owned.tasks, owned.objects, pages_size)) << file;
    }
    const auto limited = encode(with("cgroup.max.depth", "3")).value();
    EXPECT_TRUE(decode(limited.tasks, limited.objects, pages_size));
}

// Whoever can write checksums can write anything: then it is for decode() to refuse it, and to do so without harm. With
// the address and undefined behaviour sanitizers this finds what it overlooks.
TEST(Convert, AnyDamageIsRefusedOrHarmless) {
    const auto whole = encode(full_tree()).value();
    std::minstd_rand random(4711); // the same each time
    const auto upto = [&random](size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(random); };
    const auto damage = [&](std::string &bytes) {
        for (size_t times = 1 + upto(4); times > 0; --times) {
            const size_t at = upto(bytes.size());
            switch (upto(4)) {
            case 0:
                bytes[at] = static_cast<char>(upto(256));
                break;
            case 1: // a number that is as large as can be
                bytes.replace(at, 1, std::string(9, '\xff') + '\x01');
                break;
            case 2:
                bytes.erase(at, 1 + upto(8));
                break;
            default:
                bytes.insert(at, bytes.substr(upto(bytes.size()), upto(64)));
            }
            if (bytes.empty())
                bytes = "x";
        }
    };
    size_t refused = 0;
    constexpr size_t rounds = 20000;
    for (size_t i = 0; i < rounds; ++i) {
        auto damaged = whole;
        damage(i % 2 == 0 ? damaged.objects : damaged.tasks);
        const auto tree = decode(damaged.tasks, damaged.objects, pages_size);
        refused += tree ? 0 : 1;
        if (tree) {
            EXPECT_FALSE(describe(*tree).empty());
            EXPECT_FALSE(to_json(*tree).empty());
            EXPECT_TRUE(encode(*tree));
        } else {
            EXPECT_FALSE(tree.error().message().empty());
        }
    }
    EXPECT_GT(refused, rounds / 2);
}

class ImageDirectory : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "abey-image-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        top_ = pattern;
        images_ = (top_ / "image").string();
    }
    void TearDown() override { fs::remove_all(top_); }

    void make() const {
        auto writer = Writer::create(images_);
        ASSERT_TRUE(writer) << writer.error().message();
        const std::string pages(pages_size, 'p');
        ASSERT_TRUE(write_at(writer->pages(), std::as_bytes(std::span(pages)), 0));
        fs::create_directory(fs::path(images_) / "deleted");
        std::ofstream(fs::path(images_) / "deleted" / "1") << "contents";
        ASSERT_TRUE(writer->write(full_tree()));
        const auto committed = writer->commit({{"info", {{"user", "ada"}}}});
        ASSERT_TRUE(committed) << committed.error().message();
    }
    [[nodiscard]] std::string refusal() const {
        const auto reader = Reader::open(images_);
        if (!reader)
            return reader.error().message();
        const auto verified = reader->verify();
        return verified ? "" : verified.error().message();
    }

    fs::path top_;
    std::string images_;
};

TEST_F(ImageDirectory, WhatIsWrittenCanBeRead) {
    make();
    EXPECT_EQ(refusal(), "");
    const auto reader = Reader::open(images_).value();
    EXPECT_EQ(reader.about().at("info").at("user"), "ada");
    EXPECT_EQ(reader.tree().value().tasks.size(), 2U);
}

TEST_F(ImageDirectory, AFlippedByteInAnyFileIsFound) {
    for (const char *name : {"manifest", "tasks", "objects", "pages-1", "deleted/1"}) {
        fs::remove_all(images_);
        make();
        std::fstream file(fs::path(images_) / name, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(5);
        const char byte = static_cast<char>(file.get() ^ 0x40);
        file.seekp(5);
        file.put(byte);
        file.close();
        EXPECT_NE(refusal().find(name), std::string::npos) << name << ": " << refusal();
    }
}

TEST_F(ImageDirectory, ATruncatedOrMissingFileIsFound) {
    for (const char *name : {"tasks", "objects", "pages-1", "deleted/1"}) {
        fs::remove_all(images_);
        make();
        fs::resize_file(fs::path(images_) / name, 3);
        EXPECT_NE(refusal().find("bytes instead of"), std::string::npos) << refusal();
        fs::remove(fs::path(images_) / name);
        EXPECT_NE(refusal().find(name), std::string::npos) << refusal();
    }
}

TEST_F(ImageDirectory, ContentsThatTheManifestDoesNotNameAreRefused) {
    {
        auto writer = Writer::create(images_);
        ASSERT_TRUE(writer);
        const std::string pages(pages_size, 'p');
        ASSERT_TRUE(write_at(writer->pages(), std::as_bytes(std::span(pages)), 0));
        ASSERT_TRUE(writer->write(full_tree()));
        ASSERT_TRUE(writer->commit({}));
    }
    fs::create_directory(fs::path(images_) / "deleted");
    std::ofstream(fs::path(images_) / "deleted" / "1") << "of somebody else";
    const auto tree = Reader::open(images_).value().tree();
    ASSERT_FALSE(tree);
    EXPECT_NE(tree.error().message().find("deleted/1"), std::string::npos) << tree.error().message();
}

TEST_F(ImageDirectory, MissingEmptyAndForeignAreToldApart) {
    EXPECT_NE(refusal().find("there is no checkpoint in"), std::string::npos) << refusal();
    fs::create_directory(images_);
    EXPECT_NE(refusal().find("never finished"), std::string::npos) << refusal();
    fs::remove_all(images_);
    make();
    std::ifstream in(fs::path(images_) / "manifest");
    auto manifest = nlohmann::json::parse(in);
    manifest["version"] = 99;
    std::ofstream(fs::path(images_) / "manifest") << manifest;
    EXPECT_NE(refusal().find("version 99"), std::string::npos) << refusal();
}

// Or else it would be refused when the processes have been ended.
TEST_F(ImageDirectory, MoreThanIsReadIsNotWritten) {
    auto writer = Writer::create(images_);
    ASSERT_TRUE(writer) << writer.error().message();
    model::Tree tree;
    tree.terminals[1].output = std::string(records_limit / 8, 'x');
    for (int i = 0; i < 7; ++i)
        ASSERT_TRUE(writer->write(tree));
    const auto refused = writer->write(tree);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), EFBIG);
}

TEST_F(ImageDirectory, GivenUpOneLeavesNothing) {
    {
        auto writer = Writer::create(images_);
        ASSERT_TRUE(writer);
        ASSERT_TRUE(writer->write(full_tree()));
    }
    EXPECT_FALSE(fs::exists(images_));
    fs::create_directory(images_);
    std::ofstream(fs::path(images_) / "mine") << "x";
    EXPECT_FALSE(Writer::create(images_));
    EXPECT_TRUE(fs::exists(fs::path(images_) / "mine")) << "what was there before is not ours";
}

} // namespace
} // namespace abey::image
