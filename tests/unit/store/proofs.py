"""Proofs from the files of a log that is not open."""

from __future__ import annotations

from pathlib import Path

from akiosd.ledger.note import Checkpoint, Vkey
from akiosd.ledger.proof import TlogProof
from akiosd.store.fsck import open_log_files
from akiosd.store.proofs_and_tiles import prove_consistency_from, prove_from, read_checkpoint


def prove(path: Path | int, index: int, vkey: Vkey) -> tuple[TlogProof, bytes]:
    """The proof of the entry at ``index`` under the log's present checkpoint, and the entry
    itself.
    """
    with open_log_files(path) as reader:
        return prove_from(reader, index, vkey)


def prove_consistency(
    path: Path | int, old_size: int, vkey: Vkey
) -> tuple[Checkpoint, list[bytes]]:
    """The proof that the log's tree of ``old_size`` is a prefix of its present one."""
    with open_log_files(path) as reader:
        checkpoint, _ = read_checkpoint(reader, vkey)
        return checkpoint, prove_consistency_from(reader, old_size, checkpoint)
