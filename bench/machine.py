"""What a measurement depends on besides the programs: the CPU, its instruction sets, load, compiler."""

import os
import re
import subprocess

# Instruction sets that some engine has kernels for, as the kernel spells them.
ISA_FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
             "avx512vbmi", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def cpu():
    """(identity, instruction sets). A virtual machine's name may say little more than the maker, so
    the identity holds the numbers of family, model and stepping."""
    fields = dict(re.findall(r"^([^\t:]+)\s*:[ \t]*(.*)$", read("/proc/cpuinfo").split("\n\n")[0],
                             re.MULTILINE))
    identity = "{} family {} model {} stepping {}, {}".format(
        *(fields.get(k, "unknown") for k in ("vendor_id", "cpu family", "model", "stepping",
                                             "model name")))
    present = fields.get("flags", "").split()
    return identity, [f for f in ISA_FLAGS if f in present]


def caches():
    """{"L1d": "32K", ...} of the first CPU."""
    found = {}
    folder = "/sys/devices/system/cpu/cpu0/cache"
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        level, kind, size = (read(f"{folder}/{entry}/{name}").strip()
                             for name in ("level", "type", "size"))
        if size and kind != "Instruction":
            found[f"L{level}" + ("d" if kind == "Data" else "")] = size
    return found


def describe():
    identity, flags = cpu()
    uname = os.uname()
    return {"cpu": identity, "isa": flags, "cores": len(os.sched_getaffinity(0)),
            "caches": caches(), "kernel": f"{uname.sysname} {uname.release}",
            "compiler": first_line([os.environ.get("CC", "gcc"), "--version"]),
            "load": os.getloadavg()[0]}


def first_line(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return out.splitlines()[0] if out else ""
    except OSError:
        return ""


class CpuClock:
    """How much CPU time passed, and whose it was: this process's children, others, the host's."""

    def __init__(self):
        self.start = self.now()

    @staticmethod
    def now():
        ticks = [int(n) for n in read("/proc/stat").split("\n", 1)[0].split()[1:]] + [0] * 8
        user, nice, system, idle, iowait, irq, softirq, steal = ticks[:8]
        per_second = os.sysconf("SC_CLK_TCK")
        t = os.times()
        return {"busy": (user + nice + system + irq + softirq) / per_second,
                "steal": steal / per_second,
                "all": (user + nice + system + idle + iowait + irq + softirq + steal) / per_second,
                "mine": t.user + t.system + t.children_user + t.children_system}

    def shares(self):
        """(others, stolen): percent of all CPU time since the start."""
        now = self.now()
        d = {k: now[k] - self.start[k] for k in now}
        if d["all"] <= 0:
            return 0.0, 0.0
        return max(0.0, 100 * (d["busy"] - d["mine"]) / d["all"]), 100 * d["steal"] / d["all"]
