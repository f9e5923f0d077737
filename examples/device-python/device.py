"""A device in another language: it joins a hub, keeps the session, fetches verified bytes and answers.

It is a parrot. It does what the protocol asks of a device except run the model: whatever it is asked, it says one
sentence, in tokens of the model's own vocabulary. Put an engine where `Parrot` stands. Until then let it join a hub of
your own for trying things, never a community, whose callers it would deceive.

    IDLEWILD_INVITE=iwj1.… python3 examples/device-python/device.py

The invite is what `idlewild invite` prints. It forgets its key when it ends, so each start needs an invite.
"""

import http.client
import json
import os
import struct
import sys
import time
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from wire import Channel, base32, connect, decode, encode, from_base64url, open_statement, public_bytes, sha256, sign
from wire import to_base64url

SENTENCE = " Good morrow. I am a parrot, and this is all that I can say."
NAME = "parrot"
SKEW_MS = 300_000
DAY_MS = 86_400_000


def now_ms():
    return int(time.time() * 1000)


def say(text):
    print(text, flush=True)


# What it knows of a model: nothing but its words.


class Parrot:
    def __init__(self, tokenizer):
        # The vocabulary writes each byte as a printable character; a space, for one, as Ġ.
        self.ids = {text.replace("Ġ", " "): id for text, id in tokenizer["model"]["vocab"].items()}

    def tokens(self, text):
        """Ids and texts, the longest words first. Not how the model's own tokenizer cuts, but it reads the same."""
        found = []
        while text:
            size = max(size for size in range(1, len(text) + 1) if text[:size] in self.ids)
            found.append((self.ids[text[:size]], text[:size]))
            text = text[size:]
        return found


class Device:
    def __init__(self, invite):
        fields = decode(from_base64url(invite.strip().removeprefix("iwj1.")))
        self.url, self.pin = fields["u"], fields.get("p")
        self.territory, self.secret = fields["t"], fields["s"]
        self.key = ed25519.Ed25519PrivateKey.generate()
        self.public = public_bytes(self.key)
        self.models, self.parrots, self.work = {}, {}, None

    # The handshake: the hub proves itself first, and only then learns the secret of the invite.

    def join(self):
        self.channel = Channel(self.url, self.pin)
        hello = {"t": "hello", "versions": [1], "device": self.public, "territory": self.territory}
        hello |= {"nonce": os.urandom(32)}
        self.channel.send(hello)
        challenge = self.expect("challenge")
        self.check_hub(decode(challenge)["proof"], sha256(encode(hello)))
        self.channel.send({"t": "prove", "proof": self.prove(sha256(challenge))})
        welcome = decode(self.expect("welcome"))
        self.ticket, self.heartbeat_s = welcome["ticket"], welcome["heartbeatMs"] / 1000
        say(f"joined as {welcome['device']}")

    def expect(self, kind):
        frame = self.channel.receive(10)
        if frame is None:
            raise ConnectionError(f"no {kind} within ten seconds")
        fields = decode(frame)
        if fields["t"] != kind:
            raise ConnectionError(f"{fields.get('code', fields['t'])}: {fields.get('message', 'not expected here')}")
        return frame

    def check_hub(self, proof, hello_digest):
        said, hub = open_statement("hub-proof", proof)
        certificate, _ = open_statement("hub-certificate", said["certificate"], self.territory)
        good = (
            certificate["hub"] == hub
            and certificate["territory"] == self.territory
            and certificate["issuedAtMs"] - SKEW_MS <= now_ms() <= certificate["expiresAtMs"] + SKEW_MS
            and said["hello"] == hello_digest
            and said["binding"] == self.channel.binding
            and said["version"] == 1
        )
        if not good:
            raise ValueError("the hub did not prove that it belongs to the community of the invite")

    def prove(self, challenge_digest):
        now = now_ms()
        agreement = {"v": 1, "device": self.public, "key": public_bytes(x25519.X25519PrivateKey.generate())}
        agreement |= {"issuedAtMs": now, "expiresAtMs": now + DAY_MS}
        consent = {"v": 1, "device": self.public, "territories": [self.territory], "kinds": ["answers"]}
        consent |= {"presence": "ignore", "issuedAtMs": now}
        profile = {"platform": sys.platform, "arch": "python", "cores": 1, "memoryBytes": 0, "gflops": 0}
        profile |= {"agentVersion": "parrot", "engineBuild": "parrot", "fingerprint": "00"}
        profile |= {"providers": [], "features": []}
        proof = {
            "challenge": challenge_digest,
            "name": NAME,
            "agreementKey": sign("agreement-key", agreement, self.key),
            "consent": sign("consent", consent, self.key),
            "profile": profile,
            "status": self.status(),
            "joinToken": to_base64url(self.secret),
        }
        return sign("device-proof", proof, self.key)

    def status(self):
        state = "ready" if self.work is None else "busy"
        models = list(self.models.values())
        return {"state": state, "pauseReasons": [], "slots": 1, "active": int(self.work is not None), "models": models}

    # The session: a heartbeat now and then, and whatever the hub sends.

    def run(self):
        beats, due = 0, 0.0
        while True:
            if time.monotonic() >= due:
                self.channel.send({"t": "heartbeat", "n": beats, "status": self.status()})
                beats, due = beats + 1, time.monotonic() + self.heartbeat_s
            frame = self.channel.receive(0.005 if self.work else due - time.monotonic())
            if frame is not None and self.take(decode(frame)):
                due = 0.0  # what changed is told at once
            elif self.work and self.go_on():
                due = 0.0

    def take(self, message):
        """Whether the status changed."""
        kind = message["t"]
        if kind in ("refused", "dropped"):
            raise ConnectionError(f"{message['code']}: {message['message']}")
        if kind == "hold":
            return self.hold(message["models"], message["sources"])
        if kind == "answer":
            return self.start(message)
        if kind == "cancel":
            if self.work and (self.work["lease"], self.work["epoch"]) == (message["lease"], message["epoch"]):
                self.work = None
                return True
        elif kind == "drain":
            say(f"told to finish: {message['reason']}")
        elif kind != "heartbeat.ack":
            self.channel.send({"t": "unsupported", "kind": kind})
        return False

    # Bytes: each block is asked for by its CID and hashed as it arrives, so a source cannot lie.

    def hold(self, wanted, sources):
        for cid in [cid for cid in self.models if cid not in [model["cid"] for model in wanted]]:
            del self.models[cid], self.parrots[cid]
        for cid in [model["cid"] for model in wanted if model["cid"] not in self.models]:
            manifest = decode(self.block(sources, cid))
            file = next(file for file in manifest["files"] if file["path"] == "tokenizer.json")
            # In dag-cbor a CID is a zero byte and the CID; a file of at most 1 MiB is its one raw leaf.
            self.parrots[cid] = Parrot(json.loads(self.block(sources, "b" + base32(file["file"][1:]))))
            numeric_class = sha256(f"idlewild/v1/numeric-class\n{cid}\nparrot\ncpu\n00\nf32".encode())[:16].hex()
            self.models[cid] = {"cid": cid, "state": "warm", "fraction": 1, "numericClass": numeric_class}
            self.models[cid] |= {"tokensPerSecond": 200, "prefillTokensPerSecond": 1000}
            say(f"knows the words of {cid}")
        return True

    def block(self, sources, cid):
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
        connection.sock, _ = connect(self.url, self.pin)
        path = sources[0] if sources else "/"
        if not path.startswith("/"):
            raise ValueError("this device asks its own hub only")
        connection.request("GET", f"{path}blobs/{cid}", headers={"Authorization": f"Bearer {self.ticket}"})
        data = connection.getresponse().read(2_097_152)
        connection.close()
        # CIDv1: version, codec (0x55 raw, 0x71 dag-cbor), 0x12 0x20 for SHA-256 of 32 bytes, the digest.
        if cid not in ("b" + base32(bytes([1, codec, 0x12, 0x20]) + sha256(data)) for codec in (0x55, 0x71)):
            raise ValueError(f"the bytes of {cid} are others")
        return data

    # An answer, a token at a time; with a lease and its epoch on every frame.

    def start(self, message):
        leased = {"lease": message["lease"], "epoch": message["epoch"]}
        work, parrot = message["work"], self.parrots.get(message["model"])
        refused = None
        if parrot is None or self.work is not None:
            refused = ("model_not_ready" if parrot is None else "device_full", "not now")
        elif work["stop"] or work.get("form") or work["prompt"].get("tools"):
            refused = ("unsupported_field", "a parrot knows neither stop strings nor forms nor tools")
        if refused:
            self.channel.send({"t": "answer.failed", **leased, "code": refused[0], "message": refused[1]})
            return False
        tokens = parrot.tokens(SENTENCE)
        done = len(work["tokens"])  # what others said before it took over
        limit = work.get("tokensMax", len(tokens))
        prompt = work["prompt"].get("text") or " ".join(each["content"] for each in work["prompt"]["messages"])
        self.work = leased | {"model": message["model"], "first": done, "next": done, "startedMs": now_ms()}
        self.work |= {"tokens": tokens[:limit], "finish": "stop" if limit >= len(tokens) else "length"}
        self.work["promptTokens"] = len(prompt.split())
        self.channel.send({"t": "answer.started", **leased, "promptTokens": self.work["promptTokens"]})
        return True

    def go_on(self):
        """Sends the next token, or the end. Whether the answer is over."""
        work = self.work
        leased = {"lease": work["lease"], "epoch": work["epoch"]}
        index = work["next"]
        if index < len(work["tokens"]):
            id, text = work["tokens"][index]
            self.channel.send({"t": "answer.token", **leased, "i": index, "id": id, "s": text})
            work["next"] += 1
            return False
        ids = [id for id, _ in work["tokens"][work["first"] :]]
        receipt = {"v": 1, "device": self.public, **leased, "model": work["model"]}
        receipt |= {"numericClass": self.models[work["model"]]["numericClass"], "promptTokens": work["promptTokens"]}
        receipt |= {"firstToken": work["first"], "tokens": len(ids)}
        receipt |= {"tokensDigest": sha256(struct.pack(f"<{len(ids)}I", *ids))}
        receipt |= {"prefillMs": 0, "decodeMs": now_ms() - work["startedMs"]}
        finished = {"t": "answer.finished", **leased, "finish": work["finish"], "s": ""}
        finished |= {"promptTokens": work["promptTokens"], "answerTokens": max(index, work["first"])}
        self.channel.send(finished | {"receipt": sign("receipt", receipt, self.key)})
        say(f"answered with {len(ids)} tokens")
        self.work = None
        return True


if __name__ == "__main__":
    device = Device(os.environ.get("IDLEWILD_INVITE") or sys.exit("set IDLEWILD_INVITE to the token of an invite, iwj1.…"))
    try:
        device.join()
        device.run()
    except KeyboardInterrupt:
        pass
    except (ConnectionError, ValueError) as error:
        sys.exit(f"the session ended: {error}")
