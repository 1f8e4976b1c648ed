#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What runs in the virtual machine, as its first process: CHECKOUT/tests/vm/job.sh BUILD [PART...]. Its words are on the
# console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb ABEY_PATIENCE=600
cd "$(dirname "$(readlink -f "$0")")/../.." || echo b >/proc/sysrq-trigger
build=$1
parts=" ${*:2} "
[[ $# -gt 1 ]] || parts=" homes session scenarios demo "
ip link set lo up
for module in loop btrfs ext4 xfs nilfs2 quota_v2 unix_diag inet_diag tcp_diag udp_diag raw_diag netlink_diag overlay; do
    modprobe "$module"
done
# a tmpfs of this age knows no O_DIRECT
truncate -s 2G /var/tmp/disk
mkfs.ext4 -q /var/tmp/disk && mount -o loop /var/tmp/disk /tmp && chmod 1777 /tmp
echo "vm: begin"
uname -srm
failed=0
if [[ $parts == *" homes "* ]]; then
    # homes on NILFS2, mounts that cannot be renewed beneath the former one (before Linux 6.5), quotas of ext4 and XFS;
    # there is everything here that these need, so that none may be skipped
    "$build/tests/unit/unit-snapshot" --gtest_filter='*TreeTest.*nilfs2*:MountedHomeTest.*:*QuotaTest.*' --gtest_brief=1 \
        </dev/null >/var/tmp/homes 2>&1 || failed=1
    grep -E "PASSED|SKIPPED|FAILED|Failure|^  |error" /var/tmp/homes
    ! grep -q "cannot make or mount\|has no quotas" /var/tmp/homes || failed=1
fi
if [[ $parts == *" session "* ]]; then # of a user whose home is on NILFS2
    tests/host/home_test.py --build "$build" nilfs2 </dev/null || failed=1
fi
if [[ $parts == *" scenarios "* ]]; then
    tests/scenarios/run.py --build "$build" --jobs 2 --mode plain </dev/null || failed=1
    tests/scenarios/run.py --build "$build" --jobs 2 --mode twice </dev/null || failed=1
fi
for part in leave return; do # what is suspended under one kernel comes back under another, in two boots with one disk
    [[ $parts == *" $part "* ]] || continue
    modprobe virtio_blk
    [[ $part == return ]] || mkfs.ext4 -q /dev/vda
    mkdir -p /mnt/state
    mount /dev/vda /mnt/state && tests/vm/kernels.py "$part" --build "$build" /mnt/state </dev/null || failed=1
    tests/vm/kernel_session.py "$part" --build "$build" /mnt/state </dev/null || failed=1
    umount -l /mnt/state
    sync
done
if [[ $parts == *" demo "* ]]; then
    tests/host/demo.py --build "$build" </dev/null || failed=1
fi
echo "vm: end $failed"
echo o >/proc/sysrq-trigger
sleep 60
