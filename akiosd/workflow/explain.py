"""Says in plain words what each step of a plan may do, with which policy and how much money."""

from __future__ import annotations

from typing import Any

from akiosd.policy.fields import BY_NAME
from akiosd.policy.merge import flatten
from akiosd.policy.show_values import format_value, printable
from akiosd.values.policy import Policy
from akiosd.values.units import format_duration, format_usd
from akiosd.workflow.inputs import has_default
from akiosd.workflow.plan import Plan, PlannedStep

DOES: dict[str, str] = {
    "llm": "asks a model",
    "http": "sends a request",
    "filesystem": "works on files",
    "tool": "runs a program",
    "webhook": "sends a message",
    "database": "asks a database",
    "mcp": "calls a tool of an MCP server",
    "approve": "waits for a person to say yes or no",
}
"""What a step of each agent does."""
ALONE = ("tool", "mcp", "filesystem", "database")
"""Agents whose steps always have a cage of their own."""
_SETTINGS = ("provider", "model", "paths", "allow", "command", "database", "service", "tools")
_SHOWN = (
    *("filesystem.workspace", "filesystem.read", "filesystem.write", "network.allowed_domains"),
    *("network.providers", "limits.memory", "limits.wall_clock_ns"),
    *("redact.models", "redact.sites"),
)
"""Fields of the policy that are told of every step."""


def explain_plan(plan: Plan) -> dict[str, Any]:
    """The same as :func:`explain_lines`, for programs."""
    return {
        "name": plan.name,
        "description": plan.description,
        "inputs": {
            name: {"type": form.type, "description": form.description}
            for name, form in plan.inputs.items()
        },
        "variables": list(plan.variables),
        "digest": plan.digest,
        "steps": [_explain_step(step) for step in plan.steps],
    }


def _explain_step(step: PlannedStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "line": step.line,
        "agent": step.agent,
        "action": step.action,
        "needs": list(step.needs),
        "condition": "" if step.condition is True else str(step.condition),
        "matrix": list(step.matrix),
        "attempts": step.attempts.most,
        "timeout_ns": step.timeout_ns,
        "own_cage": is_alone(step),
        "own_policy": step.own_policy,
        "usd_micro": step.policy.budget.usd_micro if step.policy else 0,
        "policy": _policy_values(step.policy) if step.policy else {},
        "digest": step.digest,
    }


def is_alone(step: PlannedStep) -> bool:
    """Whether its cage is its own; other steps share one where their policies are equal."""
    return step.agent in ALONE or step.own_policy


def explain_lines(plan: Plan) -> list[str]:
    """For people; every line may have text of the file's author in it."""
    lines = [plan.name + (f": {plan.description.strip()}" if plan.description.strip() else "")]
    for name, form in plan.inputs.items():
        about = f" ({form.description})" if form.description else ""
        given = f"; {_words(form.default)} where none is given" if has_default(form) else ""
        lines.append(f"  takes {name}, {form.type}{about}{given or '; it has to be given'}")
    if plan.variables:
        lines.append(f"  reads your variables {', '.join(plan.variables)}, and no others")
    if plan.policy:
        lines += ["", "The policy of its steps, from which a step of its own policy takes away:"]
        lines += [f"   {name}: {value}" for name, value in _policy_values(plan.policy).items()]
        lines.append(f"   money: all steps together {_money(plan.policy)}")
    for number, step in enumerate(plan.steps, 1):
        lines += ["", f"{number}. {step.name}: {_does(step)}"]
        lines += [f"   {line}" for line in (*_step_lines(step), *_policy_lines(step, plan.policy))]
    return lines


def _does(step: PlannedStep) -> str:
    what = DOES[step.agent]
    return f"{what} ({step.agent} {step.action})" if step.action else f"{what} ({step.agent})"


def _step_lines(step: PlannedStep) -> list[str]:
    lines = [f"after {', '.join(step.needs)}" if step.needs else "at the start"]
    if step.condition is not True:
        lines.append(f"only if {step.condition}")
    if step.matrix:
        lines.append(f"once for each combination of {', '.join(step.matrix)}")
    for key in _SETTINGS:
        if key in step.config:
            lines.append(f"{key}: {_words(step.config[key])}")
    if step.agent == "tool":
        argv = step.parameters.get("argv") or step.parameters.get("command") or []
        lines.append(f"runs: {' '.join(printable(str(word)) for word in argv)}")
    if step.attempts.most > 1:
        waits = ", ".join(format_duration(wait) for wait in step.attempts.delays_ns()[:3])
        most = "up to " if step.attempts.has_jitter else ""
        lines.append(f"up to {step.attempts.most} attempts, waiting {most}{waits}")
    if step.timeout_ns:
        lines.append(f"each attempt at most {format_duration(step.timeout_ns)}")
    if step.continue_on_error:
        lines.append("the workflow goes on where it fails")
    lines.append("in a cage of its own" if is_alone(step) else "in a cage with steps like it")
    return lines


def _policy_lines(step: PlannedStep, base: Policy | None) -> list[str]:
    """What its policy has otherwise than that of the workflow."""
    if step.policy is None or base is None:
        return []
    before = flatten(base)
    return [
        f"policy: {BY_NAME[key].path}: {format_value(key, value)}"
        for key, value in flatten(step.policy).items()
        if value != before[key]
    ]


def _policy_values(policy: Policy) -> dict[str, str]:
    flat = flatten(policy)
    if not policy.network.llm:
        flat["network.providers"] = ()
    return {BY_NAME[key].path: format_value(key, flat[key]) for key in _SHOWN}


def _money(policy: Policy) -> str:
    amount = policy.budget.usd_micro
    return f"at most {format_usd(amount)}" if amount else "without a limit"


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_words(one) for one in value)
    return printable(str(value))
