import json
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
print(
    "chat stream", "".join(e.data.choices[0].delta.content or "" for e in stream if e.data.choices)
)
tools = [{"type": "function", "function": {"name": "write", "parameters": {}}}]
call = (
    client.chat.complete(model=MODEL, messages=MESSAGES, tools=tools)
    .choices[0]
    .message.tool_calls[0]
)
print("chat tool", json.loads(call.function.arguments)["text"])
arguments = ""
for event in client.chat.stream(model=MODEL, messages=MESSAGES, tools=tools):
    for choice in event.data.choices:
        arguments += "".join(call.function.arguments for call in choice.delta.tool_calls or ())
print("chat stream tool", json.loads(arguments)["text"])
print("embeddings", len(client.embeddings.create(model="mistral-embed", inputs=[TEXT]).data))
