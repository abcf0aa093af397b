"""The table of endpoints: routes, scopes, answers and the OpenAPI document are made from it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from akiosctl.api import forms, view_forms
from akiosctl.api.handlers import (
    cages,
    changes,
    events,
    host,
    ledger,
    live,
    metrics,
    output,
    policies,
    programs,
    redaction,
    running,
    terminals,
    views,
    workflows,
)
from akiosctl.api.jobs import ANY_JOB
from akiosctl.help import schemas

BASE = "/api/v1"
ANY = "any"
"""A token is needed, whatever its scopes."""


class Endpoint(msgspec.Struct, frozen=True):
    """``scope``: what the token must have; "" needs no token.  ``answer``: the type of the body,
    several in a tuple, or its media type.  ``takes``: the form of the JSON that is its handler's
    ``body``, or the media type of what is its ``text``, or its ``data`` where that is no text.
    ``refusals``: statuses besides those that every endpoint has.  ``also``: a path outside of BASE
    where the same is found, since other programs look there.  ``personal``: not there where the
    server runs for everybody.  ``besides``: a second scope that the token must have.  ``busy``: its
    handler asks nobody, and keeps a processor at work.  The method ``WS`` is a WebSocket.
    """

    method: str
    path: str
    handler: Callable[..., Any]
    scope: str
    answer: Any
    refusals: tuple[int, ...] = ()
    takes: Any = ""
    status: int = int(HTTPStatus.OK)
    also: str = ""
    personal: bool = False
    besides: str = ""
    busy: bool = False

    @property
    def slow(self) -> bool:
        """Whether its answer takes as long as the client listens."""
        return bool(self.answer == "text/event-stream") or self.method == "WS"


_LOG = "/ledger/{log}"
_CAGE = "/cages/{cage}"
_RUN = "/workflows/runs/{run}"
_BYTES, _EVENTS = "application/octet-stream", "text/event-stream"
_TEXT, _YAML = "text/plain; charset=utf-8", "application/yaml"
_EXPLAINED = (dict[str, schemas.Setting], schemas.Unacceptable)
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/health", host.health, "", forms.Health),
    Endpoint("GET", "/version", host.version, ANY, forms.Version),
    Endpoint("POST", "/session", host.begin_session, ANY, forms.SessionMade),
    Endpoint("DELETE", "/session", host.end_session, ANY, forms.Gone),
    Endpoint("GET", "/doctor", host.get_doctor, "read", schemas.Doctor),
    Endpoint("GET", "/metrics", metrics.collect, "read", metrics.OPEN_METRICS, also="/metrics"),
    Endpoint("GET", "/cages", cages.list_page, "read", forms.CagePage),
    Endpoint(
        "POST",
        "/cages",
        running.begin_run,
        "run",
        schemas.Cage,
        takes=forms.NewCage,
        status=202,
    ),
    Endpoint("GET", _CAGE, cages.get_one, "read", schemas.Cage, (404,)),
    Endpoint("GET", f"{_CAGE}/status", running.get_status, "read", schemas.StandingStatus, (404,)),
    Endpoint(
        "POST",
        f"{_CAGE}/exec",
        programs.begin_exec,
        "run",
        forms.ExecJob,
        (404,),
        takes=forms.NewProgram,
        status=202,
    ),
    Endpoint("WS", f"{_CAGE}/exec", terminals.execute, "run", _BYTES, (404,)),
    Endpoint("WS", f"{_CAGE}/attach", terminals.attach, "run", _BYTES, (404,), besides="output"),
    Endpoint("POST", f"{_CAGE}/pause", running.pause, "stop", schemas.CageNames, (404,)),
    Endpoint("POST", f"{_CAGE}/resume", running.resume, "stop", schemas.CageNames, (404,)),
    Endpoint("POST", f"{_CAGE}/down", running.begin_down, "run", forms.DownJob, (404,), status=202),
    Endpoint("GET", f"{_CAGE}/output", output.get_output, "output", _BYTES, (404, 416)),
    Endpoint("GET", f"{_CAGE}/output/follow", output.follow, "output", _EVENTS, (404,)),
    Endpoint("GET", f"{_CAGE}/logs", output.list_pieces, "output", forms.OutputPage, (404,)),
    Endpoint("GET", f"{_CAGE}/files", programs.read_file, "output", _BYTES, (404,)),
    Endpoint(
        "PUT",
        f"{_CAGE}/files",
        programs.write_file,
        "output",
        forms.Written,
        (404, 507),
        takes=_BYTES,
    ),
    Endpoint(
        "GET",
        f"{_CAGE}/budget",
        cages.get_budget,
        "read",
        (schemas.Spending, schemas.Spent),
        (404,),
    ),
    Endpoint("POST", f"{_CAGE}/stop", changes.end_cage, "stop", schemas.CageNames, (404,)),
    Endpoint(
        "GET", f"{_CAGE}/diff", changes.get_diff, "changes", schemas.Diff, (404,), personal=True
    ),
    Endpoint(
        "POST",
        f"{_CAGE}/commit",
        changes.begin_commit,
        "changes",
        forms.CommitJob,
        (404,),
        status=202,
        personal=True,
    ),
    Endpoint("POST", f"{_CAGE}/discard", changes.discard, "changes", schemas.Discarded, (404, 412)),
    Endpoint("GET", f"{_CAGE}/why", cages.get_why, "read", schemas.Why, (404,)),
    Endpoint("GET", "/policies", policies.list_all, "read", forms.PolicyList),
    Endpoint("GET", "/policies/{name}/explain", policies.explain_one, "read", _EXPLAINED),
    Endpoint(
        "POST",
        "/policies/explain",
        policies.explain_text,
        "read",
        _EXPLAINED,
        takes=_YAML,
    ),
    Endpoint(
        "POST",
        "/policies/check",
        policies.check_text,
        "read",
        (forms.PolicyChecked, schemas.Unacceptable),
        takes=_YAML,
    ),
    Endpoint(
        "POST",
        "/workflows/validate",
        workflows.check_text,
        "read",
        forms.WorkflowChecked,
        takes=_YAML,
    ),
    Endpoint("GET", "/workflows/runs", workflows.list_runs, "read", forms.RunList),
    Endpoint(
        "POST",
        "/workflows/runs",
        workflows.begin_run,
        "run",
        forms.WorkflowNow,
        takes=forms.NewWorkflowRun,
        status=202,
    ),
    Endpoint("GET", _RUN, workflows.get_run, "read", forms.WorkflowNow, (404,)),
    Endpoint(
        "GET", f"{_RUN}/outputs", workflows.get_outputs, "output", schemas.KeptOutputs, (404,)
    ),
    Endpoint("POST", f"{_RUN}/stop", workflows.stop_run, "stop", forms.WorkflowNow, (404,)),
    Endpoint(
        "POST",
        f"{_RUN}/resume",
        workflows.resume_run,
        "run",
        forms.WorkflowNow,
        (404,),
        takes=forms.NewResumption,
        status=202,
    ),
    Endpoint("GET", "/approvals", workflows.list_questions, "read", forms.QuestionList),
    Endpoint(
        "POST",
        "/approvals/{question}",
        workflows.answer,
        "approve",
        schemas.Answered,
        (404,),
        takes=forms.NewAnswer,
    ),
    Endpoint("GET", "/events", events.stream, "events", _EVENTS, (404,)),
    Endpoint("WS", "/events", events.converse, "events", "application/json"),
    Endpoint("GET", "/views/cages", views.list_cages, "read", view_forms.CagesView),
    Endpoint("GET", "/views/cages/live", live.stream, "read", _EVENTS),
    Endpoint("GET", "/views/cages/{cage}", views.show_cage, "ledger", view_forms.CageView, (404,)),
    Endpoint(
        "GET", "/views/decisions", views.show_decisions, "ledger", view_forms.DecisionsView, (404,)
    ),
    Endpoint("GET", "/views/approvals", views.list_questions, "read", view_forms.ApprovalsView),
    Endpoint("GET", "/views/workflows", views.list_workflows, "read", view_forms.WorkflowsView),
    Endpoint("GET", "/views/workflows/live", live.stream_workflows, "read", _EVENTS),
    Endpoint("GET", "/views/workflows/{run}/live", live.stream_workflow, "read", _EVENTS, (404,)),
    Endpoint("GET", "/views/logs/{log}", views.show_log, "ledger", view_forms.LogView, (404,)),
    Endpoint("GET", f"{_LOG}/entries", ledger.list_records, "ledger", forms.RecordPage, (404, 410)),
    Endpoint(
        "GET", f"{_LOG}/checkpoint", ledger.get_checkpoint, "ledger", schemas.Checkpoint, (404,)
    ),
    Endpoint(
        "GET",
        f"{_LOG}/inclusion/{{index}}",
        ledger.prove_inclusion,
        "ledger",
        schemas.Proof,
        (404,),
    ),
    Endpoint(
        "GET", f"{_LOG}/consistency", ledger.prove_consistency, "ledger", forms.Consistency, (404,)
    ),
    Endpoint(
        "POST", f"{_LOG}/verify", ledger.begin_verify, "ledger", forms.VerifyJob, (404,), status=202
    ),
    Endpoint("GET", "/jobs/{job}", ledger.get_job, ANY, ANY_JOB, (404,)),
    Endpoint("GET", f"{_LOG}/tlog/checkpoint", ledger.get_note, "ledger", _TEXT, (404,)),
    Endpoint(
        "GET",
        f"{_LOG}/tlog/{{path:path}}",
        ledger.get_tile,
        "ledger",
        _BYTES,
        (404,),
    ),
    Endpoint(
        "POST",
        "/redaction/scan",
        redaction.scan,
        "redact",
        forms.TextFindings,
        takes="text/plain",
        busy=True,
    ),
    Endpoint(
        "POST",
        "/redaction/redact",
        redaction.redact,
        "redact",
        forms.MaskedText,
        takes="text/plain",
        busy=True,
    ),
)
