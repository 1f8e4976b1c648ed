// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/machine.h"
#include "engine/rebuild/vdso.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/user.h>

namespace abey::rebuild {
namespace {

constexpr uint64_t page = 4096;
constexpr uint64_t place = 0x7ffd00100000; // of the former vDSO
constexpr uint64_t stack_end = 0x7ffc80000000;

model::Mapping mapping(uint64_t start, uint64_t pages, model::MappingKind kind = model::MappingKind::anonymous) {
    model::Mapping made;
    made.start = start;
    made.end = start + pages * page;
    made.kind = kind;
    made.protection = PROT_READ;
    return made;
}

class VdsoPlaces : public ::testing::Test {
  protected:
    VdsoPlaces() : own_(os::own_vdso().value()), parts_(os::own_vdso_parts().value()) {
        auto &stack = space_.mappings.emplace_back(mapping(stack_end - 64 * page, 64));
        stack.grows_down = true;
        space_.mappings.push_back(mapping(place - 4 * page, 4, model::MappingKind::vvar));
        space_.mappings.push_back(mapping(place, own_.size() / page, model::MappingKind::vdso));
        space_.id = 1;
    }
    // This kernel's, with one function more, which lies elsewhere.
    [[nodiscard]] os::VdsoBridge moved() const {
        std::string without = own_;
        const size_t at = without.find("__vdso_time");
        EXPECT_NE(at, std::string::npos);
        without.replace(at, 11, "__vdso_tame");
        return os::VdsoBridge::make(own_, without).value();
    }
    [[nodiscard]] const model::Mapping *of(model::MappingKind kind) const {
        const auto found = std::ranges::find(space_.mappings, kind, &model::Mapping::kind);
        return found == space_.mappings.end() ? nullptr : &*found;
    }
    // In order, apart, and the kernel's parts as far from each other as they are here.
    void expect_sound() const {
        EXPECT_TRUE(std::ranges::is_sorted(space_.mappings, {}, &model::Mapping::start));
        for (size_t i = 1; i < space_.mappings.size(); ++i)
            EXPECT_LE(space_.mappings[i - 1].end, space_.mappings[i].start);
        const auto here = std::ranges::find(parts_, "[vdso]", &os::ProcMapping::name);
        for (const os::ProcMapping &part : parts_) {
            const bool there = std::ranges::any_of(space_.mappings, [&](const model::Mapping &each) {
                return each.start - of(model::MappingKind::vdso)->start == part.start - here->start &&
                       each.end - each.start == part.end - part.start;
            });
            EXPECT_TRUE(there) << part.name;
        }
        EXPECT_EQ(parts_.size(), placed(parts_, space_).value().size());
    }

    std::string own_;
    std::vector<os::ProcMapping> parts_;
    model::AddressSpace space_;
};

TEST_F(VdsoPlaces, TheFormersWhereThatCanBe) {
    const OtherVdso other(os::VdsoBridge::make(own_, own_).value(), parts_);
    const auto stand_in = other.adapt(space_);
    ASSERT_TRUE(stand_in) << stand_in.error().message();
    EXPECT_FALSE(*stand_in);
    EXPECT_EQ(place, of(model::MappingKind::vdso)->start);
    expect_sound();
}

TEST_F(VdsoPlaces, ElsewhereWhenFunctionsAreElsewhere) {
    const OtherVdso other(moved(), parts_);
    const auto stand_in = other.adapt(space_);
    ASSERT_TRUE(stand_in) << stand_in.error().message();
    ASSERT_TRUE(*stand_in);
    EXPECT_EQ(place, (*stand_in)->address);
    EXPECT_EQ(own_.size(), (*stand_in)->contents.size());
    const uint64_t now = of(model::MappingKind::vdso)->start;
    EXPECT_TRUE(now >= place + own_.size() || now + own_.size() <= place) << now;
    expect_sound();
}

// Something is where this kernel's data areas would have to be.
TEST_F(VdsoPlaces, ElsewhereWhenThereIsNoRoom) {
    std::erase_if(space_.mappings, [](const model::Mapping &each) { return each.kind == model::MappingKind::vvar; });
    space_.mappings.push_back(mapping(place - page, 1));
    std::ranges::sort(space_.mappings, {}, &model::Mapping::start);
    const OtherVdso other(os::VdsoBridge::make(own_, own_).value(), parts_);
    const auto stand_in = other.adapt(space_);
    ASSERT_TRUE(stand_in) << stand_in.error().message();
    EXPECT_TRUE(*stand_in);
    expect_sound();
}

TEST_F(VdsoPlaces, NeverWhereAStackIsToGrow) {
    const uint64_t top = 0x7ffffffff000;
    space_.mappings.push_back(mapping(place + own_.size(), (top - place - own_.size()) / page)); // nothing above
    auto &full = space_.mappings.emplace_back(mapping(stack_end, (place - 4 * page - stack_end) / page));
    full.file = 7;
    std::ranges::sort(space_.mappings, {}, &model::Mapping::start);
    space_.mappings.insert(space_.mappings.begin(), mapping(0x7f0000000000, 1)); // the library below the stack
    const OtherVdso other(moved(), parts_);
    const auto stand_in = other.adapt(space_);
    ASSERT_TRUE(stand_in) << stand_in.error().message();
    EXPECT_LT(of(model::MappingKind::vdso)->end, 0x7f0000000000 + 1);
    expect_sound();
}

TEST_F(VdsoPlaces, NoneForWhoeverHasNone) {
    std::erase_if(space_.mappings, [](const model::Mapping &each) { return each.kind == model::MappingKind::vdso; });
    const OtherVdso other(moved(), parts_);
    const auto stand_in = other.adapt(space_);
    ASSERT_TRUE(stand_in) << stand_in.error().message();
    EXPECT_FALSE(*stand_in);
    EXPECT_EQ(1U, space_.mappings.size());
}

// A tree of one process, saved under another kernel.
class UnderAnotherKernel : public VdsoPlaces {
  protected:
    UnderAnotherKernel() {
        tree_.machine = engine::this_machine().value();
        tree_.machine.kernel_release = "6.0.0-other";
        tree_.machine.vdso_digest = "another";
        task_.pid = 100;
        task_.comm = "vim";
        task_.address_space = 1;
        task_.threads.resize(1);
        task_.threads[0].tid = 101;
        tree_.tasks = {task_};
    }
    void stand_at(uint64_t address) {
        user_regs_struct registers = {};
        registers.rip = address;
        task_.threads[0].registers.assign(reinterpret_cast<const char *>(&registers), sizeof registers); // NOLINT
    }
    // What it says; "none needed" or "there is one".
    [[nodiscard]] std::string found() const {
        const engine::Details details{
            [this](const model::Task &) -> Result<model::Task> { return task_; },
            [this](model::ObjRef) -> Result<model::AddressSpace> { return space_; },
        };
        const auto other = other_vdso(tree_, details);
        return !other ? other.error().message() : *other ? "there is one" : "none needed";
    }
    model::Tree tree_;
    model::Task task_;
};

TEST_F(UnderAnotherKernel, ItIsFound) {
    EXPECT_EQ("there is one", found());
    tree_.machine.vdso_digest = engine::this_machine().value().vdso_digest;
    EXPECT_EQ("none needed", found());
}

TEST_F(UnderAnotherKernel, ImagesWithoutItAreRefusedUnlessNobodyHasOne) {
    tree_.machine.vdso.clear();
    EXPECT_NE(std::string::npos, found().find("by a release that did not save it")) << found();
    EXPECT_NE(std::string::npos, found().find("6.0.0-other")) << found();
    std::erase_if(space_.mappings, [](const model::Mapping &each) { return each.kind == model::MappingKind::vdso; });
    EXPECT_EQ("none needed", found());
}

TEST_F(UnderAnotherKernel, AThreadWithinItIsNamed) {
    const auto functions = os::vdso_functions(own_).value();
    stand_at(place + functions.front().offset + 8);
    EXPECT_EQ("there is one", found()) << "the code is the same";
    std::string &former = tree_.machine.vdso;
    former[functions.back().offset + 20] = static_cast<char>(former[functions.back().offset + 20] ^ 1);
    EXPECT_NE(std::string::npos, found().find("process 100 (vim): thread 101")) << found();
    stand_at(place - 8);
    EXPECT_EQ("there is one", found());
    const size_t call = former.find(os::system_call, functions.front().offset + 32);
    ASSERT_NE(call, std::string::npos);
    stand_at(place + call + 2);
    EXPECT_EQ("there is one", found()) << "it has just made a system call, and only goes back to its caller";
    stand_at(place + call);
    EXPECT_NE("there is one", found());
}

TEST(ClockOffsets, NoClockGoesBack) {
    const auto both = [](const engine::ClockOffsets &offsets) {
        return std::pair(offsets.monotonic, offsets.boottime);
    };
    // by how much the raw clock was behind, ahead, and ahead of the other then and now
    EXPECT_EQ(both(engine::offsets_to_go_on({0, 1000, 1500, 990}, {0, 10, 20, 10})), std::pair(990L, 1480L));
    EXPECT_EQ(both(engine::offsets_to_go_on({0, 1000, 1500, 1030}, {0, 10, 20, 10})), std::pair(1020L, 1510L));
    EXPECT_EQ(both(engine::offsets_to_go_on({0, 1000, 1500, 1030}, {0, 10, 20, 50})), std::pair(990L, 1480L));
    // an image that does not tell
    EXPECT_EQ(both(engine::offsets_to_go_on({0, 1000, 1500}, {0, 10, 20, 10})), std::pair(990L, 1480L));
}

} // namespace
} // namespace abey::rebuild
