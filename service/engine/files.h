// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the engine asks of whoever knows about the identity of files and about policies (files/ implements both sides).
#pragma once

#include "engine/image/digest.h"
#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <functional>
#include <map>
#include <optional>
#include <string_view>

namespace abey::engine {

// What lay under a name (relative to the home, bytes) at the suspend: type, size, mtime, inode number. Where the home
// was brought back by copying, inode numbers are others.
using FormerFiles = std::function<std::optional<model::Inode>(const std::string &path)>;

// Who holds a file, for rules and for messages.
struct FileUse {
    int pid = 0;
    std::string comm;
    int descriptor = -1;        // -1: held by a mapping without descriptor
    uint64_t mapping_start = 0; // with descriptor -1
    uint64_t mapping_end = 0;
    bool mapped = false;
    bool writable = false;

    // "process 12 (bash), descriptor 3" or "process 12 (bash), mapping 7f00-7f10"
    [[nodiscard]] std::string described() const;
};

// Capture's side.
class FileKeeper {
  public:
    FileKeeper() = default;
    FileKeeper(const FileKeeper &) = delete;
    FileKeeper &operator=(const FileKeeper &) = delete;
    virtual ~FileKeeper() = default;

    // Identity, attributes and naming of the file behind `file` (any open flags, O_PATH too); `shown` is the link text
    // of /proc/PID/fd/N or map_files, `root` a descriptor of the task's root directory (names are looked up below it).
    // Changes nothing on any file system. id and kept are left empty. `elsewhere`: the root is one in another mount
    // namespace, so names are looked up nowhere else.
    virtual Result<model::Inode> identify(const Fd &file, const std::string &shown, const Fd &root, bool elsewhere) = 0;

    // Does this file need keeping (no name, a name of another, a file system that does not last)? If so chooses a
    // strategy. Changes nothing: used by preflight. Strategy::none when the file needs no keeping; an error when the
    // policy says `fail` or when nothing in the list is possible: "reason; advice", which names the path and the policy
    // line that would change it. Who holds the file is for the caller to add; keep() adds it itself.
    virtual Result<model::Strategy> plan(const model::Inode &inode, const Fd &file, const FileUse &use) = 0;

    // Before the processes stand still: takes down what is in the files that a process has mapped, so that
    // fingerprint() need not read them then. `maps`: its /proc/PID/maps. A hint.
    virtual void look_ahead(int /*pid*/, std::string_view /*maps*/) {}

    // Of a file that is found again by its name: fills inode.content, as far as that can be done by reading `file`,
    // whose open flags are as its holder has them.
    virtual void fingerprint(model::Inode & /*inode*/, const Fd & /*file*/, const FileUse & /*use*/) {}

    // Carries the plan out and fills inode.kept (and xattrs). Embedded contents go to the image's deleted/ directory.
    // `file` is readable; through it the contents are taken.
    virtual Result<> keep(model::Inode &inode, const Fd &file, const FileUse &use) = 0;

    // A file, directory or symbolic link under a name that does not last, which no process holds: takes down all that
    // it is made again from. Contents go to the image, whatever its rules say of files that are held.
    virtual Result<> keep_unheld(model::Inode & /*inode*/, const Fd & /*file*/) { return {}; }

    // Of embedded contents, as far as they were taken with the copy: by the file's name in the image.
    using Digests = std::map<std::string, std::vector<image::Digest>>;
    [[nodiscard]] virtual Digests digests() const { return {}; }

    // What keep() has put into dedicated areas is on disk when this returns; embedded contents are synced with the
    // image. To be called once after the last keep() and before the manifest is written; it may take as long as the
    // disk does.
    virtual Result<> sync() = 0;

    // Removes everything that keep() has put anywhere: the checkpoint is given up.
    virtual void discard() noexcept = 0;
};

// Restore's side.
class FileOpener {
  public:
    FileOpener() = default;
    FileOpener(const FileOpener &) = delete;
    FileOpener &operator=(const FileOpener &) = delete;
    virtual ~FileOpener() = default;

    // From now on, names in this mount namespace or file system of the tree are looked up below that directory, which
    // must stay open.
    virtual void enter(model::ObjRef mount_namespace, int root) = 0;

    // Is the file behind the descriptor the saved one, by its identity? What was written to it since does not matter.
    virtual Result<> recognise(const model::Inode &inode, const Fd &file) = 0;

    // Could open() succeed? Identity of named files, presence of kept ones. Touches nothing.
    virtual Result<> check(const model::Inode &inode) = 0;

    // A new open file on the inode, with these open(2) flags (never O_TRUNC or O_CREAT). Opening the same inode again
    // gives another open file on the same inode. For kept inodes the file is made on the first call, with link count,
    // path as /proc shows it, mode, owner, times and xattrs as they were. Never opens a file whose identity differs.
    virtual Result<Fd> open(const model::Inode &inode, uint32_t flags) = 0;

    // Before anything is opened: of this inode, which has no name any more, rename() will want this one, too.
    virtual void expect(const model::Inode & /*inode*/, const std::string & /*name*/) {}

    // What open() has returned for these flags, as /proc shows it when it was opened by another of its names, which may
    // be gone since (`unlinked`). Where the name does not lead to this inode any more it is handed back as it is.
    virtual Result<Fd> rename(const model::Inode & /*inode*/, Fd opened, uint32_t /*flags*/,
                              const std::string & /*name*/, bool /*unlinked*/) {
        return opened;
    }

    // What no process holds (Inode::unheld) is there again. Nothing is done when it is on the same file system still,
    // where its owner may have removed it, or when something has its name.
    virtual Result<> put_back(const model::Inode & /*inode*/) { return {}; }

    // Everything else is ready, nothing runs yet: what changes files that others see, too. The last step that may fail.
    virtual Result<> settle() { return {}; }

    // After release: removes what copy, relink and reflink left in the dedicated area unless the checkpoint stays
    // usable by keeping it (`keep_checkpoint`).
    virtual Result<> finish(bool keep_checkpoint) = 0;
};

} // namespace abey::engine
