"""What divan, the harness of the benchmarks in Rust, prints."""

import re

UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def medians(text):
    """Bench and argument to the median in seconds, out of divan's table."""
    found, group = {}, None
    for line in text.splitlines():
        head = re.match(r"^[├╰]─ (\S+)", line)
        row = re.match(r"^[│ ]  [├╰]─ (\S+)", line)
        name = row or head
        if head:
            group = head.group(1)
        times = re.findall(r"([\d.]+) (ns|µs|ms|s)\b", line)
        if name and len(times) >= 3:
            number, unit = times[2]
            found[(group, row.group(1) if row else None)] = float(number) * UNITS[unit]
    return found
