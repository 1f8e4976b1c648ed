// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Paths that are longer than a system call takes (PATH_MAX, 4096 with the NUL): programs come to them by relative
// names.
#pragma once

#include "engine/os/fd.h"

#include <string>
#include <string_view>

namespace abey::os {

// As open_at(), also of a longer path, which is gone along in pieces: the directories above must not be links then.
Result<Fd> open_long(int directory, std::string_view path, int flags);
// The same of an absolute path, or one from where we are.
Result<Fd> open_long(std::string_view path, int flags);

// What the link of a descriptor of ours in /proc shows (proc(5), /proc/PID/fd). The kernel does not tell it when it is
// longer (ENAMETOOLONG): then, of a regular file, from /proc/self/maps while it is mapped, which knows no limit; of a
// directory, from the names on the way up. ENAMETOOLONG: of anything else, or of a directory that has none any more.
Result<std::string> shown_path(const Fd &file);

} // namespace abey::os
