// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Namespaces (namespaces(7)) that programs of the tree had made. The worker makes each one, holds it by a descriptor,
// and goes into it to fill it; husks enter those of their tasks while they are still empty.
#pragma once

#include "engine/os/namespace.h"
#include "engine/rebuild/husk.h"

#include <optional>

namespace abey::rebuild {

// When the husks exist, before anything is made in a namespace.
Result<> make_namespaces(Context &context);

// Before the husk is filled: its descriptor table is empty. All but the user namespace: beyond that it has no
// privileges any more.
Result<> enter_namespaces(Context &context, Husk &husk, const model::Task &task);

// The worker's descriptor of one; owned by the context.
Result<const Fd *> own_namespace(Context &context, model::ObjRef id);

// Makes the worker work inside of one until the result goes; 0: nothing is done.
Result<std::optional<os::Inside>> inside_namespace(Context &context, model::ObjRef id);

// The namespace of this type that a task is in; 0: the session's.
model::ObjRef namespace_of(const model::Tree &tree, const model::Task &task, std::string_view type);

// What a process or process group of the tree is called where `task` is (pid_namespaces(7)); 0: nothing, it is above or
// beside.
int process_seen_by(const model::Tree &tree, const model::Task &task, int pid);
int group_seen_by(const model::Tree &tree, const model::Task &task, int group);

} // namespace abey::rebuild
