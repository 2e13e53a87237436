#!/usr/bin/env python3
"""Takes three classic models through every preset, and writes down how long each stage takes and how much memory.

The models are files in a folder of the cache. One that is missing is made from a seed with the tensors, types and extents of
the real one (`synthetic_model classic`); a real file of the same name is used as it is. Results go to docs/classic.md.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

MODELS = ["tinyllama", "llama-3.2", "qwen2"]
PRESETS = ["ffn-norm-bf16", "attention-int8", "embedding-4bit"]
STAGE = re.compile(r"^.*\.gguf: ([a-z ]+), \d+ cells?$")


def children_of(pid):
    """Process ids of a process and everything below it."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:
            pass
    return found


def resident_bytes(pid):
    total = 0
    for each in children_of(pid):
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            pass
    return total


def cpu_seconds(pid):
    """Of a process and everything below it, what has ended included."""
    ticks = 0
    for each in children_of(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # utime, stime, cutime, cstime of proc_pid_stat(5), counted from the field behind the name.
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def watch(command):
    """Runs a command; seconds, peak memory and CPU seconds of each stage that it names, its exit code and what it said."""
    stages = [["opening", 0.0, 0, 0.0]]
    begun = last = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, ended = [], threading.Event()

    def sample():
        used = 0.0
        while not ended.wait(0.2):
            stage = stages[-1]
            stage[2] = max(stage[2], resident_bytes(process.pid))
            # A worker that has just ended may be counted nowhere for a moment.
            now = max(used, cpu_seconds(process.pid))
            stage[3] += now - used
            used = now

    sampler = threading.Thread(target=sample)
    sampler.start()
    for line in process.stderr:
        said.append(line.rstrip())
        match = STAGE.match(line.rstrip())
        if match:
            now = time.monotonic()
            stages[-1][1] += now - last
            last = now
            stages.append([match.group(1), 0.0, 0, 0.0])
    out = process.stdout.read()
    code = process.wait()
    ended.set()
    sampler.join()
    stages[-1][1] += time.monotonic() - last
    return stages, code, time.monotonic() - begun, said, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assay", required=True)
    parser.add_argument("--maker", required=True, help="the example synthetic_model")
    parser.add_argument("--folder", required=True, help="of the models")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--ctx", type=int, default=128)
    parser.add_argument("--chunks", type=int, default=2)
    parser.add_argument("--max-memory", help="such as 8G; what is free if left out")
    parser.add_argument("--out", default="docs/classic.md")
    parser.add_argument("--runs", help="folder for the runs; beside the models if left out")
    args = parser.parse_args()
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    runs = Path(args.runs) if args.runs else folder / "runs"

    rows, failed, load = [], False, os.getloadavg()[0]
    for name in args.models.split(","):
        begun = time.monotonic()
        made = subprocess.run([args.maker, "classic", name, folder], stdout=subprocess.PIPE, text=True)
        if made.returncode != 0:
            sys.exit(f"classic: {name} could not be made")
        model = Path(made.stdout.strip())
        print(f"classic: {model.name}, {model.stat().st_size / 1e9:.2f} GB, ready after {time.monotonic() - begun:.0f} s",
              file=sys.stderr, flush=True)
        for preset in args.presets.split(","):
            command = [args.assay, "run", preset, model, "--out", runs / f"{name}-{preset}", "--ctx", args.ctx, "--chunks",
                       args.chunks, "--layer-chunks", 1]
            if args.max_memory:
                command += ["--max-memory", args.max_memory]
            stages, code, seconds, said, out = watch(command)
            print(f"classic: {model.name}: {preset}: exit {code} after {seconds:.0f} s", file=sys.stderr, flush=True)
            if code != 0:
                failed = True
                print("\n".join(said[-20:]), file=sys.stderr)
            verdict = re.findall(r"^  ([A-Z-]+) +exact arm", out, re.MULTILINE)
            for stage, stage_s, peak, cpu_s in stages:
                rows.append((model.name, preset, stage, stage_s, cpu_s, peak, ", ".join(verdict) or f"exit {code}"))

    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 1e6
    lines = [
        "# Three classic models through every preset",
        "",
        "Written by `make classic`; do not edit. Where the real file is not there, one is made from a seed with its tensors, types",
        "and extents, so times and memory are those of the real one, while verdicts say nothing about it.",
        "",
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB of memory; {args.chunks} windows of {args.ctx} tokens, 1 for single "
        "layers. Memory is resident, of the run and its worker together, sampled five times a second. "
        f"Load of the machine when it began: {load:.1f}; where that is not about 0, go by CPU seconds.",
        "",
        "| model | preset | stage | time (s) | CPU (s) | peak memory (GB) | verdict, exact arm |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    lines += [f"| {model} | {preset} | {stage} | {seconds:.1f} | {cpu:.1f} | {peak / 1e9:.2f} | {verdict} |"
              for model, preset, stage, seconds, cpu, peak, verdict in rows]
    if failed:
        sys.exit("classic: something failed; the page is not written\nhint: what was said is above")
    temporary = Path(args.out + ".tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.rename(args.out)
    print(f"classic: {args.out} is written", file=sys.stderr)


if __name__ == "__main__":
    main()
