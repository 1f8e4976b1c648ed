#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What needs another kernel about homes, a session with one, the engine's scenarios and the demo on Debian's own kernel, which is older than most (6.1), in a virtual machine;
and programs and a session that are suspended under that kernel and come back under a newer one (the part "kernels", two boots).

    machine.py --build DIR [--kernel PACKAGE] [--next-kernel PACKAGE] [--only PART]

A kernel's package is fetched with apt and unpacked below DIR/vm, never installed. Inside, this machine's file system is
the root, read-only, below an overlay in memory; nothing that is done there remains. Without KVM it is emulated, which
takes some ten times as long. Ends with 0 when everything passed.
"""

import argparse
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 3600  # seconds for all of it
PARTS = ["homes", "session", "scenarios", "demo", "kernels"]
NEEDED_EARLY = ("virtio_pci", "9pnet_virtio", "9p", "overlay")


def output_of(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def unpacked(package, directory):
    """The directory with the package's files, and the kernel's release."""
    listed = re.search(r"Depends: (linux-image-\d\S+)", output_of("apt-cache", "depends", package))
    package = listed.group(1) if listed else package
    files = directory / package
    if not files.exists():
        part = directory / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        output_of("apt-get", "-q", "download", package, cwd=part)
        archive = next(part.glob("*.deb"))
        output_of("dpkg-deb", "-x", archive, part / "files")
        (part / "files").rename(files)
        shutil.rmtree(part)
    release = next((files / "lib/modules").iterdir()).name
    output_of("depmod", "-b", files, release)
    return files, release


def initial_files(files, release, directory, parts):
    """The compressed cpio archive that the kernel starts with."""
    root = directory / "initial"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "modules", "proc", "sys", "dev", "root", "lower", "upper"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin/busybox")
    shutil.copy(HERE / "init", root / "init")
    (root / "job").write_text(f"{HERE / 'job.sh'} {directory.parent} {' '.join(parts)}")
    order = []
    for module in NEEDED_EARLY:
        for line in output_of("modprobe", "-d", files, "-S", release, "--show-depends", module).splitlines():
            path = pathlib.Path(line.split()[1])
            if line.startswith("insmod") and path.name not in order:
                order.append(path.name)
                shutil.copy(path, root / "modules")
    (root / "modules/order").write_text("\n".join(order))
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=root, check=True,
                             capture_output=True).stdout
    compressed = directory / "initial.cpio.gz"
    compressed.write_bytes(gzip.compress(archive, 1))
    return compressed


def processor():
    """Emulated unless KVM can really be had: it may be there and fail, as in a virtual machine that does not nest."""
    real = ["-enable-kvm", "-cpu", "host"]
    trial = ["timeout", "3", "qemu-system-x86_64", *real, "-S", "-nic", "none", "-display", "none"]
    lives = 124  # until timeout(1) ends it
    if os.access("/dev/kvm", os.W_OK) and subprocess.run(trial, capture_output=True, check=False).returncode == lives:
        return real
    return ["-cpu", "max"]


def run(files, release, initial, more=()):
    """The status that the job ended with; what it says is passed on. `more`: options of the emulator."""
    def share(path, tag):
        return ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
    # without no_timer_check a kernel whose emulation was not run for a moment gives up on its timer
    command = ["qemu-system-x86_64", *processor(), "-m", "4G", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none",
               "-kernel", files / f"boot/vmlinuz-{release}", "-initrd", initial,
               "-append", "console=ttyS0 quiet panic=1 no_timer_check", *share("/", "host"), *share(files / "lib/modules", "modules"), *more]
    status = None
    begun = False
    heard = []
    with subprocess.Popen(["timeout", str(PATIENCE), *map(str, command)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as machine:
        for line in machine.stdout:
            line = line.rstrip()
            heard.append(line)
            if line.endswith("vm: begin"):  # after what the firmware does to the console
                begun = True
            elif found := re.fullmatch(r"vm: end (\d)", line):
                status = int(found.group(1))
            elif begun and status is None:
                print(line, flush=True)
    if status is None:
        print("vm: the machine ended before the job did; the end of its console:", *heard[-20:], sep="\n")
        return 1
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--kernel", default="linux-image-amd64", metavar="PACKAGE")
    parser.add_argument("--next-kernel", default="linux-image-6.12-amd64", metavar="PACKAGE")
    parser.add_argument("--only", action="append", default=[], metavar="PART", choices=PARTS)
    options = parser.parse_args()
    # there the machine has directories of its own, in memory
    if any(place.resolve().is_relative_to(own) for place in (HERE, options.build) for own in ("/tmp", "/var/tmp", "/run", "/dev")):
        parser.error("a checkout below /tmp or /var/tmp is not seen in the machine: have it elsewhere")
    directory = options.build.resolve() / "vm"
    directory.mkdir(parents=True, exist_ok=True)
    parts = options.only or PARTS
    disk = directory / "disk"

    def boot(kernel, these, more=()):
        files, release = unpacked(kernel, directory)
        return run(files, release, initial_files(files, release, directory, these), more)

    failed = 0
    try:
        if others := [part for part in parts if part != "kernels"]:
            failed = boot(options.kernel, others)
        if "kernels" in parts:
            with open(disk, "wb") as file:
                file.truncate(8 << 30)
            drive = ["-drive", f"file={disk},format=raw,if=virtio"]
            failed |= boot(options.kernel, ["leave"], drive) or boot(options.next_kernel, ["return"], drive)
    except subprocess.CalledProcessError as error:
        print(f"vm: {' '.join(map(str, error.cmd))}: {(error.stderr or error.stdout or '').strip()[-500:]}", file=sys.stderr)
        return 1
    finally:
        disk.unlink(missing_ok=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
