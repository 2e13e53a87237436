#!/usr/bin/env python3
"""Compares two run folders whole and prints the first difference.

    scripts/compare-runs.py BEFORE AFTER

Cells and samples must be equal byte for byte. Of `plan.lock.json`, `run.json` and the journal everything must be equal
but the fields that name a version, a time or a host, and the hashes over them. What the workers said is not compared.
`--report` compares the written reports as well. `--self-test` plants a difference of every kind and fails if one goes
unseen.

Exit status: 0 for equal folders, 1 for a difference, 2 where a folder is not a finished run.
"""

import json
import sys
import tempfile
from pathlib import Path

# Fields that name a version, or are made from one: the id of a run ends in a hash over the versions.
VERSIONS = {"assay_version", "engine_build", "build", "id"}
# What stands for a field that one side does not have.
MISSING = "nothing"


def short(value):
    """A value in at most one line."""
    text = value if isinstance(value, str) and value == MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else text[:157] + "..."


def first_difference(place, a, b):
    """The first place in which two JSON values differ, with both values, or None. Versions count as equal."""
    if isinstance(a, dict) and isinstance(b, dict):
        if list(a) != list(b) and sorted(a) == sorted(b):
            return f"{place}: the order of the fields is {short(list(a))} and {short(list(b))}"
        for key in [*a, *(key for key in b if key not in a)]:
            if key not in VERSIONS:
                found = first_difference(f"{place}.{key}", a.get(key, MISSING), b.get(key, MISSING))
                if found:
                    return found
        return None
    if isinstance(a, list) and isinstance(b, list):
        for index, (x, y) in enumerate(zip(a, b)):
            found = first_difference(f"{place}[{index}]", x, y)
            if found:
                return found
        return None if len(a) == len(b) else f"{place}: {len(a)} and {len(b)} entries"
    # 1 and 1.0 are equal to Python and not to a reader of the file.
    same = type(a) is type(b) and (a == b or (a != a and b != b))
    return None if same else f"{place}: {short(a)} and {short(b)}"


def number(text):
    """A number as it is printed: the digits count, not the value."""
    return f"number {text}"


def parse(text):
    return json.loads(text, parse_float=number, parse_int=number)


def names(folder):
    """The files of a folder and of the folders in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def different_bytes(before, after):
    """The first file of two folders that is not the same byte for byte."""
    for name in sorted({*names(before), *names(after)}):
        place = f"{before.name}/{name}"
        a, b = before / name, after / name
        if not a.is_file() or not b.is_file():
            return f"{place}: {'only in the second folder' if b.is_file() else 'only in the first folder'}"
        if a.read_bytes() == b.read_bytes():
            continue
        a, b = (path.read_text(errors="replace").splitlines() for path in (a, b))
        for line, (x, y) in enumerate(zip(a, b), 1):
            if x != y:
                try:
                    found = first_difference("", parse(x), parse(y))
                except ValueError:
                    found = None
                return f"{place}: line {line}{found or f': {short(x)} and {short(y)}'}"
        return f"{place}: {len(a)} and {len(b)} lines"
    return None


def different_json(before, after, name):
    return first_difference(name, *(parse((folder / name).read_text()) for folder in (before, after)))


def entries(folder):
    """What happened, in its order, without when and where."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [parse(line)["body"]["entry"] for line in lines]


def difference(before, after, with_report):
    """The first difference of two run folders in words, or None."""
    parts = [
        lambda: different_json(before, after, "plan.lock.json"),
        lambda: different_bytes(before / "samples", after / "samples"),
        lambda: different_bytes(before / "cells", after / "cells"),
        lambda: different_json(before, after, "run.json"),
        lambda: first_difference("journal.jsonl", entries(before), entries(after)),
        lambda: different_bytes(before / "report", after / "report") if with_report else None,
    ]
    for part in parts:
        found = part()
        if found:
            return found
    faults = [folder / "faults.jsonl" for folder in (before, after)]
    texts = [path.read_text() if path.is_file() else "" for path in faults]
    return None if texts[0] == texts[1] else f"faults.jsonl: {short(texts[0])} and {short(texts[1])}"


def compared(folder):
    """How much was compared, in words."""
    cells, samples = len(names(folder / "cells")), len(names(folder / "samples"))
    return f"{cells} cells, {samples} files of samples, {len(entries(folder))} entries of the journal"


def self_test():
    """Plants differences and says which go unseen."""
    def write(folder, version="1", **other):
        run = {"assay_version": version, "id": f"a-{version}", "models": [{"kld": 0.5, "why": "w"}]}
        entry = {"what": "gate", "why": "all hold"}
        files = {
            "plan.lock.json": json.dumps({"identity": {"engine_build": version, "chunks": 2}}),
            "run.json": json.dumps(run),
            "cells/k.json": '{"key": "k", "kld": 0.50}',
            "samples/k.jsonl": '{"nll":[1.0,2.0]}\n{"nll":[3.0]}\n',
            "report/report.md": "# a\n",
            "journal.jsonl": json.dumps({"hash": version, "body": {"time_unix_s": len(version), "entry": entry}}),
            **other,
        }
        for name, text in files.items():
            if text is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return folder

    planted = {
        "a cell's digits": {"cells/k.json": '{"key": "k", "kld": 0.5}'},
        "a cell too many": {"cells/l.json": "{}"},
        "a cell too few": {"cells/k.json": None},
        "a sample": {"samples/k.jsonl": '{"nll":[1.0,2.5]}\n{"nll":[3.0]}\n'},
        "a line of samples": {"samples/k.jsonl": '{"nll":[1.0,2.0]}\n'},
        "an identity": {"plan.lock.json": '{"identity": {"engine_build": "2", "chunks": 3}}'},
        "a field too many": {"plan.lock.json": '{"identity": {"engine_build": "2", "chunks": 2, "x": 1}}'},
        "a reason": {"run.json": '{"assay_version": "2", "id": "b", "models": [{"kld": 0.5, "why": "v"}]}'},
        "the kind of a number": {"run.json": '{"assay_version": "2", "id": "b", "models": [{"kld": 0.50, "why": "w"}]}'},
        "the order of fields": {"run.json": '{"assay_version": "2", "id": "b", "models": [{"why": "w", "kld": 0.5}]}'},
        "an entry": {"journal.jsonl": '{"hash": "2", "body": {"entry": {"what": "gate", "why": "A/A failed"}}}'},
        "an entry too many": {"journal.jsonl": '{"body": {"entry": {"what": "gate", "why": "all hold"}}}\n' * 2},
        "a fault": {"faults.jsonl": "{}"},
        "a report": {"report/report.md": "# b\n"},
    }
    unseen = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        before = write(folder / "before")
        if found := difference(before, write(folder / "equal", version="2"), True):
            unseen.append(f"another version counts as a difference: {found}")
        for index, (what, files) in enumerate(planted.items()):
            if not difference(before, write(folder / str(index), version="2", **files), True):
                unseen.append(f"{what} goes unseen")
    for line in unseen:
        print(line)
    return 1 if unseen else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    with_report = "--report" in arguments
    folders = [Path(argument) for argument in arguments if argument != "--report"]
    if len(folders) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for folder in folders:
        if not (folder / "run.json").is_file():
            print(f"{folder}: is not a finished run: it has no run.json", file=sys.stderr)
            return 2
    found = difference(*folders, with_report)
    print(f"different: {found}" if found else f"equal: {compared(folders[0])}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
