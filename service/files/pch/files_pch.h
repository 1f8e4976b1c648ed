// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What nearly every file here includes anyway, compiled once for all of them. No file may rely on it: each includes
// what it uses.

#include "engine/model/inode.h"
#include "engine/os/fd.h"
#include "engine/os/result.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
