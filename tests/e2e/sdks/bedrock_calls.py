import json
import os

import boto3

TEXT = os.environ["SAID"]
MODEL = "anthropic.claude-3-5-sonnet-20241022-v2:0"
MESSAGES = [{"role": "user", "content": [{"text": TEXT}]}]
BODY = json.dumps(
    {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 200,
        "messages": [{"role": "user", "content": TEXT}],
    }
)

client = boto3.client("bedrock-runtime")
print(
    "converse",
    client.converse(modelId=MODEL, messages=MESSAGES)["output"]["message"]["content"][0]["text"],
)
events = client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]
print(
    "converse stream",
    "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e),
)
TOOLS = {"tools": [{"toolSpec": {"name": "write", "inputSchema": {"json": {"type": "object"}}}}]}
reply = client.converse(modelId=MODEL, messages=MESSAGES, toolConfig=TOOLS)["output"]["message"]
print("converse tool", reply["content"][-1]["toolUse"]["input"]["text"])
arguments = ""
for event in client.converse_stream(modelId=MODEL, messages=MESSAGES, toolConfig=TOOLS)["stream"]:
    arguments += (
        event.get("contentBlockDelta", {}).get("delta", {}).get("toolUse", {}).get("input", "")
    )
print("converse stream tool", json.loads(arguments)["text"])
print(
    "count",
    client.count_tokens(modelId=MODEL, input={"invokeModel": {"body": BODY.encode()}})[
        "inputTokens"
    ],
)
print(
    "count",
    client.count_tokens(modelId=MODEL, input={"converse": {"messages": MESSAGES}})["inputTokens"],
)
print(
    "invoke",
    json.loads(client.invoke_model(modelId=MODEL, body=BODY)["body"].read())["content"][1]["text"],
)
events = client.invoke_model_with_response_stream(modelId=MODEL, body=BODY)["body"]
deltas = [json.loads(e["chunk"]["bytes"]).get("delta", {}) for e in events]
print("invoke stream", "".join(d.get("text", "") for d in deltas))
