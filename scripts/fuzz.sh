#!/bin/sh
# Fuzzes the reader and the two grammars, all three at once, for MINUTES (15 if not said). Finds are in fuzz/artifacts.
#
# No nightly compiler is needed: without a sanitizer the instrumentation works on stable, and what is looked for are panics,
# hangs, memory beyond 1 GiB and broken promises of the targets themselves; the rooms they reach have no unsafe code.
set -eu
cd "$(dirname "$0")/.."
minutes=${1:-15}
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --version 0.13.2 --locked --root .tools
PATH="$PWD/.tools/bin:$PATH"
cargo run --manifest-path fuzz/Cargo.toml --example seeds -- fuzz/corpus
cargo fuzz build --sanitizer none --release
host=$(rustc -vV | sed -n 's/^host: //p')
pids=
for target in reader scheme selector; do
    mkdir -p "fuzz/artifacts/$target"
    "fuzz/target/$host/release/$target" "fuzz/corpus/$target" "-artifact_prefix=fuzz/artifacts/$target/" \
        "-max_total_time=$((minutes * 60))" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        >"fuzz/artifacts/$target.log" 2>&1 &
    pids="$pids $target:$!"
done
failed=0
for entry in $pids; do
    target=${entry%%:*}
    if wait "${entry##*:}"; then
        echo "$target: $(sed -n 's/^Done //p' "fuzz/artifacts/$target.log"), nothing found"
    else
        failed=1
        echo "$target: see fuzz/artifacts/$target.log and the file in fuzz/artifacts/$target" >&2
    fi
done
exit $failed
