"""The processor that this runs on."""

import os
import platform
import sys
from pathlib import Path


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_processor() -> str:
    """For benchmarks, such as "2 cores of AMD EPYC"."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{num_cores()} cores of {models[0] if models else platform.processor() or 'an unknown processor'}"
