#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What runs in the virtual machine, as its first process: CHECKOUT/tests/vm/job.sh BUILD. Its words are on the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
cd "$(dirname "$(readlink -f "$0")")/../.." || echo b >/proc/sysrq-trigger
ip link set lo up
for module in loop btrfs ext4 nilfs2 unix_diag inet_diag tcp_diag udp_diag raw_diag netlink_diag overlay; do
    modprobe "$module"
done
# a tmpfs of this age knows no O_DIRECT
truncate -s 2G /var/tmp/disk
mkfs.ext4 -q /var/tmp/disk && mount -o loop /var/tmp/disk /tmp && chmod 1777 /tmp
echo "vm: begin"
uname -srm
failed=0
tests/scenarios/run.py --build "$1" --jobs 2 --mode plain </dev/null || failed=1
tests/scenarios/run.py --build "$1" --jobs 2 --mode twice </dev/null || failed=1
# homes on NILFS2, which other kernels may lack
"$1/tests/unit/unit-snapshot" --gtest_filter='*TreeTest.*nilfs2*' --gtest_brief=1 </dev/null || failed=1
tests/host/demo.py --build "$1" </dev/null || failed=1
echo "vm: end $failed"
echo o >/proc/sysrq-trigger
sleep 60
