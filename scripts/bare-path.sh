#!/usr/bin/env bash
# Makes FOLDER with links to the programs that the README names, to those that gcc brings, and to the core of POSIX with
# the few of coreutils that scripts here use, and prints it. With it as the PATH, whatever else a machine has is not found:
#   PATH="$(scripts/bare-path.sh FOLDER)" make test
set -euo pipefail

folder="${1:?usage: scripts/bare-path.sh FOLDER}"
named="cargo rustc rustdoc rustfmt gcc g++ make python3"
with_gcc="cc c++ cpp ar as ld nm ranlib objcopy objdump strip"
posix="[ awk basename cat chmod cmp comm cp cut date dd df diff dirname du echo env expr false find getconf grep gzip head
  id ln ls mkdir mkfifo mv nice nohup od paste patch pr printf pwd rm rmdir sed sh sleep sort split tail tee test touch tr
  true tty uname uniq wc xargs"
# Tests of full disks and of folders without rights make a place to mount in; without these programs they are skipped.
mounting="unshare mount umount"
coreutils="bash install mktemp nproc readlink realpath seq sha256sum stat timeout truncate"

mkdir -p "$folder"
for program in $named; do
  path="$(command -v "$program")" || { printf 'bare-path: %s not found\n' "$program" >&2; exit 2; }
  ln -sfn "$path" "$folder/$program"
done
# shellcheck disable=SC2086 # lists are words on purpose
for program in $with_gcc $posix $mounting $coreutils; do
  # Functions and builtins are not programs.
  if path="$(type -P "$program")"; then ln -sfn "$path" "$folder/$program"; fi
done
printf '%s\n' "$folder"
