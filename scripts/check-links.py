#!/usr/bin/env python3
"""Refuses a relative link in the tracked Markdown files that points at nothing."""

import pathlib
import re
import subprocess
import sys
import urllib.parse

# [text](target "title") and ![alt](target), outside code.
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)

root = pathlib.Path(__file__).resolve().parent.parent
listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True)
dead, n = [], 0
for name in listed.stdout.splitlines():
    page = root / name
    if not page.exists():
        continue
    # Blank out code but keep its line breaks, so that line numbers stay true.
    text = CODE.sub(lambda code: "\n" * code.group().count("\n"), page.read_text(encoding="utf-8"))
    for link in LINK.finditer(text):
        target = urllib.parse.unquote(link.group(1).partition("#")[0])
        if not target or re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        n += 1
        if not (page.parent / target).exists():
            dead.append(f"{name}:{text.count(chr(10), 0, link.start()) + 1}: {target}")
if dead:
    sys.exit("links: these lead nowhere\n" + "\n".join(f"  {line}" for line in dead))
print(f"links: {n} relative links, all lead somewhere")
