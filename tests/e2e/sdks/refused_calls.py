import os

import anthropic
import openai

SAID = [{"role": "user", "content": os.environ["SAID"]}]

ours = openai.OpenAI(max_retries=4)
theirs = anthropic.Anthropic(max_retries=4)
print(
    "first",
    ours.chat.completions.create(model="gpt-4o-mini", messages=SAID).choices[0].message.content,
)
for name, error, call in (
    (
        "openai",
        openai.RateLimitError,
        lambda: ours.responses.create(model="gpt-4o-mini", input="two"),
    ),
    (
        "anthropic",
        anthropic.RateLimitError,
        lambda: theirs.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=SAID),
    ),
):
    try:
        call()
    except error as refused:
        print(name, refused.status_code, refused.response.headers["x-should-retry"])
