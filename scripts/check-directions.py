#!/usr/bin/env python3
"""Refuses a dependency between the rooms of the workspace that points in the wrong direction.

Reads `cargo metadata`, so every spelling of a dependency counts: renamed, optional, per target.
`--self-test` plants wrong edges in the real metadata and fails if one goes unseen.
"""

import copy
import json
import subprocess
import sys

# The rooms, from the ground up, and what each may use: the rooms of the lines below its own, and beside it only what is
# named (the list is closed: a new room needs a row here).
ALLOWED = {
    # ground
    "words": set(),
    "stats": set(),
    "gguf": {"words"},
    "numerics": {"stats", "words"},
    # data
    "record": {"stats", "words"},
    # workings
    "lineage": {"numerics", "stats", "words"},
    "select": {"gguf", "numerics", "record", "words"},
    "files": {"gguf", "lineage", "numerics", "record", "select", "words"},
    "eval": {"record", "stats", "words"},
    "worker": {"eval", "files", "numerics", "record", "words"},
    "llama": {"eval", "numerics", "record", "words"},
    # product
    "lab": {"eval", "files", "gguf", "lineage", "numerics", "record", "select", "stats", "words", "worker"},
    # above
    "report": {"record", "stats", "words"},
    "proof": {"eval", "files", "gguf", "lab", "lineage", "numerics", "record", "select", "stats", "words", "worker"},
    # development
    "synth": {"gguf", "numerics", "stats"},
    "proof-mutate": {
        "eval", "files", "gguf", "lab", "lineage", "numerics", "proof", "record", "select", "stats", "synth", "words",
        "worker",
    },
    # fronts
    "cli": {
        "eval", "files", "gguf", "lab", "lineage", "llama", "numerics", "proof", "proof-mutate", "record", "report",
        "select", "stats", "synth", "words", "worker",
    },
}
# Tests may read real files where the room itself must not know them.
ALLOWED_IN_TESTS = {
    "numerics": {"gguf"},
    "lineage": {"gguf"},
    "llama": {"gguf"},
    "proof": {"synth"},
    "worker": {"select"},
}
# Crates that belong to one room alone: only `llama` compiles C++.
RESERVED = {"llama-cpp-sys-2": "llama"}
PACKAGE_OF_CLI = "gguf-assay"


def room_of(package):
    """The room that a package of the workspace is, or None for a package that is not ours."""
    if package == PACKAGE_OF_CLI:
        return "cli"
    return package.removeprefix("assay-") if package.startswith("assay-") else None


def wrong_edges(metadata):
    """One line for every dependency that the table does not allow."""
    wrong = []
    for package in sorted(metadata["packages"], key=lambda p: p["name"]):
        room = room_of(package["name"])
        if room not in ALLOWED:
            wrong.append(f"{package['name']}: not a room of the table")
            continue
        for dependency in package["dependencies"]:
            kind = dependency["kind"] or "normal"
            edge = f"{room} -> {dependency['name']} ({kind} dependency)"
            other = room_of(dependency["name"])
            if other is None:
                owner = RESERVED.get(dependency["name"], room)
                if owner != room:
                    wrong.append(f"{edge}: only {owner} may use it")
                continue
            allowed = ALLOWED[room] | (ALLOWED_IN_TESTS.get(room, set()) if kind == "dev" else set())
            if other not in allowed:
                wrong.append(f"{edge}: {room} may use {', '.join(sorted(allowed)) or 'no other room'}")
    missing = ALLOWED.keys() - {room_of(p["name"]) for p in metadata["packages"]}
    wrong += [f"{room}: in the table, but not in the workspace" for room in sorted(missing)]
    return wrong


def self_test(metadata):
    """Plants one edge at a time and names those that were judged wrongly."""
    cases = [
        # room, package it would depend on, kind, and whether that must be refused
        ("gguf", "assay-numerics", None, True),
        ("numerics", "assay-gguf", None, True),
        ("numerics", "assay-gguf", "dev", False),
        ("lineage", "assay-gguf", "build", True),
        ("stats", "assay-eval", "dev", True),
        ("eval", "assay-llama", None, True),
        ("lab", "assay-llama", "dev", True),
        ("report", "assay-gguf", None, True),
        ("report", "assay-lab", None, True),
        ("report", "assay-eval", "dev", True),
        ("record", "assay-numerics", None, True),
        ("select", "assay-files", None, True),
        ("files", "assay-select", None, False),
        ("files", "assay-worker", None, True),
        ("worker", "assay-files", None, False),
        ("worker", "assay-lab", None, True),
        ("words", "assay-stats", None, True),
        ("lab", "gguf-assay", "dev", True),
        ("lab", "llama-cpp-sys-2", None, True),
        ("cli", "llama-cpp-sys-2", "dev", True),
        ("llama", "llama-cpp-sys-2", None, False),
        ("stats", "assay-common", None, True),
        ("cli", "assay-report", None, False),
        ("proof", "assay-llama", None, True),
        ("lab", "assay-proof", None, True),
        ("stats", "serde", None, False),
    ]
    before = wrong_edges(metadata)
    failures = []
    for room, name, kind, refuse in cases:
        planted = copy.deepcopy(metadata)
        package = next(p for p in planted["packages"] if room_of(p["name"]) == room)
        package["dependencies"].append({"name": name, "kind": kind})
        found = [line for line in wrong_edges(planted) if line not in before]
        if bool(found) != refuse:
            failures.append(f"{room} -> {name} ({kind or 'normal'}): {'not refused' if refuse else found}")
    stranger = copy.deepcopy(metadata)
    stranger["packages"].append({"name": "assay-common", "dependencies": []})
    if not [line for line in wrong_edges(stranger) if "assay-common" in line]:
        failures.append("a package that is no room was not refused")
    return len(cases) + 1, failures


def main():
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"directions: {' '.join(command)} failed:\n{run.stderr}")
    metadata = json.loads(run.stdout)
    if sys.argv[1:] == ["--self-test"]:
        n, failures = self_test(metadata)
        if failures:
            sys.exit("directions: the self-test failed\n" + "\n".join(f"  {line}" for line in failures))
        print(f"directions: self-test passed ({n} planted cases)")
    elif sys.argv[1:]:
        sys.exit("usage: check-directions.py [--self-test]")
    else:
        wrong = wrong_edges(metadata)
        if wrong:
            sys.exit("directions: dependencies that are not allowed\n" + "\n".join(f"  {line}" for line in wrong)
                     + "\nhint: turn the edge round with a trait that its user owns; the table is in this script")
        print(f"directions: {len(metadata['packages'])} rooms, every dependency points the right way")


if __name__ == "__main__":
    main()
