"""An ordinary agent for packaging/quickstart: the official SDK, the vendor's address, no word of
AKIOS.

quickstart_chat.py MODEL
"""

import os
import sys
import urllib.request
from pathlib import Path

import openai

PROMPT = """Customer: Mrs. Erika Mustermann, erika.mustermann@mail-kunde.de, phone +49 30 901820.
She was charged twice. Refund 49 euro to DE89 3704 0044 0532 0130 00 and tell her.
Say in one sentence what you will do, naming her e-mail address and the IBAN."""

client = openai.OpenAI(timeout=30, max_retries=1)
model = sys.argv[1]
print(f"  the agent's key       {os.environ['OPENAI_API_KEY']}")
print(f"  it talks to           {client.base_url}")
messages = [{"role": "user", "content": PROMPT}]
whole = client.chat.completions.create(model=model, messages=messages, max_tokens=200)
print(f"  a whole answer        {whole.choices[0].message.content}")
Path("letter.txt").write_text(whole.choices[0].message.content or "")
pieces = client.chat.completions.create(
    model=model,
    messages=[*messages, {"role": "user", "content": "Please."}],
    max_tokens=200,
    stream=True,
)
print("  a streamed answer     ", end="")
for event in pieces:
    for choice in event.choices:
        print(choice.delta.content or "", end="")
print()
try:
    urllib.request.urlopen("https://example.com/", timeout=5)
    print("  another site          reached   <-- should be denied")
    sys.exit(1)
except OSError as error:
    print(f"  another site          denied ({error})")
