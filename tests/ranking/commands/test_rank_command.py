"""`segrec rank` on the command line: what it prints, leaves and refuses."""

from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from ranking.cli import build_app
from ranking.commands import rank
from ranking.rankers import RANKERS
from segrec.records import RunFolder


def test_help_names_every_ranker():
    """Written out there, because a registry would bring torch with it."""
    help_of = get_type_hints(rank.rank, include_extras=True)["ranker"].__metadata__[0].help
    assert help_of == f"{', '.join(sorted(RANKERS))}, or an installed one"


FAST = ["--set", "epochs=1", "--set", "device=cpu", "--set", "embedding_dim=4"]


@pytest.mark.parametrize(
    "ranker",
    [["dcn_v2"], ["adagin"], ["dcn_mix"], ["final_mlp", "--set", "first_context=[user_id]"], ["dien"], ["can"]],
)
def test_trains_and_tells(ranker, click_log, tmp_path):
    result = CliRunner().invoke(
        build_app(),
        ["rank", *ranker, str(click_log.path), "--label", "is_click", "--out", str(tmp_path / "run"), *FAST],
    )
    assert result.exit_code == 0, result.output
    assert "valid: LogLoss" in result.output
    assert RunFolder.open(tmp_path / "run", "ranker").meta.label == "is_click"


@pytest.mark.parametrize(
    ("ranker", "arguments", "message"),
    [
        ("dcn", [], "unknown ranker 'dcn' (known: "),
        ("dcn_v2", ["--label", "is_liked"], "label 'is_liked' is not in"),
        ("dcn_v2", ["--set", "epoch=1"], "unknown field 'epoch' (known: epochs, batch_size"),
        ("dcn_v2", ["--set", "scores.use=weights"], "pass --scores SCORES.parquet"),
        ("dcn_v2", ["--set", "features.only=[watch_ms]"], "feature 'watch_ms' is the row's own outcome"),
        ("dcn_v2", ["--scores", "nowhere.parquet"], "nowhere.parquet: cannot be read as Parquet"),
        (
            "final_mlp",
            ["--set", "first_context=[usr]"],
            "first_context: 'usr' is no id or bag of this ranker (found: user_id",
        ),
        ("dcn_v2", ["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_bad_use_is_one_line_and_exit_2(ranker, arguments, message, click_log, refused_run):
    label = [] if "--label" in arguments else ["--label", "is_click"]
    assert message in refused_run("rank", ranker, str(click_log.path), *label, *arguments)


def test_no_dataset_there(tmp_path, refused_run):
    assert "is not a dataset folder" in refused_run("rank", "dcn_v2", str(tmp_path), "--label", "is_click")
