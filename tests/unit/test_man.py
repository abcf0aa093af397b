"""The manual says what the programs take: every option, every key, and none that is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from akiosctl.commands import VERBS, akiosctl
from akiosctl.policy_files import parse
from akiosctl.run_options import OPTIONS, SHORT
from akiosd.daemon.base.config import Config, parse_config
from akiosd.daemon.base.setting_ranges import RANGES
from akiosd.daemon.main import parse_arguments
from akiosd.policy.schema import SCHEMA, TOP_LEVEL
from akiosd.policy.yaml_lines import load_positions
from akiosd.values.units import format_size
from akiosd.values.workflow import Part
from akiosd.workflow.schema import read_workflow
from akiosd.workflow.steps.kinds import KINDS
from tests.unit import describe_policy, describe_workflow

MAN = Path(__file__).resolve().parents[2] / "packaging" / "man"
PAGES = (
    *("akiosd.8", "akiosctl.1", "akios-policy.5", "akiosd.yaml.5"),
    *("akios-events.5", "akios-ledger.5", "akios-workflow.5"),
)
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


def source(page: str) -> str:
    text = (MAN / page).read_text()
    return text.replace("\\-", "-").replace("\\&", "").replace("\\(aq", "'")


def sections(page: str) -> dict[str, str]:
    """Heading of either level → its text."""
    parts = re.split(r"^\.S[HS] (.+)$", source(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(text: str) -> set[str]:
    """What a tagged paragraph is about: the bold words of the lines after .TP."""
    return set(re.findall(r"^\.TP\n\\fB(.+?)\\fR", text, re.MULTILINE))


def options(text: str) -> set[str]:
    return {option for entry in entries(text) for option in OPTION.findall(entry)}


def click_commands(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found |= click_commands(command, f"{prefix}{name} ")
        elif command is not None:
            found[prefix + name] = command
    return found


def options_of(command: click.Command) -> set[str]:
    found = {
        option
        for param in command.params
        if isinstance(param, click.Option)
        for option in param.opts
    }
    return {option for option in found if option not in ("-h", "--help")}


def example(page: str) -> bytes:
    """What stands below EXAMPLE, as it is written."""
    return (
        source(page).partition(".SH EXAMPLE")[2].partition(".EX\n")[2].partition(".EE")[0].encode()
    )


COMMANDS = click_commands(akiosctl)
VERB_SECTIONS = {
    " ".join(takewhile(str.islower, heading.split())): text
    for heading, text in sections("akiosctl.1").items()
    if heading[0].islower()
}


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_a_verb_and_its_options_are_described_and_no_others(verb: str) -> None:
    assert options(VERB_SECTIONS[verb]) == options_of(COMMANDS[verb])


def test_every_verb_has_its_section() -> None:
    assert set(VERB_SECTIONS) == {"run", *COMMANDS}
    assert {verb.split()[0] for verb in VERB_SECTIONS} == set(VERBS)


def test_run_and_its_options_are_described_and_no_others() -> None:
    assert options(VERB_SECTIONS["run"]) == {*OPTIONS, *SHORT}


def test_the_global_options_are_described() -> None:
    assert options(sections("akiosctl.1")["GLOBAL OPTIONS"]) - {"-h", "--help"} == options_of(
        akiosctl
    )


def test_the_daemons_options_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    told = set(OPTION.findall(capsys.readouterr().out))
    assert told and options(sections("akiosd.8")["OPTIONS"]) == told


def test_the_keys_of_a_policy_are_written_from_the_table() -> None:
    text = describe_policy.PAGE.read_text()
    assert describe_policy.described(text) == {"", *SCHEMA}
    assert text == describe_policy.renewed(text), (
        "write it again: python -m tests.unit.describe_policy"
    )


def test_the_keys_of_a_workflow_are_written_from_its_schema() -> None:
    text = describe_workflow.PAGE.read_text()
    parts = {form.__name__ for form in Part.__subclasses__()}
    assert describe_workflow.described(text) == {*parts, *KINDS}
    assert text == describe_workflow.renewed(text), (
        "write it again: python -m tests.unit.describe_workflow"
    )
    read = read_workflow(example("akios-workflow.5"), "example")
    assert read.workflow is not None, read.places.errors


@pytest.mark.parametrize("section", SCHEMA)
def test_every_policy_key_is_described_and_no_others(section: str) -> None:
    assert entries(sections("akios-policy.5")[section]) == set(SCHEMA[section])


def test_the_top_level_of_a_policy_is_described() -> None:
    found = sections("akios-policy.5")
    assert entries(found["KEYS"]) | (set(found) & set(SCHEMA)) == set(TOP_LEVEL)


def test_every_key_of_the_configuration_is_described_with_its_default() -> None:
    found = sections("akiosd.yaml.5")
    plain = set()
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            inner = msgspec.structs.fields(field.type)
            assert entries(found[field.name]) == {key.name for key in inner}
            for key in inner:
                if key.default is msgspec.NODEFAULT:
                    continue  # a table, empty where it is not given
                large = "bytes" in key.name and key.default
                default = format_size(key.default) if large else str(key.default)
                assert default in found[field.name], key.name
        else:
            plain.add(field.name)
            shown = str(field.default)
            if isinstance(field.default, bool):
                shown = shown.lower()  # as YAML has it
            assert shown in found["KEYS"], field.name
    assert entries(found["KEYS"]) == plain


def test_the_examples_are_read_without_a_complaint() -> None:
    config = parse_config(example("akiosd.yaml.5"), "akiosd.yaml")
    assert config.gateway.providers and config.gateway.prices
    assert parse(example("akios-policy.5"), "policy.yaml").values["limits.memory"] == 512 << 20


def test_every_number_of_the_configuration_is_described_with_its_range() -> None:
    found = sections("akiosd.yaml.5")
    for setting, allowed in RANGES.items():
        section, _, key = setting.partition(".")
        (text,) = re.findall(rf"^\\fB{key}\\fR .*\n(.+)", found[section], re.MULTILINE)
        assert text.endswith(f" From {allowed}."), setting


def test_the_example_of_the_configuration_has_every_key_and_is_taken() -> None:
    example = re.search(r"^\.EX\n(.*?)^\.EE", source("akiosd.yaml.5"), re.DOTALL | re.MULTILINE)
    assert example is not None
    parse_config(example[1].encode(), "the example")
    values: dict[str, Any] = dict(load_positions(example[1].encode(), "the example")[0])
    for field in msgspec.structs.fields(Config):
        inner = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        keys = {key.name for key in msgspec.structs.fields(field.type)} if inner else set()
        assert field.name in values and keys <= set(values[field.name] if inner else ())


def test_exit_statuses_are_those_of_the_reasons() -> None:
    assert {"125", "126", "127", "128+n", "137"} < entries(
        sections("akiosctl.1")["EXIT STATUS OF RUN"]
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_formatted_without_complaint(page: str) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", MAN / page], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_mandoc_reads_the_pages_too() -> None:
    """Debian's man is groff's; others', BSD's and Alpine's, is mandoc."""
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    pages = [MAN / page for page in PAGES]
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True, text=True
    )
    # A package has the date; and every paragraph begins alike here, also the first of a section.
    meant = ("missing date", "PP after SH", "PP after SS")
    found = (done.stdout + done.stderr).splitlines()
    assert [line for line in found if not any(words in line for words in meant)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_refers_to_pages_that_exist(page: str) -> None:
    for name, section in re.findall(r"\b(akios[\w.-]*)\((\d)\)", source(page).replace("\\fR", "")):
        assert f"{name}.{section}" in PAGES


def test_there_are_no_other_pages() -> None:
    assert {path.name for path in MAN.iterdir()} == set(PAGES)
