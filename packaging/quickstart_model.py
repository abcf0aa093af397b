"""A stand-in for a model provider, for packaging/quickstart: no model, a fixed answer, a record of
what it was sent.

It speaks enough of OpenAI's chat completions, over real TLS with an authority of its own, for the
official SDK. It answers whatever it is asked with a sentence that repeats the first e-mail address
and the first IBAN it finds in the prompt, so that one sees what reached it, and what the agent gets
back.

    quickstart_model.py DIRECTORY

It writes DIRECTORY/ca.pem, prints its port when it is ready, and writes DIRECTORY/seen for each
request.
"""

import datetime
import ipaddress
import json
import re
import ssl
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){3,7}(?: ?[0-9A-Z]{1,3})?\b")

_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def make_certificates(directory: Path) -> ssl.SSLContext:
    """An authority for the occasion and a certificate for 127.0.0.1; the authority's goes into
    ``ca.pem``.
    """
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AKIOS quickstart stand-in")])

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        started = (
            x509.CertificateBuilder().subject_name(name).issuer_name(authority).public_key(public)
        )
        started = started.serial_number(x509.random_serial_number())
        return started.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(hours=12)
        )

    root = builder(authority, authority_key.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    # From Python 3.13 on, a certificate that does not say whose it is, or what for, is not accepted
    # (RFC 5280, 4.2.1).
    root = root.add_extension(_USAGE, critical=True)
    root = root.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
    )
    leaf = builder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), key.public_key()
    )
    leaf = leaf.add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        critical=False,
    )
    leaf = leaf.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
        critical=False,
    )
    signed = leaf.sign(authority_key, hashes.SHA256())
    root_pem = root.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as chain:
        chain.write(signed.public_bytes(serialization.Encoding.PEM))
        chain.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        chain.flush()
        context.load_cert_chain(chain.name)
    (directory / "ca.pem").write_bytes(root_pem)
    return context


def answer_to(prompt: str) -> str:
    email, iban = _EMAIL.search(prompt), _IBAN.search(prompt)
    whom, what = email[0] if email else "nobody", iban[0] if iban else "nothing"
    return f"I will write to {whom} and pay {what}."


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory: Path

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = "\n".join(str(message["content"]) for message in body["messages"])
        answer = answer_to(prompt)
        with (self.directory / "seen").open("a") as seen:
            found = {
                "path": self.path,
                "authorization": self.headers["authorization"] or "",
                "prompt": prompt,
            }
            seen.write(json.dumps({**found, "answer": answer}) + "\n")
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(answer) // 4}
        usage["total_tokens"] = sum(usage.values())
        if body.get("stream"):
            wants_usage = (body.get("stream_options") or {}).get("include_usage")
            self.stream(body["model"], answer, usage if wants_usage else None)
        else:
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": answer},
                "finish_reason": "stop",
            }
            self.reply(body["model"], "chat.completion", choices=[choice], usage=usage)

    def reply(self, model: str, kind: str, **fields: Any) -> None:
        data = json.dumps(self.chunk(model, kind, **fields)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chunk(self, model: str, kind: str, **fields: Any) -> dict[str, Any]:
        return {
            "id": "chatcmpl-stand-in",
            "object": kind,
            "created": int(time.time()),
            "model": model,
            **fields,
        }

    def stream(self, model: str, answer: str, usage: dict[str, int] | None) -> None:
        """Seven characters an event, so that every address and number is cut."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        pieces = [answer[at : at + 7] for at in range(0, len(answer), 7)]
        events = [
            [{"index": 0, "delta": {"content": piece}, "finish_reason": None}] for piece in pieces
        ]
        events.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        for choices in events:
            self.event(self.chunk(model, "chat.completion.chunk", choices=choices))
        if usage is not None:
            self.event(self.chunk(model, "chat.completion.chunk", choices=[], usage=usage))
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(directory: Path) -> None:
    Model.directory = directory
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.socket = make_certificates(directory).wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
