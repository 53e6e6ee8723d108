"""The command line as a whole: every command's help, exit codes, one line on stderr, and a quick start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.rankers import RANKERS
from segrec.encoders import ENCODERS

_NAMED = {
    "demo", "simulate", "simulate short", "simulate live", "read", "embed", "fit", "score", "evaluate",
    "evaluate skip", "evaluate highlight", "evaluate ctr", "rank", "report", "doctor", "export", "predict",
    "checkpoint", "checkpoint inspect", "checkpoint diff", "checkpoint export",
}  # fmt: skip


def _commands() -> dict[str, Any]:
    """Every command and group by its full name."""
    found: dict[str, Any] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        if path:
            found[" ".join(path)] = command
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, name))

    walk(typer.main.get_command(build_app()), ())
    return found


def _segrec(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ranking.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_every_promised_command_is_there() -> None:
    assert set(_commands()) >= _NAMED


@pytest.mark.parametrize("name", sorted(_NAMED))
def test_help_of_each_command(name: str) -> None:
    done = CliRunner().invoke(build_app(), [*name.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output


def test_no_help_loses_words_in_brackets() -> None:
    """Help is read as rich markup, in which [word] is a style."""
    told = [str(param.help) for command in _commands().values() for param in command.params if hasattr(param, "help")]
    assert [text for text in told if re.search(r"(?<!\\)\[[a-z]", text)] == []


def test_help_names_every_encoder_and_ranker() -> None:
    for command, names in (("fit", ENCODERS), ("rank", RANKERS)):
        told = str(_commands()[command].params[0].help)
        assert [name for name in names if name not in told] == []


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in _commands().items():
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert parameter.help, f"{name} {parameter.opts[0]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["unheard-of"],
        ["evaluate", "unheard-of"],
        ["simulate", "unheard-of"],
        ["report"],
        ["report", "X", "--unheard-of"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(build_app(), arguments).exit_code == 2


def test_bad_input_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path) -> None:
    done = _segrec("report", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "segrec: error: nowhere: is not a run folder, nor does it hold any (run.json is missing); "
        "pass what `segrec fit` or `segrec rank` wrote\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_our_own_fault_is_a_traceback_and_exit_code_1(tmp_path: Path) -> None:
    broken = "import ranking.report as r; r.write_page = 1; from ranking.cli import main; main()"
    command = [sys.executable, "-c", broken, "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "TypeError" in done.stderr


def test_help_does_not_load_torch() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from ranking.cli import build_app; "
        "done = CliRunner().invoke(build_app(), ['--help']); assert done.exit_code == 0; "
        "print([name for name in ('torch', 'torchrec', 'polars.testing', 'altair') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
