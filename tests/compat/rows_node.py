"""What npm has: tools and SDKs of models."""

from __future__ import annotations

from tests.compat.row import Row
from tests.compat.rows_python import ANTHROPIC, ASK, GEMINI, OPENAI

APP = {"package.json": '{"name": "own", "version": "1.0.0", "private": true}\n'}


def _tool(
    name: str, script: str, files: dict[str, str], kind: str = "linters", seconds: int = 120
) -> Row:
    return Row(name, kind, f"npm:tools/{name}", script, {**APP, **files}, seconds=seconds)


TOOLS = (
    _tool("jest", "jest 2>&1 | grep -o 'Tests:.*'", {"a.test.js": "test('it', () => expect(6 * 7).toBe(42))\n"}, "test runners"),
    _tool("vitest", "vitest run --globals 2>&1 | grep -o '1 passed' | head -1", {"a.test.js": "test('it', () => expect(6 * 7).toBe(42))\n"}, "test runners"),
    _tool("mocha", "mocha a.test.js | grep -o '1 passing'", {"a.test.js": "it('works', () => {})\n"}, "test runners"),
    _tool("typescript", "tsc a.ts --target es2022 --ignoreConfig --outDir out; node out/a.js; tsc --noEmit --ignoreConfig b.ts || true", {"a.ts": "const n: number = 42; console.log(n)\n", "b.ts": "const s: string = 1\n"}, "compilers"),
    _tool("tsx", "tsx a.ts", {"a.ts": "const n: number = 42; console.log(n)\n"}, "compilers"),
    _tool("esbuild", "esbuild a.js --bundle --outfile=o.js --log-level=error; node o.js", {"a.js": "import b from './b.js'; console.log(b)\n", "b.js": "export default 42\n"}, "compilers"),
    _tool("webpack", "webpack --mode production --entry ./a.js -o out > /dev/null; node out/main.js", {"a.js": "import b from './b.js'; console.log(b)\n", "b.js": "export default 42\n"}, "compilers"),
    _tool("vite", "vite build --logLevel error; ls dist | sort", {"index.html": "<script type=module src=/a.js></script>", "a.js": "console.log(42)\n"}, "compilers"),
    _tool("eslint", "eslint a.js || true", {"a.js": "var unused\n", "eslint.config.mjs": "export default [{rules: {'no-var': 2}}]\n"}),
    _tool("prettier", "prettier a.js", {"a.js": "const  a={b :1}\n"}),
    _tool("pnpm", "pnpm install --offline -s; pnpm -s hi", {"package.json": '{"name": "own", "scripts": {"hi": "echo from pnpm"}}\n'}, "package managers"),
    _tool("yarn", "yarn install --offline -s; yarn -s hi", {"package.json": '{"name": "own", "scripts": {"hi": "echo from yarn"}}\n'}, "package managers"),
)  # fmt: skip


def _sdk(name: str, package: str, program: str, outside: dict[str, str] = OPENAI) -> Row:
    return Row(
        f"{name} (JavaScript)", "SDKs", f"npm:sdks/{package}", 'ln -s "$NODE_MODULES" node_modules; node ask.mjs', {"ask.mjs": program},
        models=True, outside=outside, shows="You said: ", seconds=120,
    )  # fmt: skip


_BASE = "const base = process.env.BASE;"
SDKS = (
    _sdk("openai", "openai", f"import OpenAI from 'openai'; const c = new OpenAI();\nconsole.log((await c.chat.completions.create({{model: 'gpt-4o', messages: {ASK}}})).choices[0].message.content);\nfor await (const e of await c.responses.create({{model: 'gpt-4o', input: 'hello', stream: true}})) if (e.type === 'response.output_text.delta') process.stdout.write(e.delta);\n"),
    _sdk("anthropic", "@anthropic-ai/sdk", f"import A from '@anthropic-ai/sdk'; const c = new A();\nconsole.log((await c.messages.create({{model: 'claude-sonnet-4-5', max_tokens: 99, messages: {ASK}}})).content.find(b => b.type === 'text').text);\n", ANTHROPIC),
    _sdk("google-genai", "@google/genai", "import { GoogleGenAI } from '@google/genai'; const c = new GoogleGenAI({apiKey: process.env.GEMINI_API_KEY});\nconsole.log((await c.models.generateContent({model: 'gemini-2.5-flash', contents: 'hello'})).text);\n", GEMINI),
    _sdk("mistral", "@mistralai/mistralai", f"{_BASE} import {{ Mistral }} from '@mistralai/mistralai'; const c = new Mistral({{apiKey: process.env.MISTRAL_API_KEY, ...(base ? {{serverURL: base}} : {{}})}});\nconsole.log((await c.chat.complete({{model: 'mistral-large-latest', messages: {ASK}}})).choices[0].message.content);\n", {"BASE": "{url}", "MISTRAL_API_KEY": "x"}),
    _sdk("ollama", "ollama", f"{_BASE} import {{ Ollama }} from 'ollama';\nconsole.log((await new Ollama(base ? {{host: base}} : {{}}).chat({{model: 'llama3.2', messages: {ASK}}})).message.content);\n", {"BASE": "{url}"}),
    _sdk("AI SDK, OpenAI", "@ai-sdk/openai", f"{_BASE} import {{ generateText }} from 'ai'; import {{ createOpenAI }} from '@ai-sdk/openai';\nconsole.log((await generateText({{model: createOpenAI(base ? {{baseURL: base + '/v1'}} : {{}})('gpt-4o'), prompt: 'hello'}})).text);\n", {"BASE": "{url}", "OPENAI_API_KEY": "x"}),
    _sdk("AI SDK, Anthropic", "@ai-sdk/anthropic", f"{_BASE} import {{ generateText }} from 'ai'; import {{ createAnthropic }} from '@ai-sdk/anthropic';\nconsole.log((await generateText({{model: createAnthropic(base ? {{baseURL: base + '/v1'}} : {{}})('claude-sonnet-4-5'), prompt: 'hello'}})).text);\n", {"BASE": "{url}", "ANTHROPIC_API_KEY": "x"}),
    _sdk("AI SDK, Google", "@ai-sdk/google", f"{_BASE} import {{ generateText }} from 'ai'; import {{ createGoogleGenerativeAI }} from '@ai-sdk/google';\nconsole.log((await generateText({{model: createGoogleGenerativeAI(base ? {{baseURL: base + '/v1beta'}} : {{}})('gemini-2.5-flash'), prompt: 'hello'}})).text);\n", {"BASE": "{url}", "GOOGLE_GENERATIVE_AI_API_KEY": "x"}),
    _sdk("LangChain", "@langchain/openai", f"{_BASE} import {{ ChatOpenAI }} from '@langchain/openai';\nconsole.log((await new ChatOpenAI({{model: 'gpt-4o', ...(base ? {{configuration: {{baseURL: base + '/v1'}}}} : {{}})}}).invoke('hello')).content);\n", {"BASE": "{url}", "OPENAI_API_KEY": "x"}),
    _sdk("OpenAI Agents SDK", "@openai/agents", "import { Agent, run } from '@openai/agents';\nconsole.log((await run(new Agent({name: 'a', model: 'gpt-4o'}), 'hello')).finalOutput);\n"),
)  # fmt: skip

ROWS = (*TOOLS, *SDKS)
