"""What a device needs below the protocol: deterministic CBOR, signed statements, and a WebSocket.

Python's standard library and the package `cryptography`; docs/protocol.md says what all of it means.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

FRAME_BYTES_MAX = 1_310_720
CBOR_DEPTH_MAX = 64


def sha256(data):
    return hashlib.sha256(data).digest()


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


def to_base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# CBOR (RFC 8949): shortest heads, keys sorted by length and then bytes. Just the kinds that the protocol has.


def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    power = next(power for power in range(4) if value < 1 << 8 * 2**power)
    return bytes([major << 5 | 24 + power]) + value.to_bytes(2**power, "big")


def encode(value):
    if value is None or isinstance(value, bool):
        return bytes([{False: 0xF4, True: 0xF5, None: 0xF6}[value]])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return head(3, len(data)) + data
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise TypeError(f"the protocol has no {type(value)}")


def decode(data):
    value, end = decode_at(data, 0, 0)
    if end != len(data):
        raise ValueError("bytes after the end of a CBOR item")
    return value


def decode_at(data, at, depth):
    """The item at `at` and where it ends. Raises ValueError or IndexError where there is none."""
    if depth > CBOR_DEPTH_MAX:
        raise ValueError("CBOR nested too deep")
    major, small = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if small in (20, 21, 22):
            return (False, True, None)[small - 20], at
        size, letter = {25: (2, ">e"), 26: (4, ">f"), 27: (8, ">d")}[small]
        return struct.unpack(letter, data[at : at + size])[0], at + size
    if small < 24:
        value = small
    elif small <= 27:
        size = 1 << small - 24
        value = int.from_bytes(data[at : at + size], "big")
        at += size
    else:
        raise ValueError("indefinite lengths are refused")
    if major < 2:
        return (value if major == 0 else -1 - value), at
    if major < 4:
        if at + value > len(data):
            raise ValueError("CBOR cut short")
        text = data[at : at + value]
        return (text if major == 2 else text.decode()), at + value
    if major == 6:
        # The one tag of dag-cbor is 42, a CID; what it holds is enough.
        return decode_at(data, at, depth + 1)
    items = []
    for _ in range(value * (2 if major == 5 else 1)):
        item, at = decode_at(data, at, depth + 1)
        items.append(item)
    return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at


# Signed statements: {payload, key, signature} over "idlewild/v1/PURPOSE", a zero byte and the payload.


def public_bytes(key):
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def sign(purpose, statement, key):
    payload = encode(statement)
    signature = key.sign(f"idlewild/v1/{purpose}\0".encode() + payload)
    return encode({"payload": payload, "key": public_bytes(key), "signature": signature})


def open_statement(purpose, carried, expected_key=None):
    """The statement and who signed it. Raises when anybody else did, or nobody."""
    signed = decode(carried)
    if expected_key is not None and signed["key"] != expected_key:
        raise ValueError(f"a {purpose} was signed by another key than expected")
    message = f"idlewild/v1/{purpose}\0".encode() + signed["payload"]
    ed25519.Ed25519PublicKey.from_public_bytes(signed["key"]).verify(signed["signature"], message)
    return decode(signed["payload"]), signed["key"]


# A connection to a hub: plain on loopback only, else TLS with the pinned key; and the WebSocket over it (RFC 6455).


def connect(url, pin):
    """A socket, and the binding that the hub must name too."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    plain = socket.create_connection((parts.hostname, port), timeout=10)
    if parts.scheme != "https":
        if not plain.getpeername()[0].startswith(("127.", "::1")):
            raise ValueError("away from loopback a hub must speak TLS")
        return plain, {"kind": "loopback"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its key is compared with the pin instead, before anything is sent
    secure = context.wrap_socket(plain, server_hostname=parts.hostname)
    certificate = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    spki = sha256(certificate.public_key().public_bytes(serialization.Encoding.DER, form))
    if spki != pin:
        raise ValueError("the TLS key of this server is not the one in the invite")
    return secure, {"kind": "tls", "spki": spki}


class Channel:
    """One binary message is one frame."""

    def __init__(self, url, pin):
        self.socket, self.binding = connect(url, pin)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /device HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        answer, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
        if not answer.startswith(b"HTTP/1.1 101") or accept not in answer:
            raise ConnectionError("the hub did not open a WebSocket: " + answer.decode("latin1").split("\r\n")[0])

    def fill(self):
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the hub closed the channel")
        self.buffer += data

    def send(self, fields):
        self.send_raw(2, encode(fields))

    def send_raw(self, kind, payload):
        size = len(payload)
        if size < 126:
            length = bytes([128 | size])
        else:
            length = b"\xfe" + struct.pack(">H", size) if size < 65_536 else b"\xff" + struct.pack(">Q", size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.socket.settimeout(10)
        self.socket.sendall(bytes([128 | kind]) + length + mask + masked)

    def receive(self, seconds):
        """The bytes of the next frame; None when none came in time. Raises ConnectionError at the end."""
        self.socket.settimeout(max(0.001, seconds))
        while True:
            message = self.take()
            if message is not None:
                return message
            try:
                self.fill()
            except (socket.timeout, ssl.SSLWantReadError):
                return None

    def take(self):
        """One whole message of the buffer; pings are answered on the way."""
        while len(self.buffer) >= 2:
            kind, size, at = self.buffer[0], self.buffer[1], 2
            if size >= 126:
                at = 4 if size == 126 else 10
                size = int.from_bytes(self.buffer[2:at], "big")
            if size > FRAME_BYTES_MAX:
                raise ConnectionError("a frame over the limit")
            if len(self.buffer) < at + size:
                return None
            payload, self.buffer = self.buffer[at : at + size], self.buffer[at + size :]
            if kind == 0x82:
                return payload
            if kind == 0x88:
                raise ConnectionError("the hub closed the channel: " + payload[2:].decode(errors="replace"))
            if kind == 0x89:
                self.send_raw(10, payload)
        return None
