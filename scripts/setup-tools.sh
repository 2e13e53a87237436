#!/usr/bin/env bash
# Brings the build tools that the engine crate needs (cmake, ninja, libclang) and the Python
# oracles (gguf, numpy, ml_dtypes) from the Python package index into .tools, without root.
# Quick when they are there; a set-up that was cut short is made again.
set -euo pipefail
cd "$(dirname "$0")/.."

packages="cmake==4.4.4 ninja==1.13.2 libclang==18.1.1 gguf==0.19.0 numpy==2.4.6 ml_dtypes==0.6.0"
# The stamp is written last and is the list itself, with the place, since a virtual environment
# cannot be moved: another pin or another folder makes the checkout set up again.
stamp="$packages in $PWD"

ready() {
  [ "$(cat .tools/stamp 2>/dev/null)" = "$stamp" ] &&
    [ -x .tools/bin/cmake ] && [ -x .tools/bin/ninja ] && [ -x .tools/bin/python ] &&
    [ -e .tools/libclang/libclang.so ] && [ -e .tools/gcc-include/stdbool.h ]
}
fail() { printf 'setup: %s\nhint: %s\n' "$1" "$2" >&2; exit 2; }
need() { command -v "$1" >/dev/null || fail "$1 not found" "$2"; }

need cargo "install Rust 1.95 or newer (rustup), and see that cargo is on the PATH"
if ready; then exit 0; fi
need gcc "install a C compiler: apt-get install gcc"
need g++ "install a C++ compiler: apt-get install g++"
need python3 "apt-get install python3 python3-venv"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "Python 3.11 or newer wanted, found $(python3 --version)" "put a newer python3 first on the PATH"

echo "setup: making .tools (cmake, ninja, libclang and the Python oracles, about 200 MB to fetch)" >&2
rm -rf .tools
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
python3 -m venv .tools >"$log" 2>&1 || {
  tail -n 5 "$log" >&2
  fail "python3 -m venv failed" "apt-get install python3-venv"
}
# shellcheck disable=SC2086 # the list is words on purpose
.tools/bin/pip install --quiet --disable-pip-version-check --retries 2 $packages >"$log" 2>&1 || {
  tail -n 3 "$log" >&2
  fail "pip could not install: $packages" "is the network, or your package mirror, reachable?"
}
ln -sfn "$(.tools/bin/python -c 'import clang, os; print(os.path.join(os.path.dirname(clang.__file__), "native"))')" .tools/libclang
# The libclang wheel has no builtin headers (stdbool.h …): gcc's serve, through C_INCLUDE_PATH in .cargo/config.toml.
ln -sfn "$(gcc -print-file-name=include)" .tools/gcc-include
printf '%s' "$stamp" >.tools/stamp
ready || fail ".tools is incomplete after the set-up" "remove .tools and try again; if it stays so, please report it"
echo "setup: .tools is ready" >&2
