#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""abeyctl doctor on a host that lacks nothing, and then one thing after the other: each is found, and what it costs is said."""

import contextlib
import pathlib
import shutil
import sys

from adas_session import abeyctl, json_of
from service_test import main_of

SEAL = "usr/local/lib/abeyance-test/libseal_vdso.so"

# What is taken away, how, how that is mended, whose verdict changes to what, and a word of what is found.
LACKS = {
    "the store is open to others": ("chmod 755 /var/lib/abeyance", "chmod 700 /var/lib/abeyance", "store", "broken", "is not root's alone"),
    "there is no store": ("mv /var/lib/abeyance /var/lib/elsewhere", "mv /var/lib/elsewhere /var/lib/abeyance", "store", "broken", "no /var/lib/abeyance"),
    "little space is left": ("mount -t tmpfs -o size=10M,mode=0700 none /var/lib/abeyance", "umount /var/lib/abeyance", "free space", "lacking", "for checkpoints"),
    "the policy has a mistake": ("mkdir -p /etc/abeyance; echo '[hme]' > /etc/abeyance/policy.toml", "rm /etc/abeyance/policy.toml", "policy", "broken",
                                 "policy.toml:1:"),
    "PAM knows nothing of it": ("mv /etc/pam.d/abeyance /run/without-pam", "mv /run/without-pam /etc/pam.d/abeyance", "PAM service", "broken", "no /etc/pam.d/abeyance"),
    "PAM knows nothing of abeyctl run": ("mv /etc/pam.d/abeyance-run /run/without-pam", "mv /run/without-pam /etc/pam.d/abeyance-run", "PAM service", "lacking",
                                         "no /etc/pam.d/abeyance-run"),
    "nobody can ask for passwords": ("mv /usr/bin/pkttyagent /run/without-agent", "mv /run/without-agent /usr/bin/pkttyagent", "pkttyagent", "lacking", "no"),
    "a home has little room": ("mount -t tmpfs -o size=10M none /home/ada", "umount /home/ada", "home of ada", "lacking", "/home/ada is not in btrfs; 10.0 MiB free there"),
    "logind waits less than sessions need": ("mkdir -p /etc/abeyance; printf '[limits]\\napplication-delay = \"30 s\"\\n' > /etc/abeyance/policy.toml",
                                             "rm /etc/abeyance/policy.toml", "time to act", "lacking", "logind waits 5 s"),
    "the kernel does not describe itself": ("mount -t tmpfs none /sys/kernel/btf", "umount /sys/kernel/btf", "BPF and BTF", "lacking", "no /sys/kernel/btf/vmlinux"),
    "polkit is not there": ("systemctl -q mask --runtime --now polkit", "systemctl -q unmask --runtime polkit", "polkit", "lacking", "does not answer"),
    "the service is not there": ("systemctl -q mask --runtime --now abeyd", "systemctl -q unmask --runtime abeyd", "abeyd", "broken", ""),
    "logind is not there": ("systemctl -q mask --runtime --now systemd-logind", "systemctl -q unmask --runtime systemd-logind", "logind", "broken", "does not answer"),
    "rsync is not there": ("mv /usr/bin/rsync /run/without-rsync", "mv /run/without-rsync /usr/bin/rsync", "programs", "lacking", "not: rsync"),
}
PLAN = ["nothing is broken", "kernel, systemd, file system, permissions and space are looked at", "a user is told of the own home", "root of everybody's"] + list(LACKS) + [
    "a capability is not there", "the kernel seals the vDSO", "people are told, too"]
NAMES = {"machine", "cgroup v2", "pidfd_getfd(2)", "clone3(2)", "capabilities", "systemd", "logind", "abeyd", "polkit", "PAM service", "policy", "store",
         "free space", "programs", "home of ada", "home of bob", "time to act", "pkttyagent", "BPF and BTF"}


def probes(host, before=(), user=None):
    """Status, and name -> (verdict, found, cost)."""
    result = host.run([*before, "abeyctl", "doctor", "--json"], user=user)
    return result.returncode, {one["name"]: (one["verdict"], one["found"], one["cost"]) for one in json_of(result).get("probes", [])}


@contextlib.contextmanager
def lack(host, take, give):
    host.run(["sh", "-euc", take], check=True)
    try:
        yield
    finally:
        host.run(["sh", "-euc", give], check=True)


def judge(checks, name, well, found, which, verdict, word):
    """That one is found, says what it costs, and all others are as before."""
    status, now = found
    others = {one: verdict for one, (verdict, *_) in now.items() if one != which and verdict != well[one][0]}
    is_verdict, what, cost = now.get(which, ("", "", ""))
    checks.check(name, (1 if verdict == "broken" else 0, verdict, word, "its cost", {}), (status, is_verdict, what, cost, others),
                 (status, is_verdict, others) == (1 if verdict == "broken" else 0, verdict, {}) and word in what and bool(cost))


def run(host, checks):
    status, well = probes(host)
    checks.check("nothing is broken", (0, []), (status, [one for one, (verdict, *_) in well.items() if verdict == "broken"]))
    silent = [one for one, (verdict, _, cost) in well.items() if verdict != "good" and not cost]
    checks.check("kernel, systemd, file system, permissions and space are looked at", (set(), []), (NAMES - set(well), silent))
    kinds = {"ada": ("good", "/home/ada is a btrfs subvolume"), "bob": ("lacking", "/home/bob is in btrfs, but no subvolume")}

    def told(probe):
        verdict, what, _ = probe or ("", "", "")
        what, _, room = what.partition("; ")
        return (verdict, what) if room.endswith(" free there") else (verdict, what, "no room told")

    checks.check("a user is told of the own home", kinds, {user: told(probes(host, user=user)[1].get("home")) for user in kinds})
    checks.check("root of everybody's", (kinds, False), ({user: told(well.get(f"home of {user}")) for user in kinds}, "home" in well))
    for name, (take, give, *wanted) in LACKS.items():
        with lack(host, take, give):
            judge(checks, name, well, probes(host), *wanted)
    judge(checks, "a capability is not there", well, probes(host, ["setpriv", "--bounding-set=-sys_ptrace"]), "capabilities", "broken", "CAP_SYS_PTRACE")
    host.path(SEAL).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(pathlib.Path(host.build) / "tests/scenarios/libseal_vdso.so", host.path(SEAL))
    judge(checks, "the kernel seals the vDSO", well, probes(host, ["env", f"LD_PRELOAD=/{SEAL}"]), "vDSO", "broken", "sealed")
    with lack(host, *LACKS["the store is open to others"][:2]):
        result = abeyctl(host, "doctor")
        checks.check("people are told, too", (1, "what, and what it costs"), (result.returncode, result.stdout + result.stderr),
                     result.returncode == 1 and "broken   store: /var/lib/abeyance is not root's alone\n" in result.stdout
                     and "others could read the memory of sessions" in result.stdout and "1 of " in result.stderr)


if __name__ == "__main__":
    sys.exit(main_of(__doc__, PLAN, run))
