"""What the file of an offline run of Weights & Biases holds: records in the framing of LevelDB's logs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
HEADER = struct.Struct("<IHB")
FULL, LAST = 1, 4


def records(file: Path) -> Iterator[Any]:
    """Every record of the file."""
    content, at, parts = file.read_bytes(), HEADER.size, b""
    assert content.startswith(b":W&B")
    while at + HEADER.size <= len(content):
        if BLOCK - at % BLOCK < HEADER.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(content, at)
        parts += content[at + HEADER.size : at + HEADER.size + length]
        at += HEADER.size + length
        if kind in {FULL, LAST}:
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
