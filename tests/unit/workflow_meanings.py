"""What the fields of each kind of step mean, and what an action brings: words for
akios-workflow(5).  Types, defaults and what is required come from the forms themselves.
"""

from __future__ import annotations

_TIMEOUT = "How long the step may take."
_CUT = "Cut what is too large, and say so (truncated), instead of failing."

CONFIG: dict[str, dict[str, str]] = {
    "llm": {
        "provider": "anthropic, bedrock, gemini, mistral, ollama, openai or xai.",
        "model": "The model, as its provider calls it.",
        "max_tokens": "The longest answer, in tokens.",
        "temperature": "As the provider has it; left to the provider where nothing is said.",
        "stop": "Texts at which the answer ends.",
        "stream": "Read the answer while it is written; what comes out is the same.",
        "timeout": "How long the whole answer may take.",
        "region": "Of bedrock, as in eu-central-1; else the variable AWS_REGION or AWS_DEFAULT_REGION"
        " of the cage, else us-east-1.",
        "system": "What the model is told before all else.",
        "api_key": "Never used, and refused: an agent could read it. AKIOS 1.4 had it here; a"
        " file that still has it is run without it, and told so. Keys are kept outside of the"
        " cage: sudo akiosctl keys set PROVIDER.",
    },
    "http": {
        "timeout": _TIMEOUT,
        "max_bytes": "The largest answer.",
        "max_redirects": "How many redirects are followed; 0 brings the first answer itself.",
        "any_status": "Answers with a status from 400 on are no failure of the step.",
        "truncate": _CUT,
    },
    "filesystem": {
        "paths": "Directories and files that the step may use, from the workspace on; the whole"
        " workspace where it is empty.",
        "allowed_paths": "The same; AKIOS 1.4 called it so.",
        "read_only": "The step writes nothing.",
        "max_bytes": "The largest file.",
    },
    "tool": {
        "allow": "Programs that the step may run: a name (jq), or a list of the words that the"
        " command must begin with ([git, log]). Where it is empty, none.",
        "allowed_commands": "The same; AKIOS 1.4 called it so.",
        "timeout": _TIMEOUT,
        "max_output": "The most bytes of standard output, and of standard error.",
        "truncate": "Keep what was printed before max_output was reached, instead of failing.",
        "any_status": "An exit status other than 0 is no failure of the step.",
    },
    "webhook": {
        "url": "Where the message is sent to. This or webhook_url is needed.",
        "webhook_url": "The same; AKIOS 1.4 called it so.",
        "service": "slack, discord, teams or generic, which is taken where nothing is said: the"
        " form that the message is given.",
        "platform": "The same; AKIOS 1.4 called it so.",
        "headers": "Further headers of the request.",
        "timeout": _TIMEOUT,
    },
    "database": {
        "database": "A file of the workspace (SQLite), or postgresql://USER@HOST/NAME. This or one"
        " of the next two is needed.",
        "database_url": "The same; AKIOS 1.4 called it so.",
        "connection_string": "The same; AKIOS 1.4 called it so.",
        "paths": "Where a file of SQLite may lie; the whole workspace where it is empty.",
        "allow_write": "The step may change rows.",
        "max_rows": "The most rows of an answer; 10,000 at most.",
        "max_bytes": "The most bytes of all values of an answer together.",
        "truncate": _CUT,
        "timeout": _TIMEOUT,
    },
    "mcp": {
        "command": "What starts the server, word by word.",
        "tools": "The tools that the step may call; all where it is empty.",
        "env": "Variables of the server.",
        "timeout": "How long the start and the call may take together.",
        "max_bytes": "The most bytes that the server may write.",
    },
    "approve": {
        "timeout": "How long the question waits, 30 days at most; then the step has failed.",
    },
}
"""Of each kind, the fields of config: all its actions have the same."""

_HEADERS = {"headers": "Headers of the request."}
_ASKED = {
    "system": "In the place of that in config.",
    "max_tokens": "In the place of that in config.",
    "temperature": "In the place of that in config.",
    "tools": "What the model may ask for: a list of {name, description, parameters}, where"
    " parameters is a JSON Schema. The step calls none of them; it brings what is asked for.",
    "tool_choice": "auto, any, none, or the name of a tool.",
    "schema": "A JSON Schema that the answer must fit.",
}
_REQUEST = {
    "url": "http:// or https://, and a host that network.allowed_domains names.",
    **_HEADERS,
    "query": "What is added to the URL behind ?; a list stands for several of one name.",
    "params": "The same.",
    "json": "The body, as JSON. At most one of json, form, body and data is given.",
    "form": "The body, as a form.",
    "body": "The body, as it is.",
    "data": "The body: a table is a form, text is taken as it is.",
}
_ENCODING = "The encoding of the text."
_STATEMENT = {
    "query": "One statement, without values.",
    "params": "The values: a list for ? (SQLite) or $1 (PostgreSQL), a table for :name or"
    " %(name)s.",
}

PARAMETERS: dict[tuple[str, str], dict[str, str]] = {
    ("llm", "complete"): {**_ASKED, "prompt": "What is asked."},
    ("llm", "chat"): {
        **_ASKED,
        "messages": "A list of {role, content}; role is system, user or assistant, and the last"
        " one's is user.",
    },
    **{("http", name): _REQUEST for name in ("get", "post", "put", "patch", "delete", "head")},
    ("filesystem", "read"): {
        "path": "The file.",
        "format": "auto, text, pdf, docx or base64; auto goes by the ending of the name, and is"
        " text for all but .pdf and .docx.",
        "encoding": _ENCODING,
    },
    ("filesystem", "write"): {
        "path": "The file; directories above it are made.",
        "content": "What it then holds; what is not text is written as JSON.",
        "encoding": _ENCODING,
    },
    ("filesystem", "append"): {
        "path": "The file; it is made where it is not there.",
        "content": "What is added at its end.",
        "encoding": _ENCODING,
    },
    ("filesystem", "list"): {
        "path": "The directory.",
        "pattern": "Which names, as in *.md.",
    },
    ("filesystem", "stat"): {"path": "The file or directory."},
    ("filesystem", "exists"): {"path": "The file or directory."},
    ("tool", "run"): {
        "argv": "The command, a list of words: no shell reads it, and a text is refused. This or"
        " command is needed.",
        "command": "The same; AKIOS 1.4 called it so.",
        "stdin": "What the program reads.",
        "env": "Variables of the program, besides those of the cage.",
        "cwd": "The directory that it starts in, from the workspace on.",
    },
    ("webhook", "send"): {
        "text": "What people read. This, message or payload is needed.",
        "message": "The same; AKIOS 1.4 called it so.",
        "title": "A line above it.",
        "payload": "The whole body, as JSON; of the service generic only.",
    },
    ("database", "query"): _STATEMENT,
    ("database", "execute"): _STATEMENT,
    ("database", "count"): {"table": "Its name, or schema.table."},
    ("mcp", "call"): {
        "tool": "Its name.",
        "arguments": "What it is given.",
    },
    ("mcp", "list"): {},
    ("approve", "ask"): {"message": "What the person is asked; 20,000 characters at most."},
}
"""Of each action, the fields of parameters."""

_ROWS = (
    "columns, rows (a list of tables, from column to value), row_count; truncated where it was cut"
)
BRINGS: dict[tuple[str, str], str] = {
    **{
        ("llm", name): "text, model, stop_reason; data (with schema); tool_calls (with tools);"
        " truncated where max_tokens cut it"
        for name in ("complete", "chat")
    },
    **{
        ("http", name): "status, headers, url; body, or body_base64 for what is not text; json"
        " where it is JSON; redirects where there were some; truncated where it was cut"
        for name in ("get", "post", "put", "patch", "delete", "head")
    },
    ("filesystem", "read"): "path, bytes, format; text, or base64; pages (of a PDF)",
    ("filesystem", "write"): "path, bytes",
    ("filesystem", "append"): "path, bytes, size (of the whole file)",
    ("filesystem", "list"): "path, names, entries (a list of {name, type, size, changed})",
    ("filesystem", "stat"): "path, type (file, directory, link or special), size, changed",
    ("filesystem", "exists"): "path, exists",
    ("tool", "run"): "exit_code, stdout, stderr; stopped where it was ended",
    ("webhook", "send"): "status, body, idempotent (whether a message that is sent twice is"
    " delivered once)",
    ("database", "query"): _ROWS,
    ("database", "execute"): f"{_ROWS}; changed (how many rows)",
    ("database", "count"): "count, columns, rows, row_count (as of a query)",
    ("mcp", "call"): "content, text; data where the tool gives some",
    ("mcp", "list"): "tools",
    (
        "approve",
        "ask",
    ): "message, state (approved), by, comment, asked_ns, until_ns, answered_ns (Unix times)",
}
"""What each action brings: the names below steps.NAME.outputs."""

DOES: dict[tuple[str, str], str] = {
    ("llm", "complete"): "asks one question.",
    ("llm", "chat"): "goes on with a conversation.",
    ("http", "get"): "send a request of that method.",
    ("filesystem", "read"): "reads a file.",
    ("filesystem", "write"): "writes a file as a whole.",
    ("filesystem", "append"): "adds to the end of a file.",
    ("filesystem", "list"): "lists a directory; links are named, and not followed.",
    ("filesystem", "stat"): "says what something is.",
    ("filesystem", "exists"): "says whether something is there.",
    ("tool", "run"): "runs a program to its end.",
    ("webhook", "send"): "sends one message.",
    ("database", "query"): "reads rows.",
    ("database", "execute"): "changes rows, with allow_write.",
    ("database", "count"): "counts the rows of a table.",
    ("mcp", "call"): "calls one tool.",
    ("mcp", "list"): "lists the tools of the server.",
    ("approve", "ask"): "asks, and waits for the answer.",
}
"""What each action does; actions with the same parameters are told once, under the first."""
