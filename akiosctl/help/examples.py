"""An example or more for every help text: a table from verb to command lines that work.

A test runs each line as it stands (tests/e2e/test_examples.py), which tells what it finds in its
place beside it.  The module imports nothing: ``run --help`` prints from it too.
"""

from __future__ import annotations

# verb ("" is akiosctl itself) → command lines, each with what it does.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("akiosctl run -- python agent.py", "run an agent in the project you stand in"),
        ("akiosctl diff", "see what it changed"),
        ("akiosctl commit", "keep that; or: akiosctl discard"),
    ),
    "run": (
        ("akiosctl run -- python agent.py", "its changes wait for diff, commit or discard"),
        ("akiosctl run --ro --memory 512M --timeout 10m -- make test", "with limits"),
        ("akiosctl run --budget 0.50 -- python agent.py", "models may cost 50 cents"),
        ("akiosctl run -d -- python agent.py", "in the background; see: akiosctl ps"),
    ),
    "cage": (
        ("akiosctl cage up work", "a cage that stands, for this project"),
        ("akiosctl run --cage work -- python agent.py", "in it, as often as you like"),
        ("akiosctl cage down work", "kill what runs in it, destroy its data"),
    ),
    "cage up": (
        ("akiosctl cage up", "called as this directory"),
        ("akiosctl cage up work --memory 1G --budget 2", "with a name and limits"),
    ),
    "cage list": (("akiosctl cage list", "those that are up, and those that are down"),),
    "cage status": (("akiosctl cage status work", "what it enforces, uses and runs"),),
    "cage pause": (("akiosctl cage pause work", "everything in it stands still"),),
    "cage resume": (("akiosctl cage resume work", "and goes on"),),
    "cage down": (
        ("akiosctl cage down work --dry-run", "only say what would be destroyed"),
        ("akiosctl cage down work --keep-output", "all but data/output"),
    ),
    "exec": (
        ("akiosctl exec work -- python agent.py", "one more program"),
        ("akiosctl exec work bash", "a shell, with a terminal"),
    ),
    "cp": (
        ("akiosctl cp notes.txt work:/tmp/", "into the cage work"),
        ("akiosctl cp work:/tmp/notes.txt copy.txt", "out of it"),
    ),
    "ps": (
        ("akiosctl ps", "cages that run, and those whose changes wait"),
        ("akiosctl ps --all --json", "ended ones too, for a program"),
    ),
    "top": (
        ("akiosctl top", "until q; Enter looks at one cage, ? shows the keys"),
        ("akiosctl top --once", "one table; with --json for a program"),
    ),
    "attach": (("akiosctl attach last", "the newest cage of this directory"),),
    "logs": (("akiosctl logs last", "what the last cage here wrote"),),
    "stop": (
        ("akiosctl stop last", "SIGTERM, and after ten seconds SIGKILL"),
        ("akiosctl stop --grace 1m last", "give it a minute to end by itself"),
    ),
    "budget": (("akiosctl budget last", "what it spent, and what is left"),),
    "diff": (
        ("akiosctl diff", "names of changed files"),
        ("akiosctl diff -p", "the changed lines too"),
    ),
    "commit": (
        ("akiosctl commit", "all changes of the last cage here, or none"),
        ("akiosctl commit --skip-refused", "without what may not be committed"),
    ),
    "discard": (("akiosctl discard last", "destroy the changes of the last cage here"),),
    "status": (
        ("akiosctl status", "is akiosd there, what runs, what it cost today, what is open"),
        ("akiosctl status --budget", "only the money of today"),
    ),
    "timeline": (
        ("akiosctl timeline last", "what happened in the last cage here"),
        ("akiosctl timeline --dir audit", "from a log's files or archive, without akiosd"),
    ),
    "report": (
        ("akiosctl report last --out report.html", "one page, to be read, kept or printed"),
    ),
    "events": (
        ("akiosctl events", "all records of the last cage here"),
        ("akiosctl events --kind syscall --kind net_denied --json", "some, for a program"),
        ("akiosctl events --format ocsf", "for security monitoring; or ecs, cef"),
        ("akiosctl events --otlp http://127.0.0.1:4318", "spans and metrics for OpenTelemetry"),
        ("akiosctl events --schema", "the JSON Schema of every record"),
        ("akiosctl events --follow", "what happens from now on, until Ctrl-C"),
    ),
    "why": (("akiosctl why", "what the last cage here was denied"),),
    "ledger": (
        ("sudo akiosctl ledger verify", "recompute the host's log"),
        ("akiosctl ledger show last", "the records of the last cage here"),
    ),
    "ledger show": (
        ("akiosctl ledger show last", "every record of a cage"),
        ("sudo akiosctl ledger show --from 0 --to 10 --json", "the first ten of the host, as JSON"),
    ),
    "ledger verify": (
        ("akiosctl ledger verify last", "the log of a cage, held against the host's"),
        ("sudo akiosctl ledger verify --all", "every log of this host"),
        (
            "sudo akiosctl ledger verify --dir /var/lib/akios/ledger/host",
            "files, without asking akiosd",
        ),
    ),
    "ledger export": (
        ("akiosctl ledger export last --out records.ndjson", "one record a line"),
        (
            "sudo akiosctl ledger export --format archive --out host.tar",
            "a file to verify elsewhere",
        ),
    ),
    "ledger stats": (("akiosctl ledger stats last", "how many records of which kind"),),
    "ledger checkpoint": (("sudo akiosctl ledger checkpoint > checkpoint", "for other tools"),),
    "ledger keys": (
        ("sudo akiosctl ledger keys > host.vkey", "the public key, to keep elsewhere"),
        ("sudo akiosctl ledger keys --format list > keys", "every key this host ever had"),
    ),
    "ledger pack": (
        (
            "akiosctl ledger pack log.tar --dir audit",
            "a log's files as one archive",
        ),
    ),
    "ledger prove": (("akiosctl ledger prove 0 last --out proof", "of its first record"),),
    "ledger verify-proof": (
        ("akiosctl ledger verify-proof proof --vkey host.vkey", "needs no akiosd"),
    ),
    "ledger pin": (("sudo akiosctl ledger pin", "remember the host's log as it is now"),),
    "ledger witness": (
        (
            "sudo akiosctl ledger witness https://witness.example/ --witness-key witness.vkey",
            "for the host's log",
        ),
    ),
    "ledger rotate-key": (("sudo akiosctl ledger rotate-key", "a new key signs from now on"),),
    "ledger destroy": (
        ("sudo akiosctl ledger destroy c-4f7k2m9q1x8d", "an ended cage and its log"),
    ),
    "ledger prune": (
        ("sudo akiosctl ledger prune --older-than 30d --dry-run", "only say which would go"),
        ("sudo akiosctl ledger prune --max-size 20G", "the oldest first"),
    ),
    "policy": (("akiosctl policy explain", "what a run here may do, and which file says so"),),
    "policy explain": (
        ("akiosctl policy explain", "each value, with the file and line that gave it"),
        ("akiosctl policy explain --policy strict", "the same under another policy"),
    ),
    "policy presets": (("akiosctl policy presets python node", "the names of two of them"),),
    "policy shipped": (("akiosctl policy shipped", "the commented file that AKIOS comes with"),),
    "policy check": (
        ("akiosctl policy check", "the policy of a run here"),
        ("akiosctl policy check akios.yaml", "one file"),
    ),
    "init": (
        ("akiosctl init my-project", "policy, .gitignore, and three workflows to begin with"),
    ),
    "workflow": (
        ("akiosctl workflow validate workflow.yml", "every mistake, with its line and column"),
    ),
    "workflow validate": (
        ("akiosctl workflow validate workflow.yml", "every mistake, with its line and column"),
        ("akiosctl templates show code-review | akiosctl workflow validate -", "of any text"),
    ),
    "workflow explain": (
        ("akiosctl workflow explain workflow.yml", "what each step may do, reach and spend"),
    ),
    "workflow graph": (
        ("akiosctl workflow graph workflow.yml", "the order of the steps, drawn here"),
        ("akiosctl workflow graph --mermaid workflow.yml", "for a page that draws mermaid"),
    ),
    "workflow schema": (
        ("akiosctl workflow schema > akios-workflow.json", "for the YAML part of an editor"),
    ),
    "workflow run": (
        ("akiosctl workflow run workflow.yml", "each step in a cage of its own"),
        ("akiosctl workflow run workflow.yml --resume", "go on with the last run of it here"),
    ),
    "workflow status": (
        ("akiosctl workflow status", "the last run here, step by step"),
        ("akiosctl workflow status --prove", "and whether the ledger vouches for its journal"),
    ),
    "approvals": (("akiosctl approvals", "what workflows ask you"),),
    "approvals list": (("akiosctl approvals list", "what workflows ask you"),),
    "approvals show": (("akiosctl approvals show w-4f7k2m9q1x.agree", "the whole question"),),
    "approvals yes": (
        ("akiosctl approvals yes w-4f7k2m9q1x.agree --comment good", "the workflow goes on"),
    ),
    "approvals no": (("akiosctl approvals no w-4f7k2m9q1x.agree", "the step has failed"),),
    "output": (("akiosctl output show", "what the last workflow here brought"),),
    "output list": (("akiosctl output list", "the runs of workflows here"),),
    "output show": (("akiosctl output show last --step step_1", "what one step of it brought"),),
    "output export": (("akiosctl output export --out run.json", "a run whole, as JSON"),),
    "templates": (("akiosctl templates list", "workflows to begin with"),),
    "templates list": (("akiosctl templates list", "workflows to begin with"),),
    "templates show": (
        ("akiosctl templates show document-analysis > my.yml", "a file of your own"),
    ),
    "keys": (("sudo akiosctl keys list", "which providers have a key"),),
    "keys set": (("sudo akiosctl keys set openai < key.txt", "or type it at the prompt"),),
    "keys list": (("sudo akiosctl keys list", "which providers have a key"),),
    "keys rm": (("sudo akiosctl keys rm openai", "forget it"),),
    "http": (
        ("akiosctl http GET https://example.com/", "is it allowed here?"),
        ("akiosctl http --cage last POST https://example.com/ -d hello", "under a cage's rules"),
    ),
    "protect": (("akiosctl protect scan notes.txt", "where personal data is"),),
    "protect scan": (
        ("akiosctl protect scan notes.txt", "where personal data is"),
        ("git log -p | akiosctl protect scan --show", "and what it is"),
    ),
    "protect redact": (("akiosctl protect redact notes.txt > masked.txt", "[EMAIL] for it"),),
    "protect preview": (
        ("akiosctl protect preview notes.txt", "what a model would get of it"),
        ("git diff | akiosctl protect preview --model openai/gpt-4o", "and what that would cost"),
    ),
    "protect show-prompt": (
        ("akiosctl protect show-prompt workflow.yml", "what its models would be asked"),
    ),
    "protect patterns": (("akiosctl protect patterns", "what is looked for"),),
    "serve": (
        ("akiosctl serve", "on http://127.0.0.1:8470, until Ctrl-C"),
        ("akiosctl serve --listen unix:api.sock", "where only this user comes"),
    ),
    "mcp": (
        ("akiosctl mcp --budget 1.00", "tools of a cage here, for the client that starts it"),
        ("akiosctl mcp --listen 127.0.0.1:8471", "for clients over HTTP, each with a token"),
    ),
    "token": (("akiosctl token list", "who may ask the REST API"),),
    "token create": (
        ("akiosctl token create --scope read --scope events", "for a program that watches"),
        (
            "akiosctl token create --scope read --scope events --scope ledger",
            "for the pages of serve: put it behind http://127.0.0.1:8470/#token=",
        ),
        ("akiosctl token create --scope ledger --expires 1h --note audit", "for an hour"),
        (
            "akiosctl token create --scope read --scope stop --scope changes",
            "to commit, discard and end cages",
        ),
    ),
    "token list": (("akiosctl token list", "who may ask the REST API"),),
    "token revoke": (("akiosctl token revoke 4f7k2m9q", "one of token list: from now on"),),
    "doctor": (
        ("akiosctl doctor", "what this host can enforce, and what takes room on its disk"),
        ("akiosctl doctor --fix-hints", "the commands that mend what is missing"),
    ),
    "completion": (
        ("source <(akiosctl completion bash)", "for this shell; zsh too"),
        (
            "akiosctl completion fish > ~/.config/fish/completions/akiosctl.fish",
            "for every fish from now on",
        ),
    ),
    "schema": (
        ("akiosctl schema", "the JSON of every verb"),
        ("akiosctl schema ps", "the JSON of one"),
    ),
}
_INDENT = "  "


def example_lines(verb: str) -> list[str]:
    """The lines that end the help of a verb; raises KeyError for one without an example."""
    rows = EXAMPLES[verb]
    width = max(len(line) for line, _ in rows)
    if width > 50:  # beside a long line there is no room
        return [
            "Examples:",
            *(text for line, does in rows for text in (f"{_INDENT}# {does}", _INDENT + line)),
        ]
    return ["Examples:", *(f"{_INDENT}{line:<{width}}  # {does}" for line, does in rows)]
