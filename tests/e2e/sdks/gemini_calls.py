import os

from google import genai

TEXT = os.environ["SAID"]
MODEL = "gemini-2.5-flash"

client = genai.Client()
print("generate", client.models.generate_content(model=MODEL, contents=TEXT).text)
print(
    "generate stream", "".join(c.text or "" for c in client.models.generate_content_stream(model=MODEL, contents=TEXT))
)
print("count", client.models.count_tokens(model=MODEL, contents=TEXT).total_tokens)
print("embeddings", len(client.models.embed_content(model="gemini-embedding-001", contents=TEXT).embeddings))
