import os

from google import genai
from google.genai import types

TEXT = os.environ["SAID"]
MODEL = "gemini-2.5-flash"

client = genai.Client()
print("generate", client.models.generate_content(model=MODEL, contents=TEXT).text)
print(
    "generate stream",
    "".join(
        c.text or "" for c in client.models.generate_content_stream(model=MODEL, contents=TEXT)
    ),
)
tool = types.Tool(
    function_declarations=[types.FunctionDeclaration(name="write", description="write")]
)
config = types.GenerateContentConfig(
    tools=[tool], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
)
reply = client.models.generate_content(model=MODEL, contents=TEXT, config=config)
print("generate tool", reply.function_calls[0].args["text"])
pieces = list(client.models.generate_content_stream(model=MODEL, contents=TEXT, config=config))
print("generate stream tool", pieces[-1].function_calls[0].args["text"])
older = genai.Client(http_options=types.HttpOptions(api_version="v1"))
print("v1", older.models.generate_content(model=MODEL, contents=TEXT).text)
print("count", client.models.count_tokens(model=MODEL, contents=TEXT).total_tokens)
print(
    "embeddings",
    len(client.models.embed_content(model="gemini-embedding-001", contents=TEXT).embeddings),
)
