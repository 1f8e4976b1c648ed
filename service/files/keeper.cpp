// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Capture's side: which files need keeping, by what strategy, and carrying it out.
#include "files/above.h"
#include "files/area.h"
#include "files/contents.h"
#include "files/files.h"
#include "files/fingerprint.h"
#include "files/identity.h"
#include "files/ledger.h"
#include "files/naming.h"
#include "files/need.h"
#include "files/pins.h"
#include "policy/file_system.h"
#include "policy/policy.h"

#include <map>
#include <optional>
#include <random>

#include <sys/statfs.h>

namespace abey::files {

namespace {

using model::Strategy;

std::string random_id() {
    std::random_device source;
    return fmt::format("engine-{:08x}{:08x}", source(), source());
}

class Keeper final : public engine::FileKeeper {
  public:
    Keeper(const policy::Policy &policy, std::string images, std::string id, bool keep_running, Explain explain,
           std::string pins)
        : policy_(policy), images_(std::move(images)), id_(id.empty() ? random_id() : std::move(id)),
          keep_running_(keep_running), explain_(std::move(explain)), pins_(std::move(pins)) {}

    void look_ahead(int pid, std::string_view maps) override { fingerprints_.look_ahead(pid, maps); }

    void fingerprint(model::Inode &inode, const Fd &file, const engine::FileUse &use) override {
        if (!use.writable && S_ISREG(inode.mode) && inode.naming == model::Naming::named)
            inode.content = fingerprints_.of(file);
    }

    Result<model::Inode> identify(const Fd &file, const std::string &shown, const Fd &root, bool elsewhere) override {
        model::Inode inode;
        inode.path = shown;
        TRY_IN(describe(file, inode), "{}", printable(shown));
        TRY_IN(find_name(file, shown, root, elsewhere, inode), "{}", printable(shown));
        return inode;
    }

    Result<Strategy> plan(const model::Inode &inode, const Fd &file, const engine::FileUse &use) override {
        Explanation told;
        auto planned = make_plan(inode, file, use, told);
        if (!explain_)
            return planned;
        told.use = use;
        told.path = inode.path;
        told.state = told.rule.empty() || planned == Strategy::pin ? "named" : naming_word(inode);
        told.size = inode.size;
        if (const auto status = stat_of(file))
            told.on_disk = static_cast<uint64_t>(status->st_blocks) * 512;
        if (planned)
            told.strategy = *planned;
        else
            told.refused = planned.error().message();
        if (told.strategy == Strategy::embed || told.strategy == Strategy::copy)
            told.cost = data_size(file).value_or(inode.size);
        explain_(told);
        return planned;
    }

    Result<Strategy> make_plan(const model::Inode &inode, const Fd &file, const engine::FileUse &use,
                               Explanation &told) {
        Need need = TRY_IN(need_of(inode, policy_), "{}", printable(inode.path));
        if (need == Need::none) {
            for (const Strategy strategy : pins_of(inode, use)) {
                const auto possible = PinnedCopies::check(strategy, inode);
                if (possible) {
                    told.rule = "[[pin]]";
                    if (strategy == Strategy::copy)
                        told.cost = inode.size;
                    return Strategy::pin;
                }
                told.tried.emplace_back(policy::strategy_name(strategy), possible.error().message());
            }
            return Strategy::none;
        }
        if (need == Need::shape) {
            told.rule = "built-in: it has no contents";
            return Strategy::empty;
        }
        policy::Choice choice = choose(inode, use);
        told.rule = choice.rule;
        std::vector<model::FailedTry> tried;
        for (Strategy strategy : choice.strategies) {
            auto possible = check(strategy, inode, file);
            if (possible) {
                reserve(strategy, inode, file);
                return strategy;
            }
            tried.push_back({strategy, possible.error().message()});
            told.tried.emplace_back(policy::strategy_name(strategy), possible.error().message());
        }
        return refuse(inode, choice, tried);
    }

    Result<> keep(model::Inode &inode, const Fd &file, const engine::FileUse &use) override {
        inode.kept = {};
        release(inode);
        Need need = TRY_IN(need_of(inode, policy_), "{}: {}", use.described(), printable(inode.path));
        if (need == Need::none)
            return pin(inode, file, use);
        inode.xattrs = TRY_IN(read_xattrs(file), "{}: {}", use.described(), printable(inode.path));
        if (inode.mount_namespace == 0 &&
            (inode.naming == model::Naming::named || inode.naming == model::Naming::moved))
            inode.above = TRY_IN(above_of(inode.naming == model::Naming::moved ? inode.other_path : inode.path),
                                 "{}: above {}", use.described(), printable(inode.path));
        if (S_ISREG(inode.mode) || S_ISDIR(inode.mode)) // on a device the call would be another one
            inode.flags = read_flags(file);
        if (need == Need::shape) {
            inode.kept.strategy = Strategy::empty;
            inode.kept.rule = "built-in: it has no contents";
            return {};
        }
        policy::Choice choice = choose(inode, use);
        inode.kept.rule = choice.rule;
        for (Strategy strategy : choice.strategies) {
            auto done = check(strategy, inode, file);
            if (done)
                done = carry_out(strategy, inode, file);
            if (done) {
                inode.kept.strategy = strategy;
                return {};
            }
            inode.kept.tried.push_back({strategy, done.error().message()});
        }
        auto tried = std::move(inode.kept.tried);
        inode.kept = {};
        return within(refuse(inode, choice, tried).error(), "{}", use.described());
    }

    Result<> keep_unheld(model::Inode &inode, const Fd &file) override {
        inode.unheld = true;
        inode.kept.rule = "[runtime-directory]";
        inode.kept.strategy = S_ISREG(inode.mode) ? Strategy::embed : Strategy::empty;
        // What is root's to give, nobody who could write there was meant to have
        inode.xattrs = TRY(read_xattrs(file));
        std::erase_if(inode.xattrs, [](const auto &one) {
            return one.first.starts_with("security.") || one.first.starts_with("trusted.");
        });
        if (S_ISREG(inode.mode))
            inode.mode &= ~static_cast<uint32_t>(S_ISUID | S_ISGID);
        inode.above = TRY(above_of(inode.path));
        return S_ISREG(inode.mode) ? embed(inode, file) : Result<>();
    }

    [[nodiscard]] Digests digests() const override { return digests_; }

    Result<> sync() override {
        for (const Placed &placed : placed_) {
            Fd file = TRY(open_at(placed.area->files.get(), placed.name, O_RDONLY | O_NOFOLLOW | O_NOATIME));
            if (::fsync(file.get()) != 0)
                return fail(errno, "cannot write {}/{} to disk", printable(placed.area->path), placed.name);
        }
        TRY(pins_.share(deleted_));
        for (const auto &[key, area] : areas_) {
            struct statfs fs = {};
            if (::fstatfs(area.files.get(), &fs) == 0 && names_follow_files(static_cast<uint32_t>(fs.f_type)))
                continue;
            for (const Fd *directory : {&area.files, &area.area, &area.above}) {
                Fd readable = TRY(open_at(directory->get(), ".", O_RDONLY | O_DIRECTORY));
                if (::fsync(readable.get()) != 0)
                    return fail(errno, "cannot write {} to disk", printable(area.path));
            }
        }
        return {};
    }

    void discard() noexcept override {
        for (const Placed &placed : placed_)
            ::unlinkat(placed.area->files.get(), placed.name.c_str(), 0);
        placed_.clear();
        for (const auto &[key, area] : areas_)
            remove_if_empty(area.above, key.second, area.area, id_);
        areas_.clear();
        pins_.forget();
        if (deleted_) {
            for (uint64_t i = 1; i <= blob_count_; i++)
                ::unlinkat(deleted_.get(), fmt::format_int(i).c_str(), 0);
            remove_ledger(deleted_);
            deleted_.reset();
            ::rmdir((images_ + "/deleted").c_str());
        }
        blob_count_ = 0;
        digests_.clear();
        embedded_ = 0;
    }

  private:
    using AreaKey = std::pair<std::pair<dev_t, ino_t>, std::string>; // the directory that holds the area, and its name

    struct Placed { // a file in an area
        const AreaDirectory *area;
        std::string name;
    };

    [[nodiscard]] policy::Choice choose(const model::Inode &inode, const engine::FileUse &use) const {
        return policy_.choose({.path = inode.path,
                               .size = inode.size,
                               .file_system = inode.identity.fs_type,
                               .owner = inode.uid,
                               .state = state_of(inode),
                               .mapped = use.mapped,
                               .writable = use.writable});
    }

    // What can be written to is not what a package brings.
    [[nodiscard]] std::vector<Strategy> pins_of(const model::Inode &inode, const engine::FileUse &use) const {
        if (use.writable || !S_ISREG(inode.mode) || inode.naming != model::Naming::named)
            return {};
        return policy_.pin(inode.path);
    }

    Result<> pin(model::Inode &inode, const Fd &file, const engine::FileUse &use) {
        for (const Strategy strategy : pins_of(inode, use)) {
            auto done = PinnedCopies::check(strategy, inode);
            if (done) {
                TRY(open_deleted());
                done = pins_.make(strategy, inode, file, deleted_, fmt::format("{}", blob_count_ + 1));
            }
            if (done) {
                inode.kept.blob = fmt::format("{}", ++blob_count_); // from here on discard() removes it
                inode.xattrs = TRY_IN(read_xattrs(file), "{}: {}", use.described(), printable(inode.path));
                inode.kept.strategy = Strategy::pin;
                inode.kept.rule = "[[pin]]";
                return {};
            }
            inode.kept.tried.push_back({strategy, done.error().message()});
        }
        return {};
    }

    // "reason; advice"
    static std::unexpected<Error> refuse(const model::Inode &inode, const policy::Choice &choice,
                                         const std::vector<model::FailedTry> &tried) {
        std::string reasons;
        for (const model::FailedTry &one : tried) {
            if (one.strategy != Strategy::fail)
                reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : ", ", policy::strategy_name(one.strategy),
                                       one.reason);
        }
        if (choice.strategies.back() == Strategy::fail)
            return fail(0, "{} ({}) is not to be kept, says the policy{}{}; change the rule at {}, or close the file",
                        printable(inode.path), naming_word(inode), reasons.empty() ? "" : ": ", reasons, choice.rule);
        return fail(0,
                    "{} ({}, {} bytes) cannot be kept: {}; choose another strategy or limit in "
                    "/etc/abeyance/policy.toml (in force: {})",
                    printable(inode.path), naming_word(inode), inode.size, reasons, choice.rule);
    }

    static Result<> no_area_there() {
        return fail(EOPNOTSUPP, "it is seen only in a mount namespace of a program's own");
    }

    // Whether a strategy is possible, without touching anything. What this cannot see, carry_out() meets.
    Result<> check(Strategy strategy, const model::Inode &inode, const Fd &file) const {
        switch (strategy) {
        case Strategy::empty:
            return {};
        case Strategy::fail:
        case Strategy::pin:
        case Strategy::none:
            return fail(0, "the policy refuses it");
        case Strategy::embed:
            return check_embed(inode, file);
        case Strategy::relink:
            if (inode.mount_namespace != 0)
                return no_area_there();
            if (keep_running_)
                return fail(0, "its processes go on and could change it");
            if (inode.links == 0 && inode.naming != model::Naming::tmpfile)
                return fail(ENOENT, "it has no name left that another could be made from");
            break;
        case Strategy::reflink:
            if (inode.mount_namespace != 0)
                return no_area_there();
            if (!policy::may_reflink(inode.identity.fs_type))
                return fail(EOPNOTSUPP, "{} cannot share data", policy::file_system_name(inode.identity.fs_type));
            break;
        case Strategy::copy:
            if (inode.mount_namespace != 0)
                return no_area_there();
            break;
        }
        if (policy::is_volatile(inode.identity.fs_type))
            return fail(0, "{} does not outlast a reboot", policy::file_system_name(inode.identity.fs_type));
        AreaPlace place = TRY(find_area(policy_.area(inode.path), inode.path, inode.identity));
        TRY(check_area(place));
        if (strategy != Strategy::copy)
            return {};
        const auto above = TRY(stat_of(place.above));
        const auto reserved = reserved_.find(above.st_dev);
        return check_space(place.above,
                           TRY(further(inode, file)) + (reserved == reserved_.end() ? 0 : reserved->second));
    }

    static std::pair<uint64_t, uint64_t> key_of(const model::Inode &inode) {
        return {inode.identity.device, inode.identity.number};
    }

    // What a plan for this file adds to those that were made before: nothing, when it has one.
    [[nodiscard]] Result<uint64_t> further(const model::Inode &inode, const Fd &file) const {
        if (planned_.contains(key_of(inode)))
            return 0;
        return data_size(file);
    }

    // So that all plans together are possible, not only each.
    void reserve(Strategy strategy, const model::Inode &inode, const Fd &file) {
        if ((strategy != Strategy::embed && strategy != Strategy::copy) || planned_.contains(key_of(inode)))
            return;
        Plan plan{.embedded = strategy == Strategy::embed, .bytes = data_size(file).value_or(0)};
        if (!plan.embedded)
            if (const auto place = find_area(policy_.area(inode.path), inode.path, inode.identity))
                if (const auto stat = stat_of(place->above))
                    plan.device = stat->st_dev;
        (plan.embedded ? to_embed_ : reserved_[plan.device]) += plan.bytes;
        planned_.emplace(key_of(inode), plan);
    }

    // It is being carried out.
    void release(const model::Inode &inode) {
        const auto planned = planned_.find(key_of(inode));
        if (planned == planned_.end())
            return;
        const Plan &plan = planned->second;
        (plan.embedded ? to_embed_ : reserved_[plan.device]) -= plan.bytes;
        planned_.erase(planned);
    }

    // Where embedded contents go, or will.
    [[nodiscard]] Result<Fd> store() const {
        for (std::string path = images_; path.size() > 1; path.resize(path.rfind('/')))
            if (auto directory = open_file(path, O_PATH | O_DIRECTORY))
                return directory;
        return fail(ENOENT, "no image is to be written");
    }

    [[nodiscard]] Result<> check_embed(const model::Inode &inode, const Fd &file) const {
        uint64_t size = TRY(data_size(file));
        const uint64_t more = TRY(further(inode, file));
        if (size > policy_.limits().embed)
            return fail(EFBIG, "its {} bytes of data are more than embed-limit allows ({})", size,
                        policy_.limits().embed);
        if (more > policy_.limits().embed_total - std::min(embedded_ + to_embed_, policy_.limits().embed_total))
            return fail(EFBIG, "all embedded files would be more than embed-total-limit allows ({} bytes)",
                        policy_.limits().embed_total);
        const auto directory = store();
        return directory ? check_space(*directory, more + to_embed_) : Result<>();
    }

    Result<> carry_out(Strategy strategy, model::Inode &inode, const Fd &file) {
        switch (strategy) {
        case Strategy::embed:
            return embed(inode, file);
        case Strategy::relink:
            return place(inode, [&](const Fd &directory, const std::string &name) -> Result<> {
                // linkat(2), AT_EMPTY_PATH: through another process's open file, needs CAP_DAC_READ_SEARCH
                if (::linkat(file.get(), "", directory.get(), name.c_str(), AT_EMPTY_PATH) != 0)
                    return fail(errno, "cannot link it");
                return {};
            });
        case Strategy::reflink:
        case Strategy::copy:
            return place(inode, [&](const Fd &directory, const std::string &name) -> Result<> {
                Fd from = TRY(reopen(file, O_RDONLY | O_NONBLOCK | O_NOATIME));
                Fd to = TRY(open_at(directory.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
                auto done =
                    strategy == Strategy::reflink ? clone_contents(from, to) : copy_contents(from, to, inode.size);
                if (done && static_cast<uint64_t>(TRY(stat_of(to)).st_size) != inode.size)
                    done = fail(EIO, "its size changed while it was kept");
                return done;
            });
        case Strategy::empty:
        case Strategy::fail:
        case Strategy::pin:
        case Strategy::none:
            break;
        }
        return {};
    }

    // Makes a file in the dedicated area by `make`; nothing remains of one that fails.
    template <class F> Result<> place(model::Inode &inode, F &&make) {
        const AreaDirectory &area = *TRY(area_of(inode));
        std::string name = fmt::format("{}-{}", inode.identity.number, ++placed_count_);
        auto made = make(area.files, name);
        if (!made) {
            ::unlinkat(area.files.get(), name.c_str(), 0);
            return made;
        }
        placed_.push_back({&area, name});
        inode.kept.place = area.path + "/" + name;
        return {};
    }

    Result<const AreaDirectory *> area_of(const model::Inode &inode) {
        AreaPlace place = TRY(find_area(policy_.area(inode.path), inode.path, inode.identity));
        struct stat stat = TRY(stat_of(place.above));
        AreaKey key = {{stat.st_dev, stat.st_ino}, place.name};
        auto found = areas_.find(key);
        if (found == areas_.end()) {
            std::string path = TRY(area_path(place, id_));
            TRY(open_deleted());
            TRY(add_to_ledger(deleted_, path));
            found = areas_.emplace(key, TRY(open_area(std::move(place), id_))).first;
        }
        return &found->second;
    }

    Result<> open_deleted() {
        if (deleted_)
            return {};
        std::string directory = images_ + "/deleted";
        if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
            return fail(errno, "cannot make {}", printable(directory));
        deleted_ = TRY(open_file(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        return {};
    }

    Result<> fill_blob(const std::string &name, const Fd &from, const Fd &to, uint64_t size) {
        if (copies_itself(from, to))
            return copy_contents(from, to, size);
        digests_["deleted/" + name] = TRY(copy_and_digest(from, to, size));
        return {};
    }

    Result<> embed(model::Inode &inode, const Fd &file) {
        TRY(open_deleted());
        Fd from = TRY(reopen(file, O_RDONLY | O_NONBLOCK | O_NOATIME));
        std::string name = fmt::format("{}", blob_count_ + 1);
        Fd to = TRY(open_at(deleted_.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        blob_count_++; // from here on discard() removes it
        if (auto copied = fill_blob(name, from, to, inode.size); !copied) {
            ::unlinkat(deleted_.get(), name.c_str(), 0);
            return copied;
        }
        embedded_ += TRY(data_size(from));
        inode.kept.blob = name;
        return {};
    }

    const policy::Policy &policy_;
    const std::string images_;
    const std::string id_;
    const bool keep_running_;
    const Explain explain_;
    PinnedCopies pins_;
    Fingerprints fingerprints_;
    Fd deleted_; // IMAGES/deleted
    uint64_t blob_count_ = 0;
    Digests digests_;
    uint64_t embedded_ = 0; // bytes
    struct Plan {           // what is to be embedded or copied
        bool embedded = false;
        uint64_t bytes = 0;
        dev_t device = 0; // that the copy goes to
    };
    std::map<std::pair<uint64_t, uint64_t>, Plan> planned_; // by device and inode number
    uint64_t to_embed_ = 0;                                 // bytes of all plans
    std::map<dev_t, uint64_t> reserved_;
    uint64_t placed_count_ = 0;
    std::map<AreaKey, AreaDirectory> areas_; // references stay valid: placed_ has them
    std::vector<Placed> placed_;
};

} // namespace

std::unique_ptr<engine::FileKeeper> make_keeper(const policy::Policy &policy, std::string images,
                                                std::string checkpoint_id, bool keep_running, Explain explain,
                                                std::string pins) {
    return std::make_unique<Keeper>(policy, std::move(images), std::move(checkpoint_id), keep_running,
                                    std::move(explain), std::move(pins));
}

} // namespace abey::files
