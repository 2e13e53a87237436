#!/usr/bin/env bash
# Builds llama-perplexity, the peer that `make bench` measures against, outside the repository.
# Its sources come with the source package of llama-cpp-python; about 8 CPU minutes, once.
# A benchmark tool only: neither the product nor a test uses it.
set -euo pipefail
cd "$(dirname "$0")/.."

package="llama-cpp-python==0.3.36"
peer="${XDG_CACHE_HOME:-$HOME/.cache}/assay/peer"
# The kernels must be those of the engine crate's build: x86-64 with these extensions, no OpenMP.
options=(
  -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF
  -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF
  -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON -DGGML_F16C=ON
  -DGGML_AVX512=OFF -DGGML_LLAMAFILE=ON
  -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
)
stamp="$package ${options[*]}"
if [ -x "$peer/llama-perplexity" ] && [ "$(cat "$peer/stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

fail() { printf 'peer: %s\nhint: %s\n' "$1" "$2" >&2; exit 2; }

scripts/setup-tools.sh
mkdir -p "$peer"
work="$(mktemp -d "$peer/build.XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "peer: fetching the sources of $package (77 MB)" >&2
# Only this package as source: with `:all:` pip would also build cmake itself from source.
.tools/bin/pip download --quiet --disable-pip-version-check --retries 2 --no-deps \
  --no-binary llama-cpp-python --dest "$work" "$package" >"$work/pip.log" 2>&1 || {
  tail -n 5 "$work/pip.log" >&2
  fail "pip could not download the source package $package" "is the network, or your package mirror, reachable?"
}
archive="$(find "$work" -maxdepth 1 -name '*.tar.gz' -print -quit)"
[ -n "$archive" ] || fail "pip brought no source archive of $package" "see pip download --no-binary"
tar -xzf "$archive" -C "$work"
# With its CMakeLists.txt: the archive also carries a git folder that ends in the same words.
sources="$(dirname "$(find "$work" -path '*/vendor/llama.cpp/CMakeLists.txt' -print -quit)")"
[ -f "$sources/CMakeLists.txt" ] || fail "$(basename "$archive") holds no vendor/llama.cpp" "has the pinned version changed its layout?"

echo "peer: building llama-perplexity (about 8 CPU minutes)" >&2
{
  PATH="$PWD/.tools/bin:$PATH" nice cmake -S "$sources" -B "$work/out" -G Ninja "${options[@]}" &&
  PATH="$PWD/.tools/bin:$PATH" nice cmake --build "$work/out" --target llama-perplexity -j "$(nproc)"
} >"$work/build.log" 2>&1 || {
  tail -n 20 "$work/build.log" >&2
  fail "llama-perplexity did not build" "the last lines of the build are above"
}
mv -f "$work/out/bin/llama-perplexity" "$peer/llama-perplexity"
printf '%s' "$stamp" >"$peer/stamp"
echo "peer: $peer/llama-perplexity is ready" >&2
