#!/usr/bin/env python3
"""Times a sweep over the layers of a model: `assay sweep` against the scripted way, in turn on the same machine.

The scripted way is what people do without assay: once the reference's logits with llama-perplexity, then for every layer a
file with that layer quantized, measured in llama-perplexity's KL divergence mode, and deleted again. Both work on the same
values (every weight in F32), windows and number of threads. The scripted way is done in thirds, with assay's sweep after the first
and the same sweep as a race after the second, so that whatever else the machine does hits all three. Prints seconds, ratios,
disk space, and how far the KL divergences are apart.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# llama-perplexity stores the reference's log-probabilities in 16 bits over a range of 16 nats or a little more. A value
# and the constant that normalises its row may each be off by one step.
STEP_NATS = 16 / 65535
TOLERANCE_NATS = 2 * STEP_NATS
REPOSITORY = Path(__file__).resolve().parent.parent


def own_text(folder):
    """The project's own documents and sources, one after the other: enough for twenty windows without a download."""
    parts = [REPOSITORY / "crates/lab/assets/demo.txt", REPOSITORY / "README.md", REPOSITORY / "ARCHITECTURE.md"]
    parts += sorted((REPOSITORY / "docs").glob("**/*.md"))
    path = folder / "text.txt"
    path.write_text("\n".join(part.read_text() for part in parts))
    return path


def run(command):
    begun = time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench-sweep: {command[0]} failed:\n{done.stderr[-2000:]}")
    return time.monotonic() - begun, done.stdout + done.stderr, done.stdout


class Scripted:
    """A file per cell, llama-perplexity for each."""

    def __init__(self, args, folder):
        self.args = args
        self.cell, self.logits, self.base = (folder / name for name in ("cell.gguf", "logits.bin", "base.gguf"))
        self.seconds = 0.0
        self.disk_bytes = 0
        # The base in F32 is given to both: that it has to be made is the choice of this benchmark.
        run([args.assay, "--quiet", "quantize", args.model, self.base, "--apply", "all=identity"])

    def peer(self, model, *more):
        args = self.args
        return run([args.peer, "-m", model, "-f", args.text, "-c", args.ctx, "-b", args.ctx, "--chunks", args.chunks, "-t",
                    args.threads, "--no-repack", "--kl-divergence-base", self.logits, *more])

    def reference(self):
        self.seconds += self.peer(self.base)[0]

    def layer(self, layer):
        quantize, _, _ = run([self.args.assay, "--quiet", "quantize", self.base, self.cell, "--force", "--no-check", "--apply",
                              f"weights[layers={layer}]={self.args.scheme}"])
        measure, said, _ = self.peer(self.cell, "--kl-divergence")
        self.seconds += quantize + measure
        files = sum(path.stat().st_size for path in (self.cell, self.logits))
        self.disk_bytes = max(self.disk_bytes, files)
        self.cell.unlink()
        found = re.search(r"Mean\s+KLD:\s+([-0-9.]+)", said)
        if not found:
            sys.exit(f"bench-sweep: llama-perplexity printed no mean KLD:\n{said[-2000:]}")
        return float(found.group(1))


def sweep(args, base, *more):
    seconds, _, answer = run([args.assay, "--quiet", "--json", "sweep", base, "--apply", f"weights={args.scheme}", "--text",
                              args.text, "--ctx", args.ctx, "--chunks", args.chunks, "--threads", args.threads, *more])
    return seconds, json.loads(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assay", required=True)
    parser.add_argument("--peer", required=True, help="llama-perplexity")
    parser.add_argument("--text", help="the project's own documents if left out")
    parser.add_argument("--scheme", default="int4@block32")
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=0, help="only so many, spread over the model; 0 for all")
    parser.add_argument("--no-race", action="store_true", help="without the race")
    parser.add_argument("model")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="assay-bench-sweep-") as folder:
        args.text = args.text or own_text(Path(folder))
        scripted = Scripted(args, Path(folder))
        _, tensors, _ = run([args.assay, "--json", "inspect", args.model])
        n_layer = 1 + max(int(n) for n in re.findall(r'"blk\.(\d+)\.', tensors))
        wanted = args.layers or n_layer
        layers = sorted({round(i * (n_layer - 1) / max(1, wanted - 1)) for i in range(wanted)})
        scripted.reference()
        print(f"scripted: reference logits in {scripted.seconds:.1f} s", flush=True)
        theirs, whole, race = {}, None, None
        with_race = not args.no_race and len(layers) > 5
        for turn in range(3):
            before = scripted.seconds
            mine = layers[turn::3]
            theirs |= {layer: scripted.layer(layer) for layer in mine}
            print(f"scripted: {len(mine)} layers in {scripted.seconds - before:.1f} s", flush=True)
            of_layers = ["--layers", ",".join(map(str, layers))]
            if turn == 0:
                whole = sweep(args, scripted.base, *of_layers)
                print(f"assay: {len(layers)} layers in {whole[0]:.1f} s, reference included", flush=True)
            if turn == 1 and with_race:
                race = sweep(args, scripted.base, "--race", "5", *of_layers)
                print(f"assay: race for the top five in {race[0]:.1f} s, reference included", flush=True)
        seconds, answer = whole
        print(f"whole sweep: {len(layers)} layers, {args.chunks} windows of {args.ctx}: scripted {scripted.seconds:.1f} s, "
              f"assay {seconds:.1f} s: {scripted.seconds / seconds:.2f} times as fast")
        print(f"disk: scripted {scripted.disk_bytes / 1e6:.0f} MB at a time (logits "
              f"{scripted.logits.stat().st_size / 1e6 / args.chunks:.1f} MB a window), assay none")
        apart = max(abs(row["kld_mean"] - theirs[row["layer"]]) for row in answer["layers"])
        within = apart <= TOLERANCE_NATS
        print(f"mean KLD: at most {apart:.2e} nats apart, {'within' if within else 'MORE THAN'} two steps of the peer's "
              f"16-bit log-probabilities ({TOLERANCE_NATS:.2e})")
        if race:
            seconds, answer = race
            print(f"race for the top five: {scripted.seconds / seconds:.2f} times as fast as scripted, "
                  f"{whole[0] / seconds:.2f} times the whole sweep; {answer['measured_chunks']} of {answer['all_chunks']} windows of "
                  f"layers measured; answer {answer['ranking']}")
        sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
