// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What a file that a process holds needs in order to be found again.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/result.h"
#include "policy/policy.h"

#include <string_view>

namespace abey::files {

enum class Need : uint8_t {
    none,     // found again by name and identity
    shape,    // no contents: a deleted directory, fifo, socket or device is just made again
    contents, // by a strategy
};

// The error says why nothing could bring it back.
Result<Need> need_of(const model::Inode &inode, const policy::Policy &policy);

// What rules of the policy ask for, and how messages say it.
policy::FileState state_of(const model::Inode &inode);
std::string_view naming_word(const model::Inode &inode);

// fsync(2) promises nothing about a new file's name, but these write it, and new directories above it, with the file;
// asking for the directories one by one would cost a flush of the disk each.
bool names_follow_files(uint64_t fs_type);

} // namespace abey::files
