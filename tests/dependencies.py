#!/usr/bin/env python3
"""What the crate is built from, held to a few rules: where it comes from, under which licences, nothing twice, nothing unused.

It asks `cargo tree`, which needs no network, for what is built on this platform, tests and benches included.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# One implementation of TLS, and it is rustls on aws-lc.
BANNED = {"native-tls", "openssl", "openssl-sys", "ring"}

# Two versions in one binary cost time and make types that look alike and are not. These are known, and none meets ours. What only tests
# are built from may come twice: two OAuth clients that know nothing of each other are worth it.
KNOWN_TWICE = {
    "getrandom": "the older one comes with criterion and proptest, or with jiff",
    "syn": "build time only",
    "synstructure": "build time only: asn1-rs",
    "thiserror": "ppp",
    "thiserror-impl": "build time only: ppp",
    "untrusted": "aws-lc-rs and rustls-webpki",
}


def tree(edges="normal,build,dev"):
    """Name, version and licence of everything that is built."""
    command = ["cargo", "tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p}|{l}"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = set()
    for line in output.splitlines():
        package, licence = line.removesuffix(" (*)").split("|")
        name, version = package.split(" ")[:2]
        found.add((name, version, licence.removesuffix(" (*)")))
    return sorted(found)


def declared(manifest):
    """Section and name of every dependency in Cargo.toml, one to a line. Python reads TOML by itself since 3.11 only."""
    section = ""
    for line in manifest.splitlines():
        if header := re.match(r"\[(.+)\]", line):
            section = header[1]
        elif section in ("dependencies", "dev-dependencies") and (entry := re.match(r"([\w-]+) = ", line)):
            yield section, entry[1]


def allowed(licence):
    """Whether an SPDX expression can be met by the licences above; `/` is an old way to write OR."""
    expression = re.sub(r"\s*/\s*", " OR ", licence)
    words = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression)
    python = " ".join({"OR": "or", "AND": "and", "(": "(", ")": ")"}.get(word) or str(word in LICENCES) for word in words)
    return bool(python) and eval(python, {"__builtins__": {}})  # noqa: S307: built of five words just above


def main():
    problems = []
    built = tree()
    for name, version, licence in built:
        if name in BANNED:
            problems.append(f"{name} {version} is built; find out by whom: cargo tree -i {name}")
        if not allowed(licence):
            problems.append(f"{name} {version} has the licence {licence!r}, which is not among those allowed")
    versions = defaultdict(set)
    for name, version, _ in tree("normal,build"):
        versions[name].add(version)
    for name, several in versions.items():
        if len(several) > 1 and name not in KNOWN_TWICE:
            problems.append(f"{name} is built in versions {', '.join(sorted(several))}: cargo tree -d")
    sources = re.findall(r'^name = "(.+)"\nversion = .+\nsource = "(.+)"', (ROOT / "Cargo.lock").read_text(), re.MULTILINE)
    # One registry, which is cargo's own where nobody configured another; a path has no source, and a git repository is none.
    registry = next((source for _, source in sources if source.startswith("registry+")), None)
    problems += [f"{name} comes from {source}" for name, source in sources if source != registry]
    dependencies = list(declared((ROOT / "Cargo.toml").read_text()))
    if not dependencies:
        problems.append("Cargo.toml is not written as this script reads it: `name = ` on a line of its own")
    code = "\n".join(path.read_text() for room in ("src", "tests", "benches") for path in sorted((ROOT / room).rglob("*.rs")))
    for section, name in dependencies:
        if not re.search(rf"\b{name.replace('-', '_')}\b", code):
            problems.append(f"{name} in [{section}] is used nowhere")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(built)} packages: sources, licences, versions and use are as they should be")


main()
