import os

import ollama

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]

print("chat", ollama.chat(model="m", messages=MESSAGES).message.content)
print("chat stream", "".join(c.message.content for c in ollama.chat(model="m", messages=MESSAGES, stream=True)))
print("generate", ollama.generate(model="m", prompt=TEXT).response)
print("embeddings", len(ollama.embed(model="m", input=TEXT).embeddings))
