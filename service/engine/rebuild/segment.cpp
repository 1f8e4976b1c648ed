// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/rebuild/segment.h"

#include "engine/os/segment.h"
#include "engine/rebuild/ipc_identity.h"
#include "engine/rebuild/own_namespaces.h"

#include <vector>

#include <sys/ipc.h>
#include <sys/shm.h>

namespace abey::rebuild {
namespace {

// Context::state: what was made here.
struct MadeSegments {
    MadeSegments() = default;
    MadeSegments(const MadeSegments &) = delete;
    MadeSegments &operator=(const MadeSegments &) = delete;
    ~MadeSegments() {
        if (context != nullptr && !context->released)
            for (const int identifier : identifiers)
                ::shmctl(identifier, IPC_RMID, nullptr);
    }
    const Context *context = nullptr;
    std::vector<int> identifiers;
};

Result<> make(Context &context, const model::SharedMemory &memory) {
    TRY(choose_next_id("shm", memory.identifier));
    int made = -1;
    {
        const AsCreator creator(memory.creator_uid, memory.creator_gid);
        if (creator.failed())
            return fail(EPERM, "cannot act as user {}", memory.creator_uid);
        made = ::shmget(memory.key, memory.size, IPC_CREAT | IPC_EXCL | static_cast<int>(memory.mode & 0777U));
    }
    if (made < 0)
        return fail(errno, "cannot make the segment again (key 0x{:x}, {} bytes){}", memory.key, memory.size,
                    errno == EEXIST ? "; another one has its key now: remove it with ipcrm" : "");
    auto &state = context.state<MadeSegments>();
    state.context = &context;
    if (memory.ipc_namespace == 0) // another one takes it along
        state.identifiers.push_back(made);
    if (made != memory.identifier)
        return fail(EEXIST, "its identifier {} is taken; remove the other one with ipcrm", memory.identifier);
    shmid_ds segment = {};
    if (::shmctl(made, IPC_STAT, &segment) < 0)
        return fail(errno, "cannot ask for the segment's owner");
    segment.shm_perm.uid = memory.uid;
    segment.shm_perm.gid = memory.gid;
    segment.shm_perm.mode = static_cast<decltype(segment.shm_perm.mode)>(memory.mode);
    if (::shmctl(made, IPC_SET, &segment) < 0)
        return fail(errno, "cannot set owner and mode of the segment");
    return {};
}

Result<Segment> open(Context &context, const model::SharedMemory &memory) {
    const auto inside = TRY(inside_namespace(context, memory.ipc_namespace));
    Segment segment;
    shmid_ds there = {};
    if (::shmctl(memory.identifier, IPC_STAT, &there) == 0) {
        if (there.shm_segsz != memory.size || there.shm_perm.__key != memory.key ||
            there.shm_perm.cuid != memory.creator_uid)
            return fail(EEXIST, "another segment has its identifier now; remove that with ipcrm");
        segment.in_use = there.shm_nattch != 0;
    } else {
        TRY(make(context, memory));
    }
    segment.file = TRY(os::segment_file(memory.identifier, memory.size, true));
    return segment;
}

} // namespace

Result<Segment> open_segment(Context &context, const model::SharedMemory &memory) {
    return TRY_IN(open(context, memory), "System V shared memory {}", memory.identifier);
}

Result<> finish_segment(Context &context, const model::SharedMemory &memory) {
    const auto inside = TRY(inside_namespace(context, memory.ipc_namespace));
    if (memory.removed && ::shmctl(memory.identifier, IPC_RMID, nullptr) < 0)
        return fail(errno, "cannot mark System V shared memory {} for removal", memory.identifier);
    return {};
}

} // namespace abey::rebuild
