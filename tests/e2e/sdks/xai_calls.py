import os

import openai

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]

client = openai.OpenAI(base_url="https://api.x.ai/v1", api_key=os.environ["XAI_API_KEY"])
print(
    "chat",
    client.chat.completions.create(model="grok-4", messages=MESSAGES).choices[0].message.content,
)
print("responses", client.responses.create(model="grok-4", input=TEXT).output_text)
chunks = client.chat.completions.create(model="grok-4", messages=MESSAGES, stream=True)
print("chat stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
