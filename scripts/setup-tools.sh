#!/usr/bin/env bash
# Brings the build tools that the engine crate needs (cmake, ninja, libclang) and the Python
# oracles (gguf, numpy, ml_dtypes) from PyPI into .tools, without root. Quick when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The stamp is the list itself: changing a pin makes every checkout set up again.
build_tools="cmake==4.4.4 ninja==1.13.2 libclang==18.1.1"
oracles="gguf numpy ml_dtypes"
stamp="$build_tools $oracles"
if [ -f .tools/stamp ] && [ "$(cat .tools/stamp)" = "$stamp" ]; then
  exit 0
fi

fail() { printf 'setup: %s\nhint: %s\n' "$1" "$2" >&2; exit 2; }
command -v cargo >/dev/null || fail "cargo not found" "install Rust 1.95 or newer (rustup.rs)"
command -v g++ >/dev/null || fail "g++ not found" "install a C++ compiler: apt-get install g++"
command -v gcc >/dev/null || fail "gcc not found" "install a C compiler: apt-get install gcc"
command -v python3 >/dev/null || fail "python3 not found" "apt-get install python3 python3-venv"

echo "setup: making .tools (cmake, ninja, libclang and the Python oracles, about 200 MB from PyPI)" >&2
rm -rf .tools
python3 -m venv .tools || fail "python3 -m venv failed" "apt-get install python3-venv"
# shellcheck disable=SC2086 # the lists are words on purpose
.tools/bin/pip install --quiet --disable-pip-version-check $build_tools $oracles \
  || fail "pip could not install: $build_tools $oracles" "is the network, or your PyPI mirror, reachable?"
ln -sfn "$(.tools/bin/python -c 'import clang, os; print(os.path.join(os.path.dirname(clang.__file__), "native"))')" .tools/libclang
# The libclang wheel has no builtin headers (stdbool.h …): gcc's serve, through C_INCLUDE_PATH in .cargo/config.toml.
ln -sfn "$(gcc -print-file-name=include)" .tools/gcc-include
printf '%s' "$stamp" > .tools/stamp
echo "setup: .tools is ready" >&2
