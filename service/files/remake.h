// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Making files again so that /proc shows them as before: in the directory and under the name that they had.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace abey::files {

// The directory that a path lies in, with its missing parts made (0700, root). They are removed again, when empty, with
// this object, unless keep() is called.
class Parent {
  public:
    // What to do when something else than a directory has the name of one.
    enum class Blocked : uint8_t {
        refuse,
        stop_above, // good enough for a file without a name: is_blocked() tells
    };
    // `path` is relative to `base` and is walked without following symbolic links: /proc showed it without any, so one
    // that is there now was put there since, and would lead us to somewhere else.
    static Result<Parent> open(const std::string &base, const std::string &path, Blocked blocked = Blocked::refuse);
    // The nearest existing directory above `path`: makes nothing.
    static Result<Fd> nearest(const std::string &base, const std::string &path, Blocked blocked = Blocked::refuse);

    Parent(Parent &&) = default;
    Parent &operator=(Parent &&) = delete;
    Parent(const Parent &) = delete;
    Parent &operator=(const Parent &) = delete;
    ~Parent();

    [[nodiscard]] const Fd &directory() const { return directory_; }
    [[nodiscard]] const std::string &name() const { return name_; } // the path's last part
    // directory() is one further up, whose entry on the path is no directory.
    [[nodiscard]] bool is_blocked() const { return blocked_; }

    struct Made {
        Fd above;
        std::string name;
        std::optional<model::Above> as; // what it was like, where that is known
    };
    // The made directories stay, each as `above` tells (from the nearest on), or as its owner's alone; returned, so
    // that they can be removed yet, last first.
    Result<std::vector<Made>> keep(const std::vector<model::Above> &above, uint32_t uid, uint32_t gid);

  private:
    Parent() = default;
    Fd directory_;
    std::string name_;
    std::vector<Made> made_;
    bool blocked_ = false;
};

// The parts of a path as /proc shows them, without empty ones. EINVAL: it is none.
Result<std::vector<std::string>> parts_of(const std::string &path);

// Writes the contents into an empty file.
using Fill = std::function<Result<>(const Fd &file)>;

// A file without name, which /proc shows as "PATH (deleted)": it is made under its name and unlinked at once, still
// empty and root's, then filled and given its attributes. When the name is taken, nobody touches what has it: the file
// is made on a stage (stage.h); where that is not possible as ".NAME.abeyance-XXXXXXXX" in the same directory, and that
// is what /proc shows. O_PATH, or readable and writable. `while_named` gets an O_PATH descriptor of a regular file as
// long as it can be linked; may be null.
Result<Fd> make_deleted(const Parent &parent, const model::Inode &inode, const Fill &fill,
                        const std::function<void(const Fd &file)> &while_named = {});
// The same by O_TMPFILE: linkat(2) is allowed, as it was before.
Result<Fd> make_unnamed(const Parent &parent, const model::Inode &inode, const Fill &fill);
// A file under its name, which appears with contents and attributes complete; EEXIST when something has that name.
Result<Fd> make_named(const Parent &parent, const model::Inode &inode, const Fill &fill);
// An existing inode of the same mount, opened under this name, which is then removed; O_PATH. `path` is the absolute
// one, for when the name is taken.
Result<Fd> show_as_deleted(const Parent &parent, const std::string &path, const Fd &file);

} // namespace abey::files
