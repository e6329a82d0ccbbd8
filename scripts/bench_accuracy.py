"""The same as bench/bench_accuracy.py."""

import runpy
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent / "bench"

if __name__ == "__main__":
    sys.path.insert(0, str(BENCH))
    runpy.run_path(str(BENCH / "bench_accuracy.py"), run_name="__main__")
