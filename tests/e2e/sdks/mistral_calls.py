import os

try:
    from mistralai import Mistral
except ImportError:
    from mistralai.client import Mistral

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]
MODEL = "mistral-small-latest"

client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])
print("chat", client.chat.complete(model=MODEL, messages=MESSAGES).choices[0].message.content)
stream = client.chat.stream(model=MODEL, messages=MESSAGES)
print("chat stream", "".join(e.data.choices[0].delta.content or "" for e in stream if e.data.choices))
print("embeddings", len(client.embeddings.create(model="mistral-embed", inputs=[TEXT]).data))
