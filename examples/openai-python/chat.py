"""An answer as it is written, with OpenAI's own client for Python (pip install openai).

IDLEWILD_KEY=… python3 examples/openai-python/chat.py "What news from Rome?"
"""

import os
import sys

from openai import OpenAI

url = os.environ.get("IDLEWILD_URL", "http://127.0.0.1:7860")
key = os.environ.get("IDLEWILD_KEY") or sys.exit("set IDLEWILD_KEY to the key that npm start prints")
model = os.environ.get("IDLEWILD_MODEL", "jacobean")
question = sys.argv[1] if len(sys.argv) > 1 else "What news from Rome?"

client = OpenAI(base_url=f"{url}/v1", api_key=key)
stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": question}],
    max_tokens=80,
    stream=True,
    stream_options={"include_usage": True},
)

print(f"› {question}\n")
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    # The last chunk says what it took, and, in a field of Idlewild's own, who did it.
    if chunk.usage:
        note = chunk.model_extra["idlewild"]
        devices = ", then ".join(note["devices"])
        print(f"\n\n{chunk.usage.completion_tokens} tokens by {devices}, {note['failovers']} failovers")
