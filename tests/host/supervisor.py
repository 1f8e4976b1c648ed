#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two processes that stand behind a running test host.

`supervise` is an ordinary process of the machine. It owns the host's cgroup and its control socket, starts the boot
process, starts it again when the host reboots, and clears everything away at the end, whoever ended it: a command, the
host itself, or the death of the process on whose behalf the host runs.

`boot` is pid 1 of a private pid, mount and time namespace. Every mount, loop device and process of the host lives in
those namespaces, so its death alone, for whatever reason, takes all of them along: the kernel kills the processes of a
pid namespace with its pid 1, drops the mounts with the last process, and detaches the loop device (autoclear) with the
mount. It dies with the supervisor (PR_SET_PDEATHSIG).
"""

import ctypes
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

EXIT_REBOOT = 133  # systemd-nspawn --keep-unit ends with this when the host asked for a reboot
BOOT_SECONDS = 60
MAKE_HOME = {"btrfs": ["mkfs.btrfs", "--quiet"], "btrfs-mounted": ["mkfs.btrfs", "--quiet"], "ext4": ["mkfs.ext4", "-q"], "xfs": ["mkfs.xfs", "-q"],
             "nilfs2": ["mkfs.nilfs2", "-q"]}
IMAGE_SIZE = 8 << 30  # sparse
POWEROFF_SECONDS = 20
THROW_AWAY_FOLDER = "/var/tmp"
PR_SET_PDEATHSIG = 1

# Units of a Debian machine which have no business in a host of a few seconds' life, or which would reach out of it:
# sysctl settings and the clock belong to the machine's kernel.
MASKED = """systemd-sysctl.service systemd-timesyncd.service systemd-udevd.service systemd-networkd.service
systemd-networkd.socket systemd-resolved.service networking.service console-getty.service getty@.service
serial-getty@.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pcrphase.service
apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer
logrotate.timer fstrim.timer cron.service ssh.service ssh.socket postgresql.service
systemd-update-utmp-runlevel.service""".split()

USERS = {"ada": 5001, "bob": 5002}


def control_address(directory):
    """Abstract, so that it is gone with its owner and has no limit of path length."""
    stat = os.stat(directory)
    return f"\0abeyance-host/{stat.st_dev:x}-{stat.st_ino:x}"


def cgroup_root():
    """Where this machine has mounted cgroup v2."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, _ = line.split(" ", 3)
        if kind == "cgroup2":
            return pathlib.Path(place)
    raise RuntimeError("no cgroup2 file system is mounted on this machine: mount -t cgroup2 none /sys/fs/cgroup")


def remove_cgroup(path):
    """Kill what is in a cgroup and below, wait for its end, remove it."""
    if not path.exists():
        return
    try:
        (path / "cgroup.kill").write_text("1")
        with open(path / "cgroup.events") as events:
            poll = select.poll()
            poll.register(events, select.POLLPRI | select.POLLERR)
            while "populated 1" in events.read():
                poll.poll(1000)
                events.seek(0)
    except OSError as error:
        print(f"supervisor: {path}: {error}", file=sys.stderr)
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except OSError as error:
            print(f"supervisor: {folder}: {error}", file=sys.stderr)


def is_supervisor(pid):
    try:  # a zombie has an empty command line, and a pid may have been given to somebody else
        return b"supervisor.py" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def sweep():
    """Remove what a supervisor that was itself killed left behind; its namespaces took all else along."""
    for path in cgroup_root().glob("abeyance-host-*"):
        if not is_supervisor(path.name.rpartition("-")[2]):
            remove_cgroup(path)
    for mark in pathlib.Path(THROW_AWAY_FOLDER).glob("abeyance-host-*/supervisor.pid"):
        if not is_supervisor(mark.read_text()):
            shutil.rmtree(mark.parent, ignore_errors=True)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    def __init__(self, directory, options):
        self.directory = pathlib.Path(directory)
        self.options = options
        self.cgroup = cgroup_root() / f"abeyance-host-{os.getpid()}"
        self.leader = 0
        self.boots = 0
        self.child = None
        self.again = False
        self.waiting = []  # connections which get an answer at the next ready or at the end
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(control_address(directory))
        self.control.listen()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("")  # an abstract address of the kernel's choice
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def start(self):
        """Boot in fresh namespaces, with clocks that start over."""
        self.leader = 0
        self.again = False
        self.cgroup.mkdir(exist_ok=True)
        back = 5 - int(time.clock_gettime(time.CLOCK_BOOTTIME))
        back_monotonic = 5 - int(time.clock_gettime(time.CLOCK_MONOTONIC))

        def enter():
            die_with_parent()
            (self.cgroup / "cgroup.procs").write_text("0")

        with open(self.directory / "console.log", "ab") as console:
            self.child = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "--time", "--monotonic", str(back_monotonic), "--boottime", str(back),
                 sys.executable, __file__, "boot", str(self.directory), json.dumps(self.options)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, preexec_fn=enter,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                     "NOTIFY_SOCKET": "@" + self.notify.getsockname()[1:].decode()})
        self.child_fd = os.pidfd_open(self.child.pid)
        self.deadline = time.monotonic() + BOOT_SECONDS

    def status(self):
        return {"leader": self.leader, "boots": self.boots, "supervisor": os.getpid(),
                "cgroup": str(self.cgroup / "payload")}

    def answer(self, reply):
        for connection in self.waiting:
            try:
                connection.sendall((json.dumps(reply) + "\n").encode())
            except OSError:
                pass  # the asker has gone: nobody to tell
            connection.close()
        self.waiting = []

    def on_notify(self):
        data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
        if b"READY=1" not in data.split(b"\n"):
            return
        nspawn = struct.unpack("3i", ancillary[0][2][:12])[0]
        own = os.readlink(f"/proc/{nspawn}/ns/pid")
        for child in pathlib.Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            if os.readlink(f"/proc/{child}/ns/pid") != own:
                self.leader = int(child)
                self.boots += 1
                self.deadline = None
                self.answer(self.status())

    def on_control(self):
        connection, _ = self.control.accept()
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != 0:
            connection.close()
            return
        connection.settimeout(5)
        try:
            verb = connection.recv(64).decode().strip()
        except OSError:
            verb = ""
        self.waiting.append(connection)
        if verb == "status" and self.leader:
            self.answer(self.status())
        elif verb == "status":
            pass  # answered when it is ready
        elif verb in ("down", "reboot") and self.leader:
            self.again = verb == "reboot"
            # systemd(1): SIGRTMIN+4 is poweroff, SIGRTMIN+5 reboot
            os.kill(self.leader, signal.SIGRTMIN + (5 if self.again else 4))
            self.leader = 0
            self.deadline = time.monotonic() + POWEROFF_SECONDS
        elif verb in ("down", "reset", "reboot"):
            self.again = verb != "down"  # reset: as if the power had failed
            self.leader = 0
            self.child.kill()
        else:
            self.answer({"error": f"no such command: {verb}"})

    def run(self):
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.notify, select.POLLIN)
        owner = self.options.get("owner")
        owner_fd = -1
        if owner:
            try:
                owner_fd = os.pidfd_open(owner)
            except ProcessLookupError:
                return
            poll.register(owner_fd, select.POLLIN)
        self.start()
        poll.register(self.child_fd, select.POLLIN)
        while True:
            wait = None if self.deadline is None else max(0, self.deadline - time.monotonic()) * 1000
            ready = [fd for fd, _ in poll.poll(wait)]
            if self.deadline and time.monotonic() > self.deadline:
                self.deadline = None
                self.child.kill()
            if owner_fd in ready:
                return
            if self.notify.fileno() in ready:
                self.on_notify()
            if self.control.fileno() in ready:
                self.on_control()
            if self.child_fd in ready:
                poll.unregister(self.child_fd)
                os.close(self.child_fd)
                code = self.child.wait()
                remove_cgroup(self.cgroup)
                if not self.again and code != EXIT_REBOOT:
                    return
                self.start()
                poll.register(self.child_fd, select.POLLIN)

    def finish(self):
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        remove_cgroup(self.cgroup)
        if self.options.get("throw_away"):
            shutil.rmtree(self.directory, ignore_errors=True)
        self.answer({"down": True})


def supervise(directory, options):
    os.chdir("/")
    if options.get("throw_away"):
        (pathlib.Path(directory) / "supervisor.pid").write_text(str(os.getpid()))
    sweep()
    supervisor = Supervisor(directory, options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        supervisor.run()
    finally:
        supervisor.finish()


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def file_system(path):
    return subprocess.run(["stat", "--file-system", "--format=%T", path], check=True, capture_output=True,
                          text=True).stdout.strip()


def mount_image(image, place, *make):
    """A file system in a file, made when it is not there; mount(8) asks for autoclear."""
    if not image.exists():
        with open(image, "wb") as file:
            file.truncate(IMAGE_SIZE)
        subprocess.run([*make, image], check=True, stdout=subprocess.DEVNULL)
    mount("-i", "-o", "loop", image, place)  # without the helper of NILFS2, which would start a cleaner


def device_of(place):
    return subprocess.run(["findmnt", "--noheadings", "--output=SOURCE", place], check=True, capture_output=True, text=True).stdout.strip()


def mount_ada(image, area, home):
    """As installers make it: ada's home is the subvolume users/@ada, mounted on a directory of the disk. The device's path."""
    top = area / "top"
    top.mkdir()
    mount_image(image, top, *MAKE_HOME["btrfs-mounted"])
    device = device_of(top)
    fresh = not (top / "users/@ada").exists()
    if fresh:
        (top / "users").mkdir()
        subprocess.run(["btrfs", "subvolume", "create", top / "users/@ada"], check=True, stdout=subprocess.DEVNULL)
        for entry in (home / "ada").iterdir():
            shutil.copy2(entry, top / "users/@ada")
        subprocess.run(["chown", "--recursive", "--reference", home / "ada", top / "users/@ada"], check=True)
        (top / "users/@ada").chmod(0o700)
    mount("-t", "btrfs", "-o", "subvol=users/@ada,nosuid,nodev", device, home / "ada")
    subprocess.run(["umount", top], check=True)
    return device


def prepare_system(root):
    """What makes the machine's own root file system a host of its own. Idempotent: done at each boot."""
    system = root / "etc/systemd/system"
    system.mkdir(parents=True, exist_ok=True)
    for unit in MASKED:
        link = system / unit
        if link.is_symlink() or link.exists():
            link.unlink()
        link.symlink_to("/dev/null")
    identity = root / "etc/machine-id"
    done = root / "etc/abeyance-host"
    if not done.exists():
        identity.unlink(missing_ok=True)
        identity.write_text(os.urandom(16).hex() + "\n")
        done.mkdir()
    (root / "etc/hostname").write_text("testhost\n")
    (root / "etc/fstab").write_text("")
    # logind offers sleep when /sys/power/state does. The sleep itself is a pause of half a second.
    (done / "power-state").write_text("freeze mem disk\n")
    (done / "power-disk").write_text("[shutdown]\n")
    sleep = system / "systemd-suspend.service.d"
    sleep.mkdir(exist_ok=True)
    (sleep / "host.conf").write_text("[Service]\nExecStart=\nExecStart=/bin/sleep 0.5\n")
    (system / "host-power.service").write_text(
        "[Unit]\nDefaultDependencies=no\nBefore=systemd-logind.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        "ExecStart=/bin/sh -c 'mkdir -p /sys/power; cd /sys/power; for i in state disk; do [ -e $i ] || >$i; done'\n"
        "ExecStart=/bin/mount --bind /etc/abeyance-host/power-state /sys/power/state\n"
        "ExecStart=/bin/mount --bind /etc/abeyance-host/power-disk /sys/power/disk\n")
    wants = system / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    link = wants / "host-power.service"
    if not link.is_symlink():
        link.symlink_to("../host-power.service")


def make_users(root, subvolumes):
    """ada, whose home is a btrfs subvolume where there are any, and bob; their passwords are their names."""
    for name, uid in USERS.items():
        if (root / "home" / name).exists():
            continue
        subprocess.run(["chroot", root, "userdel", name], stderr=subprocess.DEVNULL, check=False)
        subvolume = ["--btrfs-subvolume-home"] if name == "ada" and subvolumes else []
        subprocess.run(["chroot", root, "useradd", "--uid", str(uid), "--create-home", *subvolume, "--shell", "/bin/bash",
                        name], check=True)
        subprocess.run(["chroot", root, "chpasswd"], input=f"{name}:{name}\n".encode(), check=True)


def enable_package(root, package):
    """What a package's postinst does: units are enabled as presets say."""
    units = [str(unit.name) for unit in package.glob("usr/lib/systemd/system/*.*") if unit.is_file()]
    if units:
        subprocess.run(["systemctl", f"--root={root}", "preset", *units], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)


def boot(directory, options):
    """Runs as pid 1 of the private namespaces; returns the exit status of the host."""
    die_with_parent()
    directory = pathlib.Path(directory)
    # The host gets a cgroup tree of its own: only version 2, whatever the machine has mounted.
    subprocess.run(["umount", "--recursive", "--lazy", "/sys/fs/cgroup"], check=False)
    mount("-t", "cgroup2", "none", "/sys/fs/cgroup")
    area = directory / "area"
    area.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", area)
    root = area / "root"
    root.mkdir()
    lower = "/"
    package = options.get("package")
    if package:
        # a copy: layers may not lie inside each other, and the layer must stand still while it is mounted
        shutil.copytree(package, area / "package", symlinks=True)
        lower = f"{area / 'package'}:/"
    disk = directory / "disk"
    disk.mkdir(exist_ok=True)
    if file_system(directory) == "overlayfs":  # the machine is a container: changes cannot be kept on another overlay
        mount_image(directory / "disk.img", disk, "mkfs.ext4", "-q")
    for part in ("upper", "work"):
        (disk / part).mkdir(exist_ok=True)
    mount("-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={disk}/upper,workdir={disk}/work", root)
    (root / "home").mkdir(exist_ok=True)
    home = options.get("home", "btrfs")
    if home == "tmpfs":
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root / "home")
    elif home != "btrfs-mounted":
        mount_image(directory / "home.img", root / "home", *MAKE_HOME[home])
    prepare_system(root)
    make_users(root, home == "btrfs")
    device = None  # that the host mounts once more
    if home == "btrfs-mounted":
        device = mount_ada(directory / "home.img", area, root / "home")
    elif home == "nilfs2":
        device = device_of(root / "home")
    if package:
        enable_package(root, area / "package")
    arguments = ["systemd-nspawn", "--quiet", "--boot", f"--directory={root}", "--machine=testhost", "--register=no",
                 "--keep-unit", "--capability=all", "--private-users=no", "--private-network", "--console=pipe",
                 "--notify-ready=yes", "--link-journal=no", "--timezone=off", "--resolv-conf=off"]
    if device:
        arguments.append(f"--bind={device}")
    if os.path.exists("/dev/fuse"):
        arguments.append("--bind=/dev/fuse")
    child = subprocess.Popen(
        [*arguments, "systemd.unit=multi-user.target"], stdin=subprocess.DEVNULL,
        env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1", SYSTEMD_NSPAWN_API_VFS_WRITABLE="yes",
                 SYSTEMD_SECCOMP="0"))
    while True:  # pid 1 reaps whatever is left to it
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status)


def main():
    verb, directory, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if verb == "boot":
        sys.exit(boot(directory, options) & 0xFF)
    supervise(directory, options)


if __name__ == "__main__":
    main()
