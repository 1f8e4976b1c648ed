// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Dedicated areas: where copy, relink and reflink keep files, as AREA/CHECKPOINT/FILE. An area and what is in it belong
// to root and nobody else may look into it (0700), so nobody else can have planted a file there; that is verified at
// every use, because the directory above it may well be a user's.
#pragma once

#include "engine/model/inode.h"
#include "engine/os/fd.h"

#include <string>

namespace abey::files {

// The top of the subvolume or mount that a directory lies in: the last one upwards with the same device and mount.
Result<Fd> top_of(const Fd &directory);

// The absolute path of an open directory, verified to lead to it.
Result<std::string> path_of(const Fd &directory);

// A checkpoint's directory in an area; all three directories O_PATH except `files`, which is readable.
struct AreaDirectory {
    Fd above, area, files;
    std::string path; // of `files`
};

// Where an area is, before anything has been made.
struct AreaPlace {
    Fd above;         // the directory that holds the area
    std::string name; // of the area in it
};

// `configured`: as policy::Policy::area() returns it. `path`: the file's; its directory, or the nearest one above it
// that is left, must lie on the file's file system and subvolume, or nothing could be linked or shared.
Result<AreaPlace> find_area(const std::string &configured, const std::string &path, const model::FileIdentity &file);

// Whether open_area() should succeed; makes nothing.
Result<> check_area(const AreaPlace &place);

// The path that open_area() will give.
Result<std::string> area_path(const AreaPlace &place, const std::string &checkpoint);

// Opens the checkpoint's directory there, makes what is missing.
Result<AreaDirectory> open_area(AreaPlace place, const std::string &checkpoint);

// A file of an area by its absolute path, as open_area() and a name make it. Every directory is verified.
struct KeptFile {
    Fd above, area, files;
    std::string area_name, checkpoint, name;
};
Result<KeptFile> find_kept(const std::string &path);

// Removes the file, and the directories when they are empty then. What does not exist is no error.
Result<> remove_kept_file(const std::string &path);
// A checkpoint's directory in an area with all files in it, and the area when it is empty then.
Result<> remove_kept_directory(const std::string &path);
// The directories alone, when empty.
void remove_if_empty(const Fd &above, const std::string &area_name, const Fd &area,
                     const std::string &checkpoint) noexcept;

} // namespace abey::files
