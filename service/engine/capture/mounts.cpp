// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/capture/mounts.h"

#include "engine/os/mount_tree.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sched.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace abey::capture {

namespace {

// What can be made again from nothing but its options, and a tmpfs with its contents.
constexpr std::array<std::string_view, 4> remakable = {"tmpfs", "proc", "devpts", "mqueue"};
constexpr std::string_view gone_mark = "//deleted";

Result<os::Errand> send_scout(const Namespaces::Held &held) {
    return os::Errand::run([&held]() -> Result<os::Errand::Found> {
        if (::setns(held.file.get(), CLONE_NEWNS) < 0)
            return fail(errno, "cannot enter it");
        return os::Errand::Found{};
    });
}

// The session's mount that this one was made from, or could have been; nothing: it has no such file system.
std::optional<size_t> source_of(const os::MountTable &session, const os::MountLine &mount) {
    std::optional<size_t> best;
    const auto rank = [&](size_t i) {
        const auto &candidate = session[i];
        const bool related = (mount.shared != 0 && mount.shared == candidate.shared) ||
                             (mount.master != 0 && mount.master == candidate.shared);
        return std::tuple(related, os::in_the_way(session, i).empty(), candidate.place == mount.place,
                          candidate.root == mount.root);
    };
    for (size_t i = 0; i < session.size(); ++i)
        if (session[i].same_file_system(mount) && os::below(mount.root, session[i].root) &&
            (!best || rank(i) > rank(*best)))
            best = i;
    return best;
}

// Roots of the mounts that are taken from the session, for their identity; those that are covered there are reached in
// a copy of the session's namespace.
Result<std::vector<Fd>> look_at_sources(const os::MountTable &session, const std::vector<size_t> &wanted) {
    const auto errand = os::Errand::run([&]() -> Result<os::Errand::Found> {
        TRY(os::leave_mounts());
        const auto own = TRY(os::read_mounts(::getpid()));
        std::vector<size_t> order(wanted.size());
        for (size_t i = 0; i < order.size(); ++i)
            order[i] = i;
        std::vector<size_t> indexes;
        for (const size_t one : wanted) {
            const auto same = std::ranges::find_if(own, [&](const os::MountLine &line) {
                const auto index = static_cast<size_t>(&line - own.data());
                return line.place == session[one].place && line.same_file_system(session[one]) &&
                       os::level_of(own, index) == os::level_of(session, one);
            });
            if (same == own.end())
                return fail(EAGAIN, "the session's mounts are changing; try again");
            indexes.push_back(static_cast<size_t>(same - own.begin()));
        }
        std::ranges::sort(order, {}, [&](size_t i) { return os::in_the_way(own, indexes[i]).size(); });
        os::Errand::Found found;
        found.files.resize(wanted.size(), -1);
        for (const size_t i : order)
            found.files[i] = TRY(os::uncover(own, indexes[i])).release();
        return found;
    });
    if (!errand)
        return std::unexpected(errand.error());
    return std::move(const_cast<os::Errand &>(*errand).files()); // NOLINT: ours
}

struct Look {
    Context &context;
    const os::ProcStat &stat;
    model::Namespace &ns;
    MountNamespaces &all;
    const os::MountTable &table;
    const Namespaces::Held &held;
    const int scout;

    static std::string described(const os::MountLine &line) {
        return fmt::format("its mount of {} on {}", line.type, line.place);
    }

    // A mount of as much of the file system as the namespace has, without what is mounted below.
    [[nodiscard]] Result<std::pair<Fd, std::string>> top_of(const os::MountLine &line) const {
        const os::MountLine *widest = nullptr;
        for (size_t i = 0; i < table.size(); ++i)
            if (table[i].same_file_system(line) && os::in_the_way(table, i).empty() &&
                (widest == nullptr || table[i].root.size() < widest->root.size()))
                widest = &table[i];
        if (widest == nullptr || !os::below(line.root, widest->root))
            return fail(0, "{} is covered by another one, so its contents cannot be saved; unmount one of them",
                        described(line));
        auto sent = os::Errand::run([&]() -> Result<os::Errand::Found> {
            if (::setns(held.file.get(), CLONE_NEWNS) < 0)
                return fail(errno, "cannot enter it");
            const Fd place = TRY(abey::open_file(widest->place, O_PATH | O_NOFOLLOW));
            if (TRY(os::mount_id(place)) != static_cast<uint64_t>(widest->id))
                return fail(EAGAIN, "its mounts are changing; try again");
            os::Errand::Found found;
            found.files.push_back(TRY(os::clone_mount(place)).release());
            return found;
        });
        auto errand = TRY_IN(std::move(sent), "{}", described(line));
        return std::pair(std::move(errand.files().front()), widest->root.substr(1));
    }

    // Whose processes a proc shows: its first process is in the namespace of those.
    [[nodiscard]] Result<model::ObjRef> pids_of(const os::MountLine &line) const {
        const auto &namespaces = context.state<Namespaces>();
        const auto root = TRY(abey::open_file(fmt::format("/proc/{}/root", scout), O_PATH | O_DIRECTORY));
        const auto top = TRY_IN(os::look_in(root, line.place), "{}", described(line));
        if (TRY(os::mount_id(top)) != static_cast<uint64_t>(line.id))
            return fail(0,
                        "{} is covered by another one, so it cannot be seen whose processes it shows; unmount one "
                        "of them",
                        described(line));
        const std::string link = read_link(fmt::format("/proc/self/fd/{}/1/ns/pid", top.get())).value_or("");
        if (link == namespaces.own.at("pid"))
            return 0;
        if (const auto known = namespaces.by_link.find(link); known != namespaces.by_link.end())
            return known->second;
        return fail(0, "{} shows processes of a pid namespace in which none of the session's is; unmount it",
                    described(line));
    }

    Result<model::ObjRef> file_system(const os::MountLine &line) {
        const auto key = std::pair(line.major, line.minor);
        if (const auto known = all.file_systems.find(key); known != all.file_systems.end())
            return known->second;
        if (std::ranges::find(remakable, line.type) == remakable.end())
            return fail(0, "{} cannot be restored yet, as the session has no such mount; unmount it", described(line));
        model::FileSystem made;
        made.type = line.type;
        made.source = line.source;
        made.options = line.options;
        made.read_only = line.options == "ro" || line.options.starts_with("ro,");
        made.owner = ns.owner;
        if (line.type == "mqueue") {
            const uint64_t device = makedev(line.major, line.minor);
            made.ns = context.state<Namespaces>().of_queue_device(device);
            const uint64_t usual = TRY(own_queue_device());
            if (made.ns == 0 && usual != device)
                return fail(0, "{} shows the message queues of another ipc namespace; unmount it", described(line));
        }
        if (line.type == "proc")
            made.ns = TRY(pids_of(line));
        made.id = context.tree.next_id();
        if (line.type == "tmpfs") {
            const auto [top, base] = TRY(top_of(line));
            TRY_IN(capture_contents(context, stat, top, base, made), "{}", described(line));
        }
        all.file_systems.emplace(key, made.id);
        const model::ObjRef id = made.id;
        context.tree.file_systems.emplace(id, std::move(made));
        return id;
    }
};

} // namespace

Result<> look_into_mounts(Context &context, const os::ProcStat &stat, const Namespaces::Held &held,
                          model::Namespace &ns) {
    auto &all = context.state<MountNamespaces>();
    if (all.session.empty())
        all.session = TRY(os::read_mounts(::getpid()));
    auto scout = TRY(send_scout(held));
    const auto table = TRY(os::read_mounts(scout.pid()));
    Fd root = TRY(abey::open_file(fmt::format("/proc/{}/root", scout.pid()), O_PATH | O_DIRECTORY));
    Look look{context, stat, ns, all, table, held, scout.pid()};

    std::vector<std::optional<size_t>> sources;
    std::vector<size_t> wanted;
    for (const os::MountLine &line : table) {
        const auto source = source_of(all.session, line);
        sources.push_back(source);
        if (line.root.ends_with(gone_mark))
            return fail(0,
                        "{} is of a directory or file that has been deleted since, which cannot be restored yet; "
                        "unmount it",
                        Look::described(line));
        if (source)
            wanted.push_back(*source);
    }
    std::ranges::sort(wanted);
    wanted.erase(std::ranges::unique(wanted).begin(), wanted.end());
    const auto roots = TRY(look_at_sources(all.session, wanted));

    std::set<int> session_groups;
    for (const os::MountLine &line : all.session)
        session_groups.insert(line.shared);
    for (size_t i = 0; i < table.size(); ++i) {
        const os::MountLine &line = table[i];
        model::Mount mount;
        mount.parent = static_cast<uint32_t>(line.above);
        mount.place = line.place;
        mount.root = line.root;
        mount.type = line.type;
        mount.attributes = line.attributes;
        mount.unbindable = line.unbindable;
        if (session_groups.contains(line.shared) && line.shared != 0)
            mount.shared_with_session = true;
        else
            mount.shared = static_cast<uint32_t>(line.shared);
        if (session_groups.contains(line.master) && line.master != 0)
            mount.slave_of_session = true;
        else
            mount.master = static_cast<uint32_t>(line.master);
        if (const auto source = sources[i]) {
            const os::MountLine &there = all.session[*source];
            mount.source_place = there.place;
            mount.source_level = os::level_of(all.session, *source);
            auto below = os::below(line.root, there.root);
            if (!below)
                return fail(0, "{} is not of what the session has at {}", Look::described(line), there.place);
            mount.source_path = std::move(*below);
            const auto at = static_cast<size_t>(std::ranges::lower_bound(wanted, *source) - wanted.begin());
            const auto file = os::look_below(roots.at(at), mount.source_path);
            if (!file)
                return fail(0, "{} is of {}, which cannot be reached below the session's mount on {}; unmount it",
                            Look::described(line), line.root, there.place);
            mount.inode =
                TRY_IN(context.files.identify(*file,
                                              there.place == "/"          ? "/" + mount.source_path
                                              : mount.source_path.empty() ? there.place
                                                                          : there.place + "/" + mount.source_path,
                                              root, false),
                       "{}", Look::described(line));
        } else {
            mount.file_system = TRY(look.file_system(line));
        }
        ns.mounts.push_back(std::move(mount));
    }
    ns.id = context.tree.next_id();
    for (size_t i = 0; i < table.size(); ++i)
        all.by_id[static_cast<uint64_t>(table[i].id)] = {ns.id, static_cast<uint32_t>(i)};
    all.own.emplace(ns.id, MountNamespaces::One{std::move(scout), std::move(root), stat.comm});
    return {};
}

std::string differing_mount(Context &context, int pid) {
    const auto &all = context.state<MountNamespaces>().by_pid;
    const auto own = all.find(pid);
    if (own == all.end())
        return "";
    for (const model::Mount &mount : context.tree.namespaces.at(own->second).mounts) {
        const auto path = os::below(mount.place, mount.source_place);
        if (mount.file_system == 0 && (!path || *path != mount.source_path))
            return mount.place;
    }
    return "";
}

std::optional<MountNamespaces::Place> place_of(Context &context, uint64_t mount_id) {
    const auto &all = context.state<MountNamespaces>().by_id;
    const auto known = all.find(mount_id);
    return known == all.end() ? std::nullopt : std::optional(known->second);
}

} // namespace abey::capture
