#!/usr/bin/env python3
"""Prints what the program is made of, as CycloneDX 1.5: each crate with its version, licence and checksum.

sbom.py TRIPLE: those that go into a program for this target. Tests and benchmarks are no part of it.
"""

import json
import subprocess
import sys
import tomllib


def main(triple):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    with open("Cargo.lock", "rb") as lock:
        sums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(lock)["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    needs, left = {}, [root]
    while left:
        one = left.pop()
        if one in needs:
            continue
        is_needed = lambda dep: any(kind["kind"] != "dev" for kind in dep["dep_kinds"])
        needs[one] = sorted({dep["pkg"] for dep in nodes[one]["deps"] if is_needed(dep)})
        left += needs[one]

    def ref(identity):
        package = packages[identity]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(identity):
        package = packages[identity]
        described = {"type": "library", "bom-ref": ref(identity), "name": package["name"]}
        described |= {"version": package["version"], "purl": ref(identity)}
        if package["license"]:
            described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return described

    crates = sorted(needs, key=ref)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root) | {"type": "application"}, "properties": [{"name": "target", "value": triple}]},
        "components": [component(crate) for crate in crates if crate != root],
        "dependencies": [{"ref": ref(crate), "dependsOn": sorted(map(ref, needs[crate]))} for crate in crates],
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: sbom.py TRIPLE")
    main(sys.argv[1])
