import os

import openai

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]
TOOLS = [{"type": "function", "function": {"name": "write", "parameters": {"type": "object", "properties": {}}}}]
MODEL = "gpt-4o-mini"

client = openai.OpenAI()
reply = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
print("chat", reply.choices[0].message.content)
print("chat tool", reply.choices[0].message.tool_calls[0].function.arguments)
chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
print("chat stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
assert not any(c.usage for c in chunks), "usage that was not asked for"
print("responses", client.responses.create(model=MODEL, input=TEXT).output_text)
with client.responses.stream(model=MODEL, input=TEXT) as stream:
    print("responses stream", stream.get_final_response().output_text)
print("embeddings", len(client.embeddings.create(model="text-embedding-3-small", input=TEXT).data))
print("models", [model.id for model in client.models.list()])
try:
    client.responses.create(model=MODEL, input=TEXT, tools=[{"type": "web_search"}])
except openai.PermissionDeniedError as error:
    print("refused", error.code)
