// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/model/base.h"

namespace abey::model {

// A pseudo-terminal: master and slave together.
struct Terminal {
    ObjRef id = 0;
    uint32_t index = 0;         // N of /dev/pts/N
    bool master_inside = false; // a task of the tree holds the master; otherwise restore makes one for the keeper
    Bytes settings;             // struct termios2, TCGETS2
    Bytes locked_settings;      // struct termios, TIOCGLCKTRMIOS
    uint16_t rows = 0, columns = 0, x_pixels = 0, y_pixels = 0;
    int32_t session = 0;    // leader's pid (see Task::session), 0: nobody's controlling terminal
    int32_t foreground = 0; // process group
    bool packet_mode = false, exclusive = false, locked = false;
    uint32_t mode = 0, uid = 0, gid = 0; // of the slave's device node
    Bytes input;                         // written by the master, not yet read by the slave
    Bytes output;                        // written by the slave, not yet read by the master
};

} // namespace abey::model
