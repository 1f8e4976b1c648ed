#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Makes an image as the release at hand writes it, under the kernel that runs: make.sh ABEY-ENGINE DIR counter|clock. Done once for each
# format that was released, and for a kernel unlike later ones; what it has made is kept as it is, and never made again.
set -eu
engine=$(readlink -f "$1")
here=$(dirname "$(readlink -f "$0")")
images=$(readlink -m "$2")
cd /dev/shm # a directory in memory is known by its owner alone
gcc -Os -nostdlib -static -ffreestanding -fno-stack-protector -Wl,--build-id=none -Wl,-z,noseparate-code -o old-image "$here/$3.c"
strip old-image
pid=$(/usr/bin/python3 -c 'import subprocess as s
print(s.Popen(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "./old-image"], env={"PATH": "/usr/bin"}, start_new_session=True, stdin=s.DEVNULL, stdout=s.DEVNULL, stderr=s.DEVNULL).pid)')
sleep 1
rm old-image # so that its contents are in the image
"$engine" checkpoint --pid "$pid" --images "$images"
