"""An export answers as its run does: every ranker, every use of scores, several labels, ids that come and go."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ranking.batching import make_batch
from ranking.export.exported import ExportedRanker
from ranking.export.exporting import ExportConfig, export_run
from ranking.export.manifest import ExportManifest
from ranking.export.tables import stored_table
from ranking.rankers import RANKERS
from segrec.records import DataError, DatasetFolder

HISTORY = {"features": {"history": {"length": 4}}}


@pytest.fixture
def exported(made_run, click_log, tmp_path):
    """(run settings, quantise) -> the run, what was exported, and how the two compare."""

    def make(name="dcn_v2", quantise="none", dataset=click_log, **settings):
        run = made_run(name, **settings)
        manifest, parity = export_run(run, tmp_path / "export", ExportConfig(quantise), dataset=dataset)
        return run, manifest, parity

    return make


def answers(run, dataset, export):
    """Of a run and its export, for the test rows: whole, one row at a time, and for no row."""
    ours = run.predictor(dataset, ["test"])
    opened = ExportedRanker.open(export)
    theirs = opened.predictor(dataset, ["test"], run.scores)
    rows = ours.source.frame(ours.source.pieces[0], list(theirs.source.inputs.columns)).head(40)
    inputs = opened.inputs(dataset, run.scores)
    asked = ours.source.inputs.encode(rows)
    batch = make_batch(asked, ours.source.names, asked.rows, ours.max_segments)
    together = opened.predict(rows, inputs)
    alone = np.concatenate([opened.predict(rows[place : place + 1], inputs) for place in range(5)])
    assert opened.predict(rows[:0], inputs).shape == (0, *together.shape[1:])
    return ours.answers(batch), together, alone


@pytest.mark.parametrize("name", sorted(RANKERS))
def test_every_ranker(name, exported, click_log, tmp_path):
    run, manifest, parity = exported(name, **HISTORY)
    assert parity.largest_difference <= 1e-5
    assert parity.labels == {"is_click": "logged"}
    ours, together, alone = answers(run, click_log, tmp_path / "export")
    assert np.ptp(ours) > 0.01
    assert np.allclose(together, ours, atol=1e-5)
    assert np.allclose(alone, ours[:5], atol=1e-5)
    assert (manifest.ranker, manifest.outputs) == (name, ("is_click",))
    past = [part for part in manifest.program_inputs if part.name == "past"]
    assert bool(past) == RANKERS[name].reads_histories
    if past:
        width = 2 * run.config.embedding_dim
        assert past[0].shape == ("B", 4 if name == "dien" else "T", width)


@pytest.mark.parametrize("enter", ["head", "input"])
@pytest.mark.parametrize("use", ["both", "features"])
def test_scores_as_weights_and_features(use, enter, exported, made_scores, tmp_path):
    run, manifest, _ = exported("deep_fm", table=made_scores, scores={"use": use, "enter": enter})
    ours, together, alone = answers(run, DatasetFolder.open(run.run.meta.dataset), tmp_path / "export")
    assert np.allclose(together, ours, atol=1e-5)
    assert np.allclose(alone, ours[:5], atol=1e-5)
    assert manifest.segments == (use == "both")
    assert ("scores" in [part.name for part in manifest.program_inputs]) == (use == "both")
    assert "score_mean" in manifest.dense_names


@pytest.mark.parametrize("weighting", ["segsum", "segadjust"])
def test_weightings_without_a_table(weighting, exported):
    _, manifest, parity = exported(scores={"use": "weights", "weighting": weighting})
    assert manifest.scores is None
    assert parity.largest_difference <= 1e-5


def test_several_labels(exported, click_log, tmp_path):
    run, manifest, parity = exported("wide_deep", labels="is_click+watch_time", tasks={"head": "mmoe"})
    assert manifest.outputs == ("is_click", "watch_time")
    assert parity.labels == {"is_click": "logged", "watch_time": "drawn"}
    ours, together, alone = answers(run, click_log, tmp_path / "export")
    assert together.shape[1] == 2
    assert together[:, 1].max() > 1  # seconds, not a probability
    assert np.allclose(together, ours, atol=1e-5)
    assert np.allclose(alone, ours[:5], atol=1e-5)


def test_hashed_and_managed_ids(exported, click_log, tmp_path):
    tables = {"user_id": {"ids": "hash", "rows": 16}, "item_id": {"ids": "managed", "rows": 24}}
    run, manifest, _ = exported("din", tables=tables, **HISTORY)
    assert manifest.managed == ("item_id", "past_item_id")
    ours, together, _ = answers(run, click_log, tmp_path / "export")
    assert np.allclose(together, ours, atol=1e-5)


@pytest.mark.parametrize("name", ["dcn_v2", "can"])
def test_int8_tables_are_small_and_cost_little(name, exported, tmp_path):
    run, _, parity = exported(name, quantise="int8", **HISTORY)
    stored = load_file(tmp_path / "export" / "tables.safetensors")
    trained = load_file(run.run.path / "model.safetensors")
    user = next(value for key, value in trained.items() if key.endswith("00_user_id.weight"))
    assert {value.dtype for value in stored.values()} == {torch.uint8, torch.float16}
    assert stored["00_user_id.weight"].shape == user.shape
    assert 1e-5 < parity.largest_difference < 0.05
    told = json.loads((tmp_path / "export" / "parity.json").read_text())
    assert told["holds"]
    assert told["auc_loss"] == parity.auc_loss
    assert abs(parity.auc_loss["is_click"]) < 1e-3


def test_half_precision_tables_stay_what_they_are(exported, tmp_path):
    _, _, parity = exported("dcn_v2", table_dtype="fp16", **HISTORY)
    assert {value.dtype for value in load_file(tmp_path / "export" / "tables.safetensors").values()} == {torch.float16}
    assert parity.tolerance == 1e-3
    assert parity.largest_difference < 2e-4


def test_int8_rows_by_hand():
    stored = stored_table(torch.tensor([[0.0, 0.5, 1.0, 0.25], [-1.0, -1.0, -1.0, -1.0]]), "int8")
    # Row 0: scale 1 / 255, bias 0. Row 1: nothing varies, so that its bias is the value.
    assert stored["weight"][0].tolist() in ([0, 127, 255, 64], [0, 128, 255, 64])
    assert stored["scale_bias"][:, 1].tolist() == [0.0, -1.0]
    assert stored["scale_bias"][0, 0].item() == pytest.approx(1 / 255, rel=1e-3)


def test_made_rows_where_the_dataset_is_gone(exported):
    _, _, parity = exported("dcn_v2", dataset=None, **HISTORY)
    assert (parity.checked_on, parity.rows) == ("made rows", 4096 + 8)
    assert parity.labels == {"is_click": "drawn"}
    assert parity.auc_loss == {"is_click": 0.0}


@pytest.mark.parametrize(("quantise", "problem"), [("none", "answers otherwise"), ("int8", "loses AUC")])
def test_an_export_that_answers_otherwise_is_not_written(quantise, problem, exported, tmp_path, monkeypatch):
    def turned(weight, quantise):
        return stored_table(-weight, quantise)

    monkeypatch.setattr("ranking.export.exporting.stored_table", turned)
    with pytest.raises(DataError, match=f"its export {problem} .checked on made rows. .found: "):
        exported("logistic_regression", quantise, dataset=None)
    assert not (tmp_path / "export").exists()
    assert not list(tmp_path.glob(".export*"))


def test_the_manifest_tells_whose_it_is(small_export, click_log):
    manifest = ExportManifest.open(small_export)
    assert manifest.label == "is_click"
    assert manifest.dataset_fingerprint == click_log.meta.fingerprint
    assert manifest.names[:3] == ("user_id", "item_id", "author_id")
    assert manifest.columns["item"] == ("tag", "upload_dt")
    assert [(part.name, part.dtype, part.shape[0]) for part in manifest.program_inputs] == [("row", "float32", "B")]
    assert set(manifest.files) >= {"dense.pt2", "tables.safetensors", "label.yaml", "features/spec.yaml", "parity.json"}
    assert "torch" in manifest.versions
