"""Policies: what there is, what holds, and whether a text is one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path

from akiosctl import policy_files
from akiosctl.api.forms import PolicyChecked, PolicyLayer, PolicyList
from akiosctl.api.service import Service
from akiosctl.system_policy import ask_system
from akiosctl.verbs.policy import what_it_widens
from akiosd.errors import PolicyError
from akiosd.policy.explain import explain
from akiosd.policy.merge import Layer, merge_explained
from akiosd.policy.system import SystemPolicy

HERE = "here"
Name = Annotated[
    Literal["here", "default", "strict", "permissive-dev"],
    Path(description="`here`, or a profile."),
]


def list_all(service: Service) -> PolicyList:
    """The layers that hold for every run of this user, and the profiles that a run can name."""
    system = _ask(service)
    layers = [PolicyLayer("system", system.file)]
    user = policy_files.user_policy_path()
    if user.exists():
        layers.append(PolicyLayer("user", str(user)))
    return PolicyList(layers, [HERE, *policy_files.PROFILES])


def explain_one(service: Service, name: Name) -> dict[str, Any]:
    """Each value of the policy that a run with this profile would get, and which file gave it.
    `here` is a run without a profile in a project without a policy.
    """
    more = [Layer("project", policy_files.read_profile(name))] if name != HERE else []
    return _explain(_ask(service), more)


def explain_text(service: Service, text: str) -> dict[str, Any]:
    """The same for a project whose policy this text is."""
    system = _ask(service)
    try:
        policy = policy_files.parse(text.encode(), "the text")
    except PolicyError as error:
        return _unacceptable(error)
    return _explain(system, [Layer("project", policy)])


def check_text(service: Service, text: str) -> PolicyChecked | dict[str, Any]:
    """Whether a text is a policy, and what of it the system policy would not let a project ask
    for.
    """
    system = merge_explained([_ask(service).layer])
    try:
        policy = policy_files.parse(text.encode(), "the text")
        return PolicyChecked(True, what_it_widens(policy, system))
    except PolicyError as error:
        return _unacceptable(error)


def _ask(service: Service) -> SystemPolicy:
    with service.connect() as client:
        return ask_system(client)


def _explain(system: SystemPolicy, more: list[Layer]) -> dict[str, Any]:
    """Of a policy that is not acceptable, why."""
    user = policy_files.user_policy_path()
    try:
        own = [Layer("user", policy_files.read_policy(user))] if user.exists() else []
        return explain(merge_explained([system.layer, *own, *more]))
    except PolicyError as error:
        return _unacceptable(error)


def _unacceptable(error: PolicyError) -> dict[str, Any]:
    return {"ok": False, "what": error.what, "where": error.where, "next": error.next}
