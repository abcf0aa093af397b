import os

import ollama

TEXT = os.environ["SAID"]
MESSAGES = [{"role": "user", "content": TEXT}]

print("chat", ollama.chat(model="m", messages=MESSAGES).message.content)
print(
    "chat stream",
    "".join(c.message.content for c in ollama.chat(model="m", messages=MESSAGES, stream=True)),
)
TOOLS = [
    {
        "type": "function",
        "function": {"name": "write", "parameters": {"type": "object", "properties": {}}},
    }
]
reply = ollama.chat(model="m", messages=MESSAGES, tools=TOOLS)
print("chat tool", reply.message.tool_calls[0].function.arguments["text"])
pieces = list(ollama.chat(model="m", messages=MESSAGES, tools=TOOLS, stream=True))
print("chat stream tool", pieces[-1].message.tool_calls[0].function.arguments["text"])
print("generate", ollama.generate(model="m", prompt=TEXT).response)
print("embeddings", len(ollama.embed(model="m", input=TEXT).embeddings))
