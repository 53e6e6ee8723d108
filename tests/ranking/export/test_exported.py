"""An opened export: without training code, with torch alone, compiled, and refused where a file is not what it was."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copytree

import numpy as np
import polars as pl
import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from ranking.batching import RankingBatch
from ranking.export.compilation import compiler_there, processor_name, runs_here
from ranking.export.exported import ExportedRanker
from ranking.export.exporting import ExportConfig, export_run
from ranking.export.frozen_rows import FrozenRows
from ranking.export.manifest import Compiled
from segrec.records import ConfigError, DataError
from segrec.tables.id_codes import MISSING_KEY

WITH_TORCH_ALONE = """
import json, sys
from pathlib import Path
import torch
from safetensors.torch import load_file

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
program = torch.export.load(folder / "dense.pt2").module()
tables = load_file(folder / "tables.safetensors")
table_of = {feature: table["name"] for table in manifest["embedding"]["tables"] for feature in table["features"]}
rows = [tables[table_of[feature] + ".weight"][2] for feature in manifest["embedding"]["features"]]
row = torch.cat([*rows, torch.zeros(len(manifest["dense_names"]))])
logit = program({"row": row[None]})
assert not [name for name in sys.modules if name.partition(".")[0] in ("ranking", "segrec", "torchrec", "fbgemm_gpu")]
print(float(logit[0]))
"""
WITHOUT_TRAINING = """
import sys
from ranking.export.exported import ExportedRanker
from segrec.records import DatasetFolder

ranker, dataset = ExportedRanker.open(sys.argv[1]), DatasetFolder.open(sys.argv[2])
source = ranker.predictor(dataset, ["test"]).source
inputs = ranker.inputs(dataset)
found = ranker.predict(source.frame(source.pieces[0], inputs.columns), inputs)
training = ("ranking.rankers", "ranking.training", "ranking.opened_run", "segrec.fitting")
assert not [name for name in sys.modules if name.startswith(training)]
print(float(found.sum()))
"""


def run_python(program, *arguments):
    line = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def test_opens_with_torch_alone(small_export):
    opened = ExportedRanker.open(small_export)
    names = list(opened.manifest.names)
    twos = KeyedJaggedTensor(keys=names, values=torch.full((len(names),), 2), lengths=torch.ones(len(names)).int())
    batch = RankingBatch(twos, torch.zeros(1, len(opened.manifest.dense_names)), torch.zeros(0), global_rows=1)
    assert run_python(WITH_TORCH_ALONE, small_export) == pytest.approx(opened.logits(batch).item(), abs=1e-5)


def test_predicts_without_training_code(small_export, click_log):
    predictor = ExportedRanker.open(small_export).predictor(click_log, ["test"])
    source = predictor.source
    inputs = source.inputs
    frame = source.frame(source.pieces[0], list(inputs.columns))
    here = ExportedRanker.open(small_export).predict(frame, inputs)
    assert run_python(WITHOUT_TRAINING, small_export, click_log.path) == pytest.approx(here.sum(), abs=1e-6)


def test_a_missing_column_of_a_request_is_named(small_export, click_log):
    opened = ExportedRanker.open(small_export)
    inputs = opened.inputs(click_log)
    rows = pl.DataFrame({"user_id": [1], "item_id": [2]})
    with pytest.raises(ConfigError, match=r"column 'time_ms' is missing from the rows .found: user_id, item_id."):
        opened.predict(rows, inputs)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("dense.pt2", Path.unlink, "dense.pt2: is missing from the exported ranker"),
        ("tables.safetensors", Path.unlink, "tables.safetensors: is missing from the exported ranker"),
        ("features/vocabularies/item_id.parquet", Path.unlink, "item_id.parquet: is missing from the exported ranker"),
        ("parity.json", Path.unlink, "parity.json: is missing from the exported ranker"),
        ("dense.pt2", flip, "dense.pt2: was changed after the export"),
        ("tables.safetensors", flip, "tables.safetensors: was changed after the export"),
        ("label.yaml", flip, "label.yaml: was changed after the export"),
        ("features/scaling.json", flip, "scaling.json: was changed after the export"),
        ("features/more.json", Path.touch, "more.json: is not in the manifest"),
        ("manifest.json", Path.unlink, "is not an exported ranker .manifest.json is missing."),
        ("manifest.json", lambda file: file.write_text("{"), "manifest.json: does not parse"),
        ("manifest.json", lambda file: file.write_text("{}"), r"does not parse .found: [a-z_]+: Field required"),
    ],
)
def test_a_folder_that_is_not_what_was_exported(name, damage, problem, small_export, tmp_path):
    folder = copytree(small_export, tmp_path / "export")
    damage(folder / name)
    with pytest.raises(DataError, match=problem) as refused:
        ExportedRanker.open(folder)
    assert "\n" not in str(refused.value)


def test_a_manifest_of_another_version(small_export, tmp_path):
    folder = copytree(small_export, tmp_path / "export")
    told = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**told, "embedding": {}}))
    with pytest.raises(DataError, match="was exported by another version"):
        ExportedRanker.open(folder)


def test_a_compiled_program_must_be_there(small_export):
    with pytest.raises(
        ConfigError, match=r"holds no program compiled for this cpu .found: nothing.; export with --aot"
    ):
        ExportedRanker.open(small_export, compiled=True)


def test_scores_must_be_given(made_run, made_scores, click_log, tmp_path):
    run = made_run(table=made_scores)
    export_run(run, tmp_path / "export", ExportConfig())
    with pytest.raises(ConfigError, match=r"export was trained with scores of segments: pass --scores"):
        ExportedRanker.open(tmp_path / "export").inputs(click_log)


def test_frozen_rows_by_hand():
    frozen = FrozenRows({"item": (torch.tensor([-5, 7, 90]), torch.tensor([4, 2, 3]))})
    features = KeyedJaggedTensor(
        keys=["user", "item"],
        values=torch.tensor([7, 7, 90, -5, 8, MISSING_KEY]),
        lengths=torch.tensor([1, 0, 3, 2]).int(),
    )
    found = frozen(features)
    assert found.values().tolist() == [7, 2, 3, 4, 1, 0]
    assert found.lengths().tolist() == [1, 0, 3, 2]
    again = FrozenRows.from_tensors(frozen.tensors())(features)
    assert again.values().tolist() == found.values().tolist()
    empty = FrozenRows({"item": (torch.zeros(0, dtype=torch.int64),) * 2})
    assert empty(features).values().tolist() == [7, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("changed", "here"),
    [({}, True), ({"processor": "another"}, False), ({"device": "cuda"}, False), ({"torch": "2.0.0"}, False)],
)
def test_a_compiled_program_runs_where_it_was_made(changed, here):
    told = {"file": "dense_cpu.pt2", "device": "cpu", "processor": processor_name("cpu"), "torch": version("torch")}
    made = {**told, **changed}
    package = Compiled.model_validate({name: value for name, value in made.items() if name != "torch"})
    assert runs_here(package, torch.device("cpu"), made["torch"]) == here


@pytest.mark.slow
def test_compiled_ahead_of_time_on_cpu(made_run, click_log, tmp_path):
    if not compiler_there():
        pytest.skip("g++ is not installed")
    run = made_run("logistic_regression", features={"only": ["item_id"], "label_rates": False})
    manifest, parity = export_run(run, tmp_path / "export", ExportConfig(compile_for="cpu"), dataset=click_log)
    assert manifest.compiled is not None
    assert parity.largest_difference <= 1e-5
    compiled, plain = (ExportedRanker.open(tmp_path / "export", compiled=which) for which in (True, False))
    inputs = compiled.inputs(click_log)
    rows = compiled.predictor(click_log, ["test"]).source
    frame = rows.frame(rows.pieces[0], inputs.columns)
    for size in (1, 2, 100):
        assert np.allclose(compiled.predict(frame[:size], inputs), plain.predict(frame[:size], inputs), atol=1e-6)


@pytest.mark.gpu
def test_compiled_ahead_of_time_on_cuda(made_run, click_log, tmp_path):
    run = made_run("dcn_v2")
    _, parity = export_run(run, tmp_path / "export", ExportConfig("int8", compile_for="cuda"), dataset=click_log)
    assert parity.holds
    opened = ExportedRanker.open(tmp_path / "export", "cuda", compiled=False)
    ours = run.predictor(click_log, ["test"])
    inputs = opened.inputs(click_log)
    frame = ours.source.frame(ours.source.pieces[0], inputs.columns)
    on_cpu = ExportedRanker.open(tmp_path / "export", compiled=False).predict(frame, inputs)
    assert np.allclose(opened.predict(frame, inputs), on_cpu, atol=1e-5)
