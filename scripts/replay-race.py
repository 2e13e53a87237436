#!/usr/bin/env python3
"""Replays recorded sweeps as races: is the racing rule right as often as it says, and what does it save?

    .tools/bin/python scripts/replay-race.py [--top 5] [--replays 1000] [--seed 1] SWEEP.npz...

A sweep is a numpy archive with `kl`, the KL divergence of each token: [cells][chunks][tokens].
"""

import argparse
import subprocess
import sys

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", default="target/release/examples/replay_race")
    parser.add_argument("sweeps", nargs="+")
    args = parser.parse_args()
    for path in args.sweeps:
        cells = np.load(path)["kl"].astype(np.float64)
        lines = "\n".join(",".join(" ".join(map(repr, chunk.tolist())) for chunk in cell) for cell in cells)
        command = [args.program, str(args.top), str(args.replays), str(args.seed)]
        run = subprocess.run(command, input=lines, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"replay-race: {path}: {run.stderr.strip()}")
        print(f"{path.rsplit('/', 1)[-1]}: {run.stdout.strip()}")


if __name__ == "__main__":
    main()
