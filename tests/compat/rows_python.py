"""What Python's package index has: tools, libraries, test runners, linters, SDKs of models."""

from __future__ import annotations

from collections.abc import Mapping

from tests.compat.row import NOTHING, Row

TEST = {"test_it.py": "import pytest\n\n\n@pytest.mark.parametrize('n', [1, 2])\ndef test_it(n: int, tmp_path) -> None:\n    (tmp_path / 'f').write_text('x')\n    assert n * n in (1, 4)\n"}  # fmt: skip
BAD = {"bad.py": "import os\ndef f( x:int )->str :\n    return x\n"}


def _tool(
    name: str,
    script: str,
    files: Mapping[str, str] = NOTHING,
    kind: str = "linters",
    **more: object,
) -> Row:
    return Row(name, kind, f"pypi:tools/{name}", script, files, **more)  # type: ignore[arg-type]


TOOLS = (
    _tool("pytest", "pytest -q -p no:cacheprovider | head -1", TEST, "test runners"),
    _tool("coverage", "coverage run -m pytest -q > /dev/null; coverage report | tail -1", TEST, "test runners"),
    _tool("tox", "tox -q r -e py --skip-pkg-install > log 2>&1 || { tail -3 log; exit 1; }; grep -c 'congratulations' log", {"tox.ini": "[testenv]\nskip_install = true\ndeps =\ncommands = python -c 'print(1)'\n"}, "test runners", seconds=120),
    _tool("nox", "nox -s t 2>&1 | grep -o 'hello nox'", {"noxfile.py": "import nox\n@nox.session(venv_backend='none')\ndef t(s):\n    s.run('echo', 'hello nox', external=True)\n"}, "test runners"),
    _tool("ruff", "ruff check --no-cache -q bad.py --output-format concise || true; ruff format --no-cache -q - < bad.py", BAD),
    _tool("mypy", "mypy --cache-dir=/dev/null bad.py || true", BAD, seconds=120),
    _tool("black", "black -q - < bad.py", BAD),
    _tool("isort", "isort -q --stdout bad.py", BAD),
    _tool("flake8", "flake8 bad.py || true", BAD),
    _tool("pylint", "pylint --disable=all --enable=unused-import bad.py | grep -c W0611", BAD, seconds=120),
    _tool("uv", "export UV_OFFLINE=1; uv init -q --bare --name own .; grep -c own pyproject.toml; uv run -q --no-project python -c 'print(42)'; uv venv -q v && test -x v/bin/python && echo made", kind="package managers"),
    _tool("poetry", "poetry init -q -n --name own; poetry check -q && grep -c own pyproject.toml", kind="package managers"),
    _tool("pdm", "pdm --version | cut -d' ' -f1; pdm init -n -q > /dev/null 2>&1 || true; test -e pyproject.toml && echo made", kind="package managers", seconds=120),
    _tool("pre-commit", "git init -q .; git add -A; pre-commit run --all-files 2>&1 | grep -o Passed", {".pre-commit-config.yaml": "repos:\n- repo: local\n  hooks: [{id: a, name: a, language: system, entry: 'true'}]\n"}),
    _tool("sphinx", "sphinx-build -q -b text . out; cat out/index.txt", {"conf.py": "project = 'x'\n", "index.rst": "Head\n====\n\ntext\n"}, "tools", seconds=120),
    _tool("ipython", "ipython --no-banner --quick -c 'print(sum(range(10)))'", kind="tools"),
    _tool("cython", "cythonize -q -i m.pyx > /dev/null 2>&1; python -c 'import m; print(m.f(20))'", {"m.pyx": "def f(int n):\n    return n * n\n"}, "compilers", seconds=120),
)  # fmt: skip

LIBRARIES = (
    _tool("numpy", "python m.py", {"m.py": "import numpy as n\na = n.random.default_rng(1).random((200, 200))\nprint(round(float(n.linalg.norm(a @ a.T)), 6))\n"}, "libraries"),
    _tool("pandas", "python m.py", {"m.py": "import pandas as p\nd = p.DataFrame({'a': [1, 1, 2], 'b': [1, 2, 3]})\nd.to_csv('d.csv'); print(p.read_csv('d.csv').groupby('a').b.sum().to_dict())\n"}, "libraries"),
    _tool("scipy", "python -c 'from scipy.optimize import brentq; print(round(brentq(lambda x: x * x - 2, 0, 2), 9))'", kind="libraries"),
    _tool("matplotlib", "python -c \"import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as p; p.plot([1, 2]); p.savefig('o.png'); print(open('o.png', 'rb').read(4))\"", kind="libraries", seconds=120),
    _tool("pillow", "python -c \"from PIL import Image; i = Image.new('RGB', (9, 9), 'red'); i.save('o.jpg'); print(Image.open('o.jpg').size)\"", kind="libraries"),
    _tool("cryptography", "python -c 'from cryptography.fernet import Fernet as F; f = F(F.generate_key()); print(f.decrypt(f.encrypt(b\"x\")))'", kind="libraries"),
    _tool("sqlalchemy", "python m.py", {"m.py": "from sqlalchemy import *\ne = create_engine('sqlite:///b.db')\nwith e.begin() as c:\n    c.execute(text('create table t (n)')); c.execute(text('insert into t values (42)')); print(c.execute(text('select n from t')).all())\n"}, "libraries"),
    _tool("django", "django-admin startproject own .; python manage.py migrate -v0; python manage.py check; python manage.py runserver --noreload 127.0.0.1:8641 > log 2>&1 & for n in $(seq 200); do curl -s localhost:8641 | grep -o 'The install worked successfully' | head -1 && break; sleep 0.1; done; kill %1", kind="servers", seconds=120, blur=(r"(?s)\Z",)),
    _tool("flask", "python m.py", {"m.py": "import flask, threading, urllib.request, werkzeug.serving as s\na = flask.Flask('a')\na.route('/')(lambda: 'from flask')\nv = s.make_server('127.0.0.1', 0, a)\nthreading.Thread(target=v.serve_forever, daemon=True).start()\nprint(urllib.request.urlopen(f'http://127.0.0.1:{v.port}/').read())\n"}, "servers"),
    _tool("fastapi", "uvicorn --log-level error --port 8642 m:a & for n in $(seq 200); do curl -sf localhost:8642/x && break; sleep 0.05; done; kill $!", {"m.py": "import fastapi\na = fastapi.FastAPI()\n@a.get('/{n}')\nasync def f(n: str): return {'got': n}\n"}, "servers"),
    _tool("gunicorn", "gunicorn -w 2 -b 127.0.0.1:8643 --log-level critical m:a & for n in $(seq 200); do curl -sf localhost:8643 && break; sleep 0.05; done; kill $!", {"m.py": "def a(e, s):\n    s('200 OK', [])\n    return [b'from gunicorn']\n"}, "servers"),
    _tool("aiohttp", "python m.py", {"m.py": "import asyncio, aiohttp\nfrom aiohttp import web\nasync def main():\n    a = web.Application(); a.router.add_get('/', lambda r: web.Response(text='served')) if False else None\n    async def h(r): return web.Response(text='served')\n    a.router.add_get('/', h); r = web.AppRunner(a); await r.setup(); s = web.TCPSite(r, '127.0.0.1', 0); await s.start()\n    p = s._server.sockets[0].getsockname()[1]\n    async with aiohttp.ClientSession() as c:\n        async with c.get(f'http://127.0.0.1:{p}/') as g: print(await g.text())\nasyncio.run(main())\n"}, "libraries"),
    _tool("scrapy", "python -m http.server -b 127.0.0.1 8644 > /dev/null 2>&1 & for n in $(seq 200); do curl -sf localhost:8644/p.html > /dev/null && break; sleep 0.05; done; scrapy runspider -L ERROR s.py -O o.json; cat o.json; kill $!", {"p.html": "<b>bold</b>", "s.py": "import scrapy\nclass S(scrapy.Spider):\n    name = 's'\n    start_urls = ['http://127.0.0.1:8644/p.html']\n    def parse(self, r): yield {'b': r.css('b::text').get()}\n"}, "libraries", seconds=120),
    _tool("playwright", "python m.py 2> /dev/null", {"m.py": "from playwright.sync_api import sync_playwright\nwith sync_playwright() as p:\n    b = p.chromium.launch(executable_path='/usr/lib/chromium/chromium', args=['--no-sandbox', '--disable-gpu'])\n    g = b.new_page(); g.set_content('<button onclick=\"this.textContent=7*6\">x</button>'); g.click('button'); print(g.text_content('button')); b.close()\n"}, "browsers", seconds=120),
)  # fmt: skip

OPENAI = {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_BASE": "{url}/v1", "OPENAI_API_KEY": "sk-x"}
ANTHROPIC = {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "sk-ant-x"}
GEMINI = {"GOOGLE_GEMINI_BASE_URL": "{url}", "GOOGLE_API_KEY": "x", "GEMINI_API_KEY": "x"}
ASK = [{"role": "user", "content": "hello"}]


def _sdk(
    name: str, source: str, program: str, outside: dict[str, str] = OPENAI, **more: object
) -> Row:
    return Row(
        name, "SDKs", f"pypi:{source}", "python ask.py 2> words || { tail -5 words; exit 1; }", {"ask.py": program},
        models=True, outside=outside, **{"shows": "You said: ", "seconds": 120, **more},  # type: ignore[arg-type]
    )  # fmt: skip


SDKS = (
    _sdk("openai", "sdks/openai", f"from openai import OpenAI\nc = OpenAI()\nprint(c.chat.completions.create(model='gpt-4o', messages={ASK}).choices[0].message.content)\nprint(c.responses.create(model='gpt-4o', input='hello').output_text)\nfor e in c.chat.completions.create(model='gpt-4o', messages={ASK}, stream=True):\n    print(e.choices and e.choices[0].delta.content or '', end='')\n"),
    _sdk("anthropic", "sdks/anthropic", f"from anthropic import Anthropic\nc = Anthropic()\nm = c.messages.create(model='claude-sonnet-4-5', max_tokens=99, messages={ASK})\nprint([b.text for b in m.content if b.type == 'text'])\nwith c.messages.stream(model='claude-sonnet-4-5', max_tokens=99, messages={ASK}) as s:\n    print(''.join(s.text_stream))\n", ANTHROPIC),
    _sdk("google-genai", "sdks/google-genai", "from google import genai\nc = genai.Client()\nprint(c.models.generate_content(model='gemini-2.5-flash', contents='hello').text)\nprint(''.join(e.text or '' for e in c.models.generate_content_stream(model='gemini-2.5-flash', contents='hello')))\n", GEMINI),
    _sdk("mistralai", "sdks/mistralai", f"import os\ntry:\n    from mistralai import Mistral\nexcept ImportError:\n    from mistralai.client import Mistral\nb = os.environ.get('BASE')\nc = Mistral(api_key=os.environ['MISTRAL_API_KEY'], **({{'server_url': b}} if b else {{}}))\nprint(c.chat.complete(model='mistral-large-latest', messages={ASK}).choices[0].message.content)\n", {"BASE": "{url}", "MISTRAL_API_KEY": "x"}),
    _sdk("boto3 (Bedrock)", "sdks/boto3", "import boto3\nc = boto3.client('bedrock-runtime', region_name='us-east-1')\nprint(c.converse(modelId='anthropic.claude-3-5-sonnet-20240620-v1:0', messages=[{'role': 'user', 'content': [{'text': 'hello'}]}])['output']['message']['content'][0]['text'])\n", {"AWS_ENDPOINT_URL": "{url}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}),
    _sdk("ollama", "sdks/ollama", f"import ollama\nprint(ollama.chat(model='llama3.2', messages={ASK}).message.content)\n", {"OLLAMA_HOST": "{url}"}),
    _sdk("litellm", "sdks/litellm", f"import litellm\nprint(litellm.completion(model='openai/gpt-4o', messages={ASK}).choices[0].message.content)\nprint(litellm.completion(model='anthropic/claude-sonnet-4-5', messages={ASK}).choices[0].message.content)\n", {**OPENAI, **ANTHROPIC}),
    _sdk("OpenAI Agents SDK", "sdks/openai-agents", "from agents import Agent, Runner, function_tool\n@function_tool\ndef add(a: int, b: int) -> int:\n    print('called', a, b)\n    return a + b\nprint(Runner.run_sync(Agent(name='a', instructions='Say hi', model='gpt-4o', tools=[add]), 'hello').final_output)\n", plan=("add", {"a": 1, "b": 2}), shows="called 1 2", how="its traces go to api.openai.com and are refused, which it ignores"),
    _sdk("LangChain (OpenAI)", "sdks/langchain-openai", "from langchain_openai import ChatOpenAI\nfrom langchain_core.prompts import ChatPromptTemplate as P\nprint((P.from_template('{x}') | ChatOpenAI(model='gpt-4o')).invoke({'x': 'hello'}).text)\n"),
    _sdk("LangChain (Anthropic)", "sdks/langchain-anthropic", "from langchain_anthropic import ChatAnthropic\nprint(ChatAnthropic(model='claude-sonnet-4-5', max_tokens=99).invoke('hello').text)\n", {**ANTHROPIC, "ANTHROPIC_API_URL": "{url}"}),
    _sdk("LangChain agent", "sdks/langchain", "from langchain.agents import create_agent\ndef add(a: int, b: int) -> int:\n    'Add.'\n    print('called', a, b)\n    return a + b\nprint(create_agent('openai:gpt-4o', [add]).invoke({'messages': [('user', 'hello')]})['messages'][-1].text)\n", plan=("add", {"a": 1, "b": 2}), shows="called 1 2"),
    _sdk("LangGraph", "sdks/langgraph", "from langgraph.graph import StateGraph, MessagesState, START\nfrom langchain_openai import ChatOpenAI\nm = ChatOpenAI(model='gpt-4o')\ng = StateGraph(MessagesState)\ng.add_node('ask', lambda s: {'messages': m.invoke(s['messages'])})\ng.add_edge(START, 'ask')\nprint(g.compile().invoke({'messages': 'hello'})['messages'][-1].text)\n"),
    _sdk("Pydantic AI", "sdks/pydantic-ai-slim", "from pydantic_ai import Agent\na = Agent('openai:gpt-4o')\n@a.tool_plain\ndef add(a: int, b: int) -> int:\n    print('called', a, b)\n    return a + b\nprint(a.run_sync('hello').output)\n", plan=("add", {"a": 1, "b": 2}), shows="called 1 2"),
    _sdk("instructor", "sdks/instructor", f"import instructor, openai, pydantic\nclass Found(pydantic.BaseModel):\n    text: str\nprint(instructor.from_openai(openai.OpenAI()).chat.completions.create(model='gpt-4o', response_model=Found, messages={ASK}))\n", plan=("Found", {"text": "found it"}), shows="found it"),
    Row("llm", "SDKs", "pypi:sdks/llm", "llm -m gpt-4o hello 2> words || { tail -5 words; exit 1; }", models=True, outside=OPENAI, shows="You said: hello", seconds=120),
    _sdk("Strands Agents", "strands/strands-agents", "from strands import Agent\nfrom strands.models.openai import OpenAIModel\nprint(Agent(model=OpenAIModel(model_id='gpt-4o'), callback_handler=None)('hello'))\n"),
    _sdk("smolagents", "more/smolagents", "import os\nfrom smolagents import OpenAIModel, ToolCallingAgent, tool\n@tool\ndef word() -> str:\n    '''A word.'''\n    return 'w'\nm = OpenAIModel('gpt-4o', api_base=os.environ.get('OPENAI_BASE_URL', 'https://api.openai.com/v1'), api_key=os.environ['OPENAI_API_KEY'])\nprint(ToolCallingAgent([word], m, verbosity_level=0).run('hello'))\n", plan=("final_answer", {"answer": "the answer"}), shows="the answer"),
    _sdk("LlamaIndex", "more/llama-index-llms-openai", "from llama_index.llms.openai import OpenAI\nprint(OpenAI(model='gpt-4o').complete('hello').text)\n"),
    _sdk("DSPy", "more/dspy", "import dspy\nprint(dspy.LM('openai/gpt-4o', cache=False)('hello')[0])\n"),
    _sdk("agno", "more/agno", "from agno.agent import Agent\nfrom agno.models.openai import OpenAIChat\nprint(Agent(model=OpenAIChat(id='gpt-4o'), telemetry=False).run('hello').content)\n"),
    _sdk("AutoGen", "more/autogen-agentchat", "import asyncio\nfrom autogen_agentchat.agents import AssistantAgent\nfrom autogen_ext.models.openai import OpenAIChatCompletionClient\nasync def main():\n    a = AssistantAgent('a', OpenAIChatCompletionClient(model='gpt-4o'))\n    print((await a.run(task='hello')).messages[-1].content)\nasyncio.run(main())\n"),
    _sdk("Haystack", "more/haystack-ai", "from haystack.components.generators.chat import OpenAIChatGenerator as G\nfrom haystack.dataclasses import ChatMessage as M\nprint(G(model='gpt-4o').run([M.from_user('hello')])['replies'][0].text)\n"),
    _sdk("CrewAI", "crewai/crewai", "from crewai import Agent, Crew, Task\na = Agent(role='writer', goal='write', backstory='x', llm='openai/gpt-4o')\nprint(Crew(agents=[a], tasks=[Task(description='say hello', expected_output='a line', agent=a)]).kickoff().raw[:12])\n", how="its telemetry is refused, which it ignores", seconds=180),
    _sdk("Google ADK", "adk/google-adk", "import asyncio\nfrom google.adk.agents import Agent\nfrom google.adk.runners import InMemoryRunner\nasync def main():\n    r = InMemoryRunner(Agent(name='a', model='gemini-2.5-flash', instruction='x'), app_name='x')\n    for e in await r.run_debug('hello', quiet=True):\n        print(e.content.parts[0].text)\nasyncio.run(main())\n", GEMINI, seconds=180),
    _sdk("Claude Agent SDK", "claude/claude-agent-sdk", "import asyncio\nfrom claude_agent_sdk import query, ClaudeAgentOptions, ResultMessage\nasync def main():\n    async for m in query(prompt='hello', options=ClaudeAgentOptions(model='claude-sonnet-4-5')):\n        if isinstance(m, ResultMessage):\n            print(m.result)\nasyncio.run(main())\n", ANTHROPIC, seconds=180),
)  # fmt: skip

ROWS = (*TOOLS, *LIBRARIES, *SDKS)
