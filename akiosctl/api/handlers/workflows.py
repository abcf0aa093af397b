"""Runs of workflows, and what they ask a person."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path

from akiosctl.api.forms import NewAnswer
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.approvals import give_answer, list_waiting
from akiosctl.journal_file import list_kept
from akiosctl.verbs.approvals import describe_question
from akiosctl.verbs.output import describe_run

QuestionId = Annotated[
    str, Path(pattern="^[A-Za-z0-9_.-]{1,200}$", description="The id of a question that waits.")
]


def list_runs(service: Service) -> dict[str, Any]:
    """Runs of workflows of the user of this server, and how they are."""
    return {"runs": [describe_run(one) for one in list_kept()]}


def list_questions(service: Service) -> dict[str, Any]:
    """What workflows of the user of this server ask, and wait for."""
    return {"questions": [describe_question(one) for one in list_waiting()]}


def answer(service: Service, question: QuestionId, body: NewAnswer) -> dict[str, Any]:
    """Say yes or no to a question: its workflow goes on, or its step has failed."""
    if question not in {str(one["id"]) for one in list_waiting()}:
        what = "no such question waits for an answer"
        next = "see those that wait: GET /api/v1/approvals"
        raise Refusal(HTTPStatus.NOT_FOUND, what, question, next)
    said = give_answer(question, body.yes, body.comment)
    return {"id": question, "state": str(said.get("state")), "by": str(said.get("by", ""))}
