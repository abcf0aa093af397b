import json
import os

import openai

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "write", "parameters": {"type": "object", "properties": {}}},
    }
]
FUNCTIONS = [
    {
        "type": "function",
        "name": "write",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
]
MODEL = "gpt-4o-mini"

client = openai.OpenAI()
reply = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
print("chat", reply.choices[0].message.content)
print("chat tool", reply.choices[0].message.tool_calls[0].function.arguments)
chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
print("chat stream", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))
assert not any(c.usage for c in chunks), "usage that was not asked for"
with client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=TOOLS) as stream:
    [call] = stream.get_final_completion().choices[0].message.tool_calls
print("chat stream tool", json.loads(call.function.arguments)["text"])
reply = client.responses.create(model=MODEL, input=TEXT, tools=FUNCTIONS)
print("responses", reply.output_text)
print("responses tool", json.loads(reply.output[-1].arguments)["text"])
with client.responses.stream(model=MODEL, input=TEXT, tools=FUNCTIONS) as stream:
    deltas = "".join(
        event.delta for event in stream if event.type == "response.function_call_arguments.delta"
    )
    final = stream.get_final_response()
print("responses stream", final.output_text)
print("responses stream tool", json.loads(final.output[-1].arguments)["text"])
assert deltas == final.output[-1].arguments
print("embeddings", len(client.embeddings.create(model="text-embedding-3-small", input=TEXT).data))
print("models", [model.id for model in client.models.list()])
try:
    client.responses.create(model=MODEL, input=TEXT, tools=[{"type": "web_search"}])
except openai.PermissionDeniedError as error:
    print("refused", error.code)
