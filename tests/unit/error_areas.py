"""Where each error stands in docs/errors.md: by what somebody was doing who meets it."""

from __future__ import annotations

KEYS = "Keys of providers: keys"
FAULTS = "Versions that do not fit, faults of AKIOS, and cages that a restart of it did not save"
AREAS: dict[str, tuple[str, ...]] = {
    "Verbs and options": (
        "akiosctl/cli.py",
        "akiosctl/commands.py",
        "akiosctl/old_words.py",
        "akiosctl/run_options.py",
        "akiosctl/verbs/",
    ),
    "Reaching akiosd": (
        "akiosctl/client.py",
        "akiosctl/plain_msgpack.py",
        "akiosctl/relay.py",
        "akiosctl/standalone.py",
        "akiosd/daemon/base/peers.py",
        "akiosd/daemon/sockets/serve_clients.py",
        "akiosd/wire/frame.py",
        "akiosd/wire/session.py",
    ),
    "Policies: akios.yaml, policy.yaml, profiles": (
        "akiosctl/given_policy.py",
        "akiosctl/policy_files.py",
        "akiosctl/run_policy.py",
        "akiosd/gateway/net/names.py",
        "akiosd/kernel/cage_etc.py",
        "akiosd/policy/",
        "akiosd/values/domains.py",
        "akiosd/values/units.py",
    ),
    "Starting an agent: run, exec": (
        "akiosctl/locate.py",
        "akiosctl/prepare_run.py",
        "akiosctl/shell_trap.py",
        "akiosctl/shown_paths.py",
        "akiosctl/started.py",
        "akiosctl/terminal.py",
        "akiosctl/toolchain.py",
        "akiosctl/verbs/exec.py",
        "akiosctl/verbs/run.py",
        "akiosd/daemon/base/uids.py",
        "akiosd/daemon/cages/",
        "akiosd/daemon/policy_mode/domain_cage.py",
        "akiosd/daemon/policy_mode/pool.py",
        "akiosd/daemon/requests/admission.py",
        "akiosd/daemon/requests/run_requests.py",
        "akiosd/kernel/cage_terminal.py",
        "akiosd/kernel/mount_space.py",
        "akiosd/kernel/user_tree.py",
        "akiosd/wire/",
    ),
    "Naming a cage, and what it printed: ps, logs, attach, stop": (
        "akiosctl/choose_cage.py",
        "akiosctl/kept_output.py",
        "akiosctl/verbs/logs.py",
        "akiosctl/verbs/stop.py",
        "akiosd/daemon/cages/registry.py",
    ),
    "Changes: diff, commit, discard": (
        "akiosctl/changes/",
        "akiosctl/commit_cage.py",
        "akiosctl/confirm.py",
        "akiosctl/verbs/commit.py",
        "akiosctl/verbs/discard.py",
        "akiosctl/writings.py",
        "akiosd/daemon/cages/view.py",
        "akiosd/daemon/requests/change_requests.py",
        "akiosd/store/wipe.py",
    ),
    "Standing cages: cage up, cage down, cp": (
        "akiosctl/cage_down.py",
        "akiosctl/copy_in.py",
        "akiosctl/copy_out.py",
        "akiosctl/data_directories.py",
        "akiosctl/programs.py",
        "akiosctl/standing_cages.py",
        "akiosctl/tar_reader.py",
        "akiosctl/verbs/cage.py",
        "akiosctl/verbs/cp.py",
        "akiosd/daemon/cages/programs.py",
        "akiosd/daemon/requests/standing_requests.py",
    ),
    "Sites, models and personal data, as the agent meets them; http, protect": (
        "akiosctl/http_requests.py",
        "akiosctl/verbs/http.py",
        "akiosctl/verbs/protect.py",
        "akiosctl/verbs/protect_preview.py",
        "akiosd/daemon/requests/http_requests.py",
        "akiosd/gateway/",
        "akiosd/redact/",
    ),
    KEYS: (
        "akiosctl/verbs/keys.py",
        "akiosd/daemon/base/key_store.py",
        "akiosd/daemon/requests/keys.py",
    ),
    "Workflows: workflow, approvals, output, templates": (
        "akiosctl/approvals.py",
        "akiosctl/foreign_changes.py",
        "akiosctl/journal_file.py",
        "akiosctl/preview.py",
        "akiosctl/results_tree.py",
        "akiosctl/show_prompts.py",
        "akiosctl/step_cages.py",
        "akiosctl/step_talk.py",
        "akiosctl/verbs/init.py",
        "akiosctl/verbs/output.py",
        "akiosctl/verbs/templates.py",
        "akiosctl/workflow_files.py",
        "akiosctl/workflow_start.py",
        "akiosd/values/approval.py",
        "akiosd/workflow/",
    ),
    "The REST API: serve, token": (
        "akiosctl/api/",
        "akiosctl/verbs/serve.py",
        "akiosctl/verbs/token.py",
    ),
    "From Python, and as tools: Cage, mcp": (
        "akiosctl/library/",
        "akiosctl/mcp_http.py",
        "akiosctl/mcp_server.py",
        "akiosctl/piped_program.py",
        "akiosctl/verbs/mcp.py",
    ),
    "What happens and happened: events, top, timeline, report": (
        "akiosctl/otlp/",
        "akiosctl/verbs/events.py",
        "akiosctl/verbs/top.py",
        "akiosd/daemon/sockets/serve_events.py",
    ),
    "Logs and proofs: ledger": (
        "akiosctl/ledger_source.py",
        "akiosctl/pins.py",
        "akiosctl/small_files.py",
        "akiosctl/socket_log.py",
        "akiosctl/verbs/ledger_keep.py",
        "akiosctl/verbs/ledger_proofs.py",
        "akiosctl/verbs/ledger_read.py",
        "akiosctl/verbs/ledger_verify.py",
        "akiosctl/verbs/ledger_witness.py",
        "akiosd/daemon/ledger/",
        "akiosd/daemon/requests/log_requests.py",
        "akiosd/daemon/requests/serve_logs.py",
        "akiosd/ledger/",
        "akiosd/store/",
    ),
    "Starting akiosd: akiosd.yaml, its directories, its socket": (
        "akiosd/daemon/base/",
        "akiosd/daemon/main.py",
        "akiosd/daemon/policy_mode/host.py",
        "akiosd/daemon/sockets/listening.py",
        "akiosd/store/lock.py",
        "akiosd/values/service_manager.py",
    ),
    "What akiosd needs of the host: kernel, cgroups, disks": (
        "akiosd/daemon/base/host_faults.py",
        "akiosd/kernel/",
    ),
    FAULTS: (
        "akiosd/cage/state_format.py",
        "akiosd/daemon/base/status_channel.py",
        "akiosd/daemon/base/zygote.py",
        "akiosd/daemon/cages/adopt_cage.py",
        "akiosd/daemon/cages/cage_state.py",
        "akiosd/daemon/cages/keep_cage.py",
        "akiosd/daemon/cages/parked.py",
        "akiosd/daemon/gateways/",
        "akiosd/gateway/daemon_link/",
        "akiosd/gateway/process/",
        "akiosd/kernel/launcher.py",
        "akiosd/kernel/pump.py",
        "akiosd/kernel/state_memory.py",
        "akiosd/meter/",
    ),
}
"""Of each part of the page, where its errors are made: a file, or a directory with all below it.
The longest that fits holds."""
PLACES = {"keys": KEYS}
"""Of errors of modules that serve several parts: the part by where it happened."""


def area_of(module: str, where: str = "") -> str:
    """The part that a module's errors stand in; it has one, unless the place of an error is that of
    another part.
    """
    if where in PLACES:
        return PLACES[where]
    fitting = [
        (len(place), area)
        for area, places in AREAS.items()
        for place in places
        if module == place or (place.endswith("/") and module.startswith(place))
    ]
    assert fitting, f"{module} makes errors, and has no place in tests/unit/error_areas.py"
    return max(fitting)[1]
