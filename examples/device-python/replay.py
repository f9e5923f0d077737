"""Replays the protocol's fixtures through wire.py: the first test of a device in any language.

    python3 examples/device-python/replay.py
"""

import json
import pathlib
import sys

from wire import decode, encode, open_statement

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "packages" / "protocol" / "fixtures" / "v1"


def entries(name):
    return json.loads((FIXTURES / f"{name}.json").read_text())["entries"].items()


def plain(value):
    """As the fixtures write it: bytes as {"/hex": …}."""
    if isinstance(value, bytes):
        return {"/hex": value.hex()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def has_fraction(value):
    """This encoder writes none: what a device must send has none."""
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(has_fraction, value)) if isinstance(value, list) else isinstance(value, float)


wrong = []
frames = statements = 0
for name, fixture in entries("frames"):
    data = bytes.fromhex(fixture["hex"])
    value = decode(data)
    frames += 1
    if plain(value) != fixture["value"] or not has_fraction(value) and encode(value) != data:
        wrong.append(name)
for name, fixture in entries("handshake"):
    if "purpose" not in fixture:
        continue
    value, signer = open_statement(fixture["purpose"], bytes.fromhex(fixture["hex"]))
    statements += 1
    if plain(value) != fixture["value"] or signer.hex() != fixture["signer"]:
        wrong.append(name)

print(f"{frames} frames and {statements} signed statements, {len(wrong)} wrong")
sys.exit(f"wrong: {', '.join(wrong)}" if wrong else 0)
