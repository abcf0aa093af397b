import os

import anthropic

TEXT = os.environ["SAID"]
ASKED = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": TEXT}],
}
TOOLS = [{"name": "write", "input_schema": {"type": "object", "properties": {}}}]

client = anthropic.Anthropic()
reply = client.messages.create(**ASKED, tools=TOOLS)
print("messages", reply.content[1].text)
print("messages tool", reply.content[2].input["text"])
with client.messages.stream(**ASKED, tools=TOOLS) as stream:
    final = stream.get_final_message()
print("messages stream", final.content[1].text)
print("messages stream tool", final.content[2].input["text"])
print(
    "count",
    client.messages.count_tokens(model=ASKED["model"], messages=ASKED["messages"]).input_tokens,
)
again = [
    *ASKED["messages"],
    {"role": "assistant", "content": final.content},
    {"role": "user", "content": "go on"},
]
print("again", client.messages.create(**{**ASKED, "messages": again}).content[1].text)
