"""A witness on loopback (c2sp.org/tlog-witness): one log, its state on disk before it answers."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from akiosd.ledger.merkle import HASH_BYTES, ProofError
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    Signer,
    UntrustedNoteError,
    Vkey,
    decode_base64,
    decode_decimal,
    open_checkpoint,
    parse_note,
)
from akiosd.ledger.witness import WitnessKey, cosignature_line, cosigned_message
from tests.unit.ledger.consistency import verify_consistency

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * 64


def parse_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    """(old size, proof, checkpoint), strictly; raises ``NoteError``."""
    head, blank, checkpoint = body.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteError("the request is malformed") from None
    word, _, number = first.partition(" ")
    if len(body) > MAX_REQUEST_BYTES or not blank or word != "old" or len(lines) > MAX_PROOF_LINES:
        raise NoteError("the request is malformed")
    old_size = decode_decimal(number)
    proof = [decode_base64(line) for line in lines]
    if any(len(value) != HASH_BYTES for value in proof):
        raise NoteError("a hash of the proof is not 32 bytes")
    return old_size, proof, checkpoint


class Witness:
    """``answer`` is the whole of it; ``seen`` counts what was cosigned."""

    def __init__(
        self,
        state: Path,
        log: Vkey,
        seed: bytes = bytes([7]) * 32,
        now: int = 1_800_000_000,
        name: str = "witness.example/w",
    ) -> None:
        self._state, self._log, self._now = state, log, now
        self._signer = Signer(name, seed)
        self.key = WitnessKey(name, self._signer.vkey.public_key)
        self._lock = threading.Lock()

    def latest(self) -> tuple[int, bytes]:
        try:
            found = json.loads(self._state.read_text())
        except FileNotFoundError:
            return 0, b""
        return found["size"], bytes.fromhex(found["root"])

    def _persist(self, checkpoint: Checkpoint) -> None:
        temporary = self._state.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump({"size": checkpoint.size, "root": checkpoint.root.hex()}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._state)

    def answer(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type, body; the check and the new state are one step."""
        with self._lock:
            try:
                return self._answer(body)
            except UntrustedNoteError:
                return 403, "text/plain", b""
            except ProofError:
                return 422, "text/plain", b""
            except NoteError:
                return 400, "text/plain", b""

    def _answer(self, body: bytes) -> tuple[int, str, bytes]:
        old_size, proof, note = parse_request(body)
        text = parse_note(note).text
        if Checkpoint.parse(text).origin != self._log.name:
            return 404, "text/plain", b""
        checkpoint = open_checkpoint(note, self._log)
        if old_size > checkpoint.size:
            return 400, "text/plain", b""
        size, root = self.latest()
        if old_size != size:
            return 409, "text/x.tlog.size", f"{size}\n".encode()
        if size == checkpoint.size and root != checkpoint.root:
            return 409, "text/plain", b""
        if size:
            verify_consistency(size, checkpoint.size, root, checkpoint.root, proof)
        elif proof:
            return 422, "text/plain", b""
        self._persist(checkpoint)
        signature = self._signer.sign_bytes(cosigned_message(text, self._now))
        return 200, "text/plain", cosignature_line(self.key, self._now, signature).encode()


class Server(HTTPServer):
    """Serves one witness on 127.0.0.1 until ``close``, one request after the other.

    All its threads are there when it is made.  One for each request cannot be started on a machine
    that is full of processes for a moment, and then the connection is closed unread.
    """

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/w"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 10  # seconds; who connects and is silent does not keep the others waiting for ever

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, answer = (
            self.server.witness.answer(body) if self.path == "/w/add-checkpoint" else (404, "", b"")
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass
