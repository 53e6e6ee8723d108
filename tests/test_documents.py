"""Documents and examples say nothing that is not so: commands, options, messages, links and names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from ranking.cli import build_app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*")])


def _blocks(text: str) -> list[str]:
    """Lines of code: indented by four, or fenced, or a whole script."""
    fenced = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, flags=re.DOTALL)
    indented = re.findall(r"^    (.*)$", text, flags=re.MULTILINE)
    return [*"\n".join(fenced).splitlines(), *indented]


def _shown_commands(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines() if file.suffix == ".sh" else _blocks(text)
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [line.strip() for line in joined if re.match(r"\s*segrec\s+[a-z]", line)]


SHOWN = [
    (file.relative_to(ROOT).as_posix(), line) for file in DOCUMENTS if file.is_file() for line in _shown_commands(file)
]


@pytest.mark.parametrize(("file", "line"), SHOWN)
def test_shown_commands_and_options_exist(file: str, line: str) -> None:
    words = re.sub(r"[\[\]]|\.\.\.", " ", re.split(r" \| | #|   ", line)[0]).split()[1:]
    command: Any = typer.main.get_command(build_app())
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{file}: {line}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known | {"--help"}, f"{file}: {line}"


@pytest.mark.parametrize("line", [line for file, line in SHOWN if file == "examples/quickstart.sh"])
def test_quickstart_parses_as_it_stands(line: str) -> None:
    command: Any = typer.main.get_command(build_app())
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


def test_the_way_is_shown() -> None:
    told = "\n".join(line for _, line in SHOWN)
    for command in (
        "read table",
        "fit segment_interest",
        "score",
        "evaluate skip",
        "rank dcn_v2",
        "evaluate ctr",
        "report",
    ):
        assert f"segrec {command}" in told


def test_messages_in_the_faq_are_in_the_code() -> None:
    code = "\n".join(
        file.read_text(encoding="utf-8") for room in ("segrec", "ranking") for file in (ROOT / room).rglob("*.py")
    )
    code = code.replace("`", "")
    messages = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(messages) > 10
    assert [message for message in messages if message not in code] == []


@pytest.mark.parametrize("file", [file for file in DOCUMENTS if file.suffix == ".md"], ids=lambda file: file.name)
def test_links_between_documents_lead_somewhere(file: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    local = [target for target in targets if not re.match(r"https?:", target)]
    assert [target for target in local if not (file.parent / target).exists()] == []


def test_python_in_documents_compiles_and_imports() -> None:
    for file in DOCUMENTS:
        if file.suffix == ".md":
            for block in re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), flags=re.DOTALL):
                compile(block, str(file), "exec")
                imports = [line for line in block.splitlines() if re.match(r"(from (segrec|ranking)|import)\b", line)]
                exec("\n".join(imports), {})


def test_serving_example_gives_what_it_says() -> None:
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    scope: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0], scope)
    assert getattr(scope["columns"], "shape", None) == (2, 32)


def test_no_field_is_left_to_fill_in() -> None:
    for file in DOCUMENTS:
        if file.is_file():
            assert not re.search(r"\b(TODO|FIXME|TBD|XXX)\b", file.read_text(encoding="utf-8")), file.name


def test_changelog_knows_the_version() -> None:
    version = re.search(
        r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["torch", "torchrec"])
def test_readme_names_the_pinned_versions(name: str) -> None:
    constraints = (ROOT / "packaging" / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(rf"^{name}==(.*)$", constraints, flags=re.MULTILINE)
    assert pinned is not None
    assert f"| {name} | {pinned[1]} |" in (ROOT / "README.md").read_text(encoding="utf-8")
    if name == "torch":
        assert f"torch=={pinned[1]}" in (ROOT / "Makefile").read_text(encoding="utf-8")
