// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The open files of a tree, all kinds together. Order: fill(), then the tasks take descriptors and mappings, then
// in_task() for every task, then finish().
#pragma once

#include "engine/rebuild/kind.h"

namespace abey::rebuild {

// Makes every open file of the tree in the worker (Context::open_file) but late ones, fills queues and memory, then
// sets status flags, positions and locks. The tasks' pids should exist by now: credentials of queued messages name
// them.
Result<> fill(Context &context);

// The worker's descriptor of an open file that a task takes for its table; a late one is made. Each descriptor of each
// table is taken once.
Result<int> take(Context &context, model::ObjRef id);
// When the tasks have what they took: closes what no other table needs.
void taken(Context &context);

// Appends what only the task itself can do once its descriptors have their final numbers: epoll targets, POSIX locks,
// owners of signals. For each table shared by several tasks only the first call appends something. Before
// credentials are set (the husk is still root). `flush` runs what is in the batch and empties it; it is called whenever
// there is little room left.
Result<> in_task(Context &context, const model::Task &task, os::Batch &batch,
                 const std::function<Result<>()> &flush = {});

// When every task has its mappings: what would have stood in their way (seals of memfds).
Result<> finish(Context &context);

// The worker's descriptor of a terminal's slave, for TIOCSCTTY and TIOCSPGRP in the husk; opened when no open file of
// the tree is one. Stays owned by the context.
Result<int> terminal_slave(Context &context, model::ObjRef terminal);

} // namespace abey::rebuild
