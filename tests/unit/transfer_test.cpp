// SPDX-License-Identifier: LGPL-2.1-or-later
#include "transfer/transfer.h"

#include "engine/image/image.h"
#include "engine/machine.h"
#include "store/store.h"
#include "transfer/filter.h"
#include "transfer/header.h"
#include "transfer/stream.h"

#include <csignal>
#include <filesystem>
#include <functional>
#include <span>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/eventfd.h>
#include <sys/user.h>

namespace abey::transfer {
namespace {

namespace fs = std::filesystem;

std::string packed(const std::string &path, const std::string &plain) {
    const auto in = path + ".plain";
    EXPECT_TRUE(write_file(in, plain));
    const auto from = open_file(in, O_RDONLY).value();
    const auto to = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
    auto filter = Filter::start({"zstd", "-q", "-c"}, from, to);
    EXPECT_TRUE(filter && filter->wait());
    return path;
}

std::string unpacked(const std::string &path) {
    const auto from = open_file(path, O_RDONLY).value();
    const auto to = open_file(path + ".plain", O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
    auto filter = Filter::start({"zstd", "-q", "-d", "-c"}, from, to);
    EXPECT_TRUE(filter && filter->wait());
    return read_file(path + ".plain", 1U << 30U).value();
}

void replace(std::string &text, std::string_view from, std::string_view to) {
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
}

std::string new_directory() {
    std::string pattern = fs::temp_directory_path() / "abeyance-transfer-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    return pattern;
}

// A store with one checkpoint of root's without a home, another store, and a stream between them.
class TransferTest : public testing::Test {
  protected:
    TransferTest() {
        (void)std::signal(SIGPIPE, SIG_IGN);
        fs::create_directory(root_ + "/here");
        fs::create_directory(root_ + "/there");
    }
    void TearDown() override { fs::remove_all(root_); }

    void make(const std::function<void(model::Tree &)> &change = {}) {
        ASSERT_TRUE(here_.begin({.id = "one", .uid = 0, .user = "root", .session = "3", .created = 7}));
        auto image = image::Writer::create(here_.images("one"));
        ASSERT_TRUE(image) << image.error().message();
        ASSERT_TRUE(write_at(image->pages(), std::as_bytes(std::span(pages_)), 0));
        ASSERT_EQ(::ftruncate(image->pages().get(), 3 << 20), 0);
        model::Tree tree;
        tree.machine = engine::this_machine().value();
        model::Task task;
        task.pid = task.process_group = task.session = 100;
        task.state = model::TaskState::zombie;
        tree.tasks = {task};
        if (change)
            change(tree);
        fs::create_directory(here_.images("one") + "/deleted");
        ASSERT_TRUE(write_file(here_.images("one") + "/deleted/1", "kept"));
        ASSERT_TRUE(image->write(tree));
        ASSERT_TRUE(image->commit(nlohmann::json::object()));
        ASSERT_TRUE(here_.record_figures("one", {{"tasks", 3}}));
    }
    [[nodiscard]] std::string stream() const { return root_ + "/stream"; }
    void send() {
        const auto out = open_file(stream(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        const auto sent = export_checkpoint(here_, "one", *out, {});
        ASSERT_TRUE(sent) << sent.error().message();
    }
    Result<Imported> take(const std::string &path) {
        const auto in = open_file(path, O_RDONLY);
        return import_checkpoint(there_, *in, {});
    }
    // Nothing of it remains; what it says.
    std::string refusal(const std::string &path) {
        const auto taken = take(path);
        EXPECT_FALSE(taken);
        EXPECT_TRUE(fs::is_empty(root_ + "/there"));
        return taken ? "taken" : taken.error().message();
    }
    std::string refusal_of(const std::string &plain) { return refusal(packed(root_ + "/changed", plain)); }

    std::string root_ = new_directory(), pages_ = std::string(8192, 'p');
    store::Store here_{root_ + "/here"}, there_{root_ + "/there"};
};

TEST_F(TransferTest, WhatIsExportedIsTheSameWhereItIsImported) {
    make();
    send();
    const auto taken = take(stream());
    ASSERT_TRUE(taken) << taken.error().message();
    EXPECT_EQ(taken->id, "one");
    const auto found = there_.find("one");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->state, store::State::waiting);
    EXPECT_EQ(found->about.created, 7U);
    EXPECT_EQ(found->figures.at("tasks"), 3U);
    for (const auto *name : {"manifest", "tasks", "objects", "pages-1", "deleted/1"})
        EXPECT_EQ(read_file(there_.images("one") + "/" + name).value_or("none"),
                  read_file(here_.images("one") + "/" + name).value_or("nothing"))
            << name;
    struct stat status {};
    ASSERT_EQ(::stat((there_.images("one") + "/pages-1").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 2 << 20) << "holes stay holes";
    EXPECT_NE(take(stream()).error().message().find("has it already"), std::string::npos);
    EXPECT_EQ(there_.find("one").value().state, store::State::waiting) << "the refusal left it alone";
}

TEST_F(TransferTest, ItsScreensGoAlong) {
    make();
    const std::map<uint32_t, std::string> shown = {{0, "\x1b[2Jtop"}, {7, "vim"}};
    ASSERT_TRUE(here_.record_pictures("one", shown));
    send();
    const auto taken = take(stream());
    ASSERT_TRUE(taken) << taken.error().message();
    EXPECT_EQ(there_.pictures("one").value(), shown);
    fs::remove_all(root_ + "/there/one");

    auto plain = unpacked(stream());
    replace(plain, R"("terminal":7)", R"("terminal":"")");
    EXPECT_NE(refusal_of(plain).find("what its screens showed"), std::string::npos);
    plain = unpacked(stream());
    plain.replace(plain.find("\npictures ") + 10, 1, "9999999");
    EXPECT_NE(refusal_of(plain).find("more than a checkpoint has"), std::string::npos);
}

TEST_F(TransferTest, EveryTruncationIsRefused) {
    make();
    ASSERT_TRUE(here_.record_pictures("one", {{0, "something"}}));
    send();
    const auto plain = unpacked(stream());
    for (size_t size = 0; size < plain.size(); size += 1 + plain.size() / 40)
        EXPECT_NE(refusal_of(plain.substr(0, size)), "taken") << size;
    const auto whole = read_file(stream()).value();
    ASSERT_TRUE(write_file(root_ + "/half", whole.substr(0, whole.size() / 2)));
    EXPECT_NE(refusal(root_ + "/half").find("whole stream"), std::string::npos);
    EXPECT_NE(refusal_of(plain + "x").find("follows its end"), std::string::npos);
}

TEST_F(TransferTest, WhatAKilledOneHasLeftGoes) {
    make();
    send();
    ASSERT_TRUE(there_.begin({.id = "one", .uid = 0, .user = "root", .session = "3", .created = 7}));
    fs::create_directories(root_ + "/there/one/image.new/deleted");
    {
        const auto held = there_.hold("one");
        EXPECT_EQ(take(stream()).error().code(), EBUSY) << "it is not killed, but at work";
        EXPECT_TRUE(fs::exists(root_ + "/there/one/image.new"));
    }
    const auto taken = take(stream());
    ASSERT_TRUE(taken) << taken.error().message();
    EXPECT_EQ(there_.find("one").value().state, store::State::waiting);
    fs::remove(there_.images("one") + "/manifest");
    EXPECT_EQ(take(stream()).error().code(), EEXIST) << "a suspend's is not for us to clear up";
}

TEST_F(TransferTest, StopsWhenItIsTold) {
    make();
    send();
    const auto in = open_file(stream(), O_RDONLY);
    const Fd stop(::eventfd(1, EFD_CLOEXEC));
    const auto taken = import_checkpoint(there_, *in, {}, stop);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code(), ECANCELED);
    EXPECT_TRUE(fs::is_empty(root_ + "/there"));
    // also while nothing comes
    const auto pipe = make_pipe();
    ASSERT_TRUE(pipe);
    EXPECT_EQ(import_checkpoint(there_, pipe->read, {}, stop).error().code(), ECANCELED);
}

TEST_F(TransferTest, DamageIsRefused) {
    make();
    send();
    const auto plain = unpacked(stream());
    const auto changed = [&](std::string_view from, std::string_view to) {
        auto text = plain;
        replace(text, from, to);
        return refusal_of(text);
    };
    EXPECT_NE(changed("abeyance-export 1", "abeyance-export 2").find("another version"), std::string::npos);
    EXPECT_NE(changed("\"version\": 1\n", "\"version\": 2\n").find("version"), std::string::npos);
    EXPECT_NE(changed("pppp", "qppp").find("checksum"), std::string::npos);
    EXPECT_NE(changed("\"tasks\": 3", "\"tasks\": 4").find("digest is wrong"), std::string::npos)
        << "what has no checksum of its own";
    EXPECT_NE(changed("file 4\nkept", "file 9\nkept").find("where the manifest wants 4"), std::string::npos);
    EXPECT_NE(changed("file 4\nkept", "filf 4\nkept").find("manifest wants"), std::string::npos);
    EXPECT_NE(changed("file 4\n", "file 99999999999999999999\n").find("without a name or size"), std::string::npos);
    EXPECT_NE(changed("\"id\": \"one\"", "\"id\": \"../\"").find("id cannot be"), std::string::npos);
    EXPECT_NE(changed("\"uid\": 0", "\"uid\": 1").find("user root has the id 0 here, and 1"), std::string::npos);
    EXPECT_NE(changed("\"user\": \"root\"", "\"user\": \"nob!\"").find("does not know"), std::string::npos);
}

// With a manifest whose checksum is right: whoever packs a stream can do that.
TEST_F(TransferTest, NamesAndSizesThatNoImageHasAreRefused) {
    make();
    const auto with_file = [&](const std::string &name, uint64_t size) {
        const auto directory = root_ + "/forged";
        fs::remove_all(directory);
        auto image = image::Writer::create(directory);
        EXPECT_TRUE(image && image->write(model::Tree()) && image->commit(nlohmann::json::object()));
        auto manifest = nlohmann::json::parse(read_file(directory + "/manifest").value());
        manifest.erase("checksum");
        manifest["files"].push_back({{"name", name}, {"size", size}, {"xxh3-128", ""}});
        const auto text = manifest.dump();
        manifest["checksum"] = image::to_hex(image::digest(std::as_bytes(std::span(text))));
        const auto path = root_ + "/forged.plain";
        const auto out = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
        const Fd never;
        Writer writer(out, {}, never);
        const auto written = [&]() -> Result<> {
            TRY(writer.begin());
            TRY(writer.record("about", header_of(here_.find("one").value())));
            TRY(writer.record("manifest", manifest.dump()));
            return writer.end();
        }();
        EXPECT_TRUE(written);
        return refusal(packed(root_ + "/forged.zst", read_file(path).value()));
    };
    for (const auto *name : {"deleted/a/b", "deleted/.x", "sub/x", "manifest", "deleted", "tasks", ".hidden"})
        EXPECT_NE(with_file(name, 1).find("that no image has"), std::string::npos) << name;
    for (const auto *name : {"../x", "/etc/x", "deleted/../x"})
        EXPECT_NE(with_file(name, 1).find("manifest names the file"), std::string::npos) << name;
    EXPECT_NE(with_file("pages-2", 1ULL << 60U).find("make room"), std::string::npos);
    EXPECT_NE(with_file("pages-2", ~0ULL).find("sizes that cannot be"), std::string::npos);
}

TEST_F(TransferTest, AnotherMachineIsRefusedBeforeItIsKept) {
    make([](model::Tree &tree) { tree.machine.xfeatures |= 1ULL << 62U; }); // no CPU has them
    send();
    EXPECT_NE(refusal(stream()).find("extended registers"), std::string::npos);
}

// One process more, with a vDSO.
void add_process(model::Tree &tree) {
    model::Task task;
    task.pid = task.process_group = task.session = 101;
    task.comm = "vim";
    task.actions.resize(64);
    auto &thread = task.threads.emplace_back();
    thread.tid = task.pid;
    thread.registers.assign(sizeof(user_regs_struct), '\0');
    thread.xstate.assign(832, '\0');
    tree.open_files[1] = {.id = 1, .payload = model::EventCounter{}};
    tree.descriptor_tables[2].id = task.descriptors = 2;
    tree.fs_contexts[3].id = task.fs = 3;
    tree.fs_contexts[3].directory = 1;
    auto &space = tree.address_spaces[4];
    space.id = task.address_space = 4;
    auto &vdso = space.mappings.emplace_back();
    vdso.start = 0x7ffc00000000;
    vdso.end = vdso.start + tree.machine.vdso.size();
    vdso.kind = model::MappingKind::vdso;
    tree.tasks.push_back(std::move(task));
}

TEST_F(TransferTest, AnotherKernelIsNoObstacleIfItsVdsoIsThere) {
    make([](model::Tree &tree) {
        add_process(tree);
        auto &vdso = tree.machine.vdso;
        vdso.back() = static_cast<char>(vdso.back() ^ 1);
        tree.machine.vdso_digest = image::to_hex(image::digest(std::as_bytes(std::span(vdso))));
    });
    send();
    const auto taken = take(stream());
    EXPECT_TRUE(taken) << taken.error().message();
}

TEST_F(TransferTest, AnotherKernelIsRefusedBeforeItIsKeptWhenItsVdsoIsNotThere) {
    make([](model::Tree &tree) {
        add_process(tree);
        tree.machine.vdso.clear();
        tree.machine.vdso_digest = "another";
    });
    send();
    EXPECT_NE(refusal(stream()).find("by a release that did not save it"), std::string::npos);
}

TEST_F(TransferTest, WhatWouldNotBeWholeElsewhereIsNotExported) {
    make();
    const auto out = open_file(stream(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT_EQ(export_checkpoint(here_, "none", *out, {}).error().code(), ENOENT);
    ASSERT_TRUE(here_.mark_resumed("one"));
    EXPECT_NE(export_checkpoint(here_, "one", *out, {}).error().message().find("only one that waits"),
              std::string::npos);
}

} // namespace
} // namespace abey::transfer
