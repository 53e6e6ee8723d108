"""`segrec embed` from folders and lines to segments/NAME/, through checkpoints on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ranking.cli import main
from segrec.records import DatasetFolder

VectorsOf = Callable[[DatasetFolder, str], dict[tuple[Any, int], np.ndarray]]


@pytest.fixture
def segrec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["segrec", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


def _lines(file: Path, *lines: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return file


def _swin_mean(swin: Path, files: list[Path]) -> np.ndarray:
    """Each file alone through the model; mean over positions, then over files."""
    from transformers import AutoImageProcessor, SwinModel

    processor, model = AutoImageProcessor.from_pretrained(swin, backend="pil"), SwinModel.from_pretrained(swin).eval()
    with torch.no_grad():
        states = [
            model(**processor(images=Image.open(file), return_tensors="pt")).last_hidden_state[0] for file in files
        ]
    assert states[0].shape == (16, 16)
    return torch.stack(states).mean((0, 1)).numpy()


def _bert_cls(bert: Path, text: str) -> np.ndarray:
    from transformers import AutoTokenizer, BertModel

    tokenizer, model = AutoTokenizer.from_pretrained(bert), BertModel.from_pretrained(bert).eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0].numpy()


def test_frames_of_a_segment_become_the_mean_of_their_patches(
    rooms: DatasetFolder, swin: Path, paint: Callable[..., Path], segrec: Callable[..., Any], vectors_of: VectorsOf
) -> None:
    first = [paint(f"7/0_{frame}.png", seed=frame) for frame in range(3)]
    later = [paint(f"8/{ms}.png", seed=9 + ms) for ms in (30_000, 59_999)]
    paint("8/60000.png")  # after the last segment
    paint("99/0_0.png")
    code, out, err = segrec("embed", rooms.path, "--visual", first[0].parents[1], "--model", swin)
    assert (code, err) == (0, "")
    found = vectors_of(rooms, "visual")
    assert set(found) == {(7, 0), (8, 1)}
    np.testing.assert_allclose(found[7, 0], _swin_mean(swin, first), atol=1e-5)
    np.testing.assert_allclose(found[8, 1], _swin_mean(swin, later), atol=1e-5)
    assert "contents: 5, distinct 5, encoded now 5\n" in out
    assert "segments without content, so without a vector: 4 of 6\n" in out
    assert "left out: unknown item_id: 1, no such segment in the room: 1\n" in out
    model = rooms.vectors("visual").meta.model
    assert model.startswith(f"{swin} (sha256 ")
    assert model.endswith("), mean of last_hidden_state, float32, mean of 3 frames")


def test_a_segments_text_is_speech_then_comments(
    rooms: DatasetFolder, bert: Path, tmp_path: Path, segrec: Callable[..., Any], vectors_of: VectorsOf
) -> None:
    lines = _lines(
        tmp_path / "said.jsonl",
        {"item_id": 7, "segment": 1, "source": "comment", "text": "nice [smile]"},
        {"item_id": 7, "time_ms": 31_000, "source": "speech", "text": "hello   now"},
        {"item_id": 7, "time_ms": 59_000, "source": "comment", "text": "nice"},
        {"item_id": 7, "segment": 4, "source": "comment", "text": "hello now nice"},
        {"item_id": "8", "segment": 0, "source": "comment", "text": "😀"},
    )
    code, out, _ = segrec("embed", rooms.path, "--texts", lines, "--model", bert, "--max-tokens", 64, "--name", "words")
    assert code == 0
    found = vectors_of(rooms, "words")
    assert set(found) == {(7, 1), (7, 4)}
    np.testing.assert_allclose(found[7, 1], _bert_cls(bert, "hello now nice"), atol=1e-5)
    np.testing.assert_array_equal(found[7, 1], found[7, 4])
    assert "contents: 2, distinct 1, encoded now 1\n" in out
    assert "segments whose text is empty after cleaning: 1" in out


def test_the_datasets_own_texts(
    rooms: DatasetFolder, bert: Path, segrec: Callable[..., Any], vectors_of: VectorsOf
) -> None:
    import polars as pl

    pl.DataFrame(
        {"item_id": [7, 8], "segment": [0, 1], "time_ms": [5, 40_000], "source": ["speech", "comment"],
         "text": ["good room", "sale"]}
    ).write_parquet(rooms.path / "texts.parquet")  # fmt: skip
    code, _, _ = segrec(
        "embed", rooms.path, "--texts", "dataset", "--model", bert, "--max-tokens", 64, "--vectors-type", "float16"
    )
    found = vectors_of(rooms, "text")
    assert code == 0
    assert rooms.vectors("text").meta.dtype == "float16"
    np.testing.assert_allclose(found[8, 1], _bert_cls(bert, "sale"), atol=2e-3)


def test_a_short_video_and_its_frozen_end(
    write_videos_dataset: Callable[..., DatasetFolder], make_video: Callable[..., Path], swin: Path,
    segrec: Callable[..., Any], vectors_of: VectorsOf,
) -> None:  # fmt: skip
    """Frames begin at 0, 2 and 4 s, the last lasts to the end at 12 s: seven of nine moments show the same picture."""
    dataset = write_videos_dataset({5: 12_000, 6: 5_000})
    video = make_video("videos/5.mkv", "ffv1", ticks=[0, 2_000, 4_000, 11_950])
    folder = video.parents[1]
    code, out, _ = segrec("embed", dataset.path, "--visual", video.parent, "--model", swin)
    assert code == 0
    assert "contents: 9, distinct 3, encoded now 3\n" in out
    assert "segments without content, so without a vector: 1 of 4\n" in out
    found = vectors_of(dataset, "visual")
    assert set(found) == {(5, 0), (5, 1), (5, 2)}
    np.testing.assert_array_equal(found[5, 1], found[5, 2])
    for name, number in (("a", 0), ("b", 1), ("c", 2)):
        bits = np.repeat(np.unpackbits(np.array([number], np.uint8), bitorder="little") * 255, 8)
        picture = np.broadcast_to(bits[None, :, None], (32, 64, 3))
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.png")
    expected = _swin_mean(swin, [folder / f"{name}.png" for name in "abc"])
    np.testing.assert_allclose(found[5, 0], expected, atol=1e-3)


def test_an_existing_name_is_kept_unless_it_may_be_replaced(
    rooms: DatasetFolder, bert: Path, tmp_path: Path, segrec: Callable[..., Any], vectors_of: VectorsOf
) -> None:
    lines = _lines(tmp_path / "a.jsonl", {"item_id": 7, "segment": 0, "source": "speech", "text": "hello"})
    call = ("embed", rooms.path, "--texts", lines, "--model", bert, "--max-tokens", "64")
    assert segrec(*call)[0] == 0
    before = vectors_of(rooms, "text")[7, 0].copy()
    _lines(lines, {"item_id": 7, "segment": 0, "source": "speech", "text": "sale"})
    code, _, err = segrec(*call)
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith("segments/text: exists already; choose another --name, or pass --overwrite\n")
    np.testing.assert_array_equal(vectors_of(rooms, "text")[7, 0], before)
    assert segrec(*call, "--overwrite")[0] == 0
    np.testing.assert_allclose(vectors_of(rooms, "text")[7, 0], _bert_cls(bert, "sale"), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "segrec embed takes --visual FOLDER or --texts FILE.jsonl (found: neither)"),
        (["--visual", "a", "--texts", "b"], "segrec embed takes --visual FOLDER or --texts FILE.jsonl (found: both)"),
        (["--visual", "a", "--pool", "cls"], "--pool cls is not for visual (expected: patches or pooled)"),
        (["--texts", "a", "--pool", "patches"], "--pool patches is not for text (expected: cls or mean)"),
        (["--texts", "a", "--pool", "max"], "field 'pool': Input should be 'patches', 'pooled', 'cls' or 'mean'"),
        (["--texts", "a", "--name", "../up"], "field 'name': String should match pattern"),
        (["--texts", "a", "--device", "tpu"], "field 'device': Input should be 'auto', 'cpu' or 'cuda'"),
        (["--texts", "a", "--vectors-type", "int8"], "field 'vectors_type': Input should be 'float16' or 'float32'"),
        (["--texts", "nowhere.jsonl"], "nowhere.jsonl: cannot be read: No such file or directory"),
        (["--visual", "nowhere"], "nowhere: is not a folder"),
        (["--texts", "dataset"], "has no texts.parquet; pass --texts FILE.jsonl"),
    ],
)
def test_wrong_use_is_one_line(
    rooms: DatasetFolder, segrec: Callable[..., Any], options: list[str], message: str
) -> None:
    code, out, err = segrec("embed", rooms.path, "--model", "no-such-model", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [entry.name for entry in (rooms.path / "segments").iterdir()] == ["part-00000.parquet"]


def test_a_missing_model_is_one_line_and_asks_no_network(
    rooms: DatasetFolder, tmp_path: Path, segrec: Callable[..., Any]
) -> None:
    lines = _lines(tmp_path / "a.jsonl", {"item_id": 7, "segment": 0, "source": "speech", "text": "hello"})
    code, out, err = segrec("embed", rooms.path, "--texts", lines, "--model", "nobody/no-such-model")
    assert (code, out) == (2, "")
    assert err == (
        "segrec: error: nobody/no-such-model: is neither a folder nor a model in the local Hugging Face cache; "
        "pass the folder of a checkpoint, or --download to fetch it by its hub name\n"
    )


def test_nothing_to_embed_is_told_with_the_reasons(
    rooms: DatasetFolder, bert: Path, tmp_path: Path, segrec: Callable[..., Any]
) -> None:
    lines = _lines(
        tmp_path / "a.jsonl",
        {"item_id": 7, "segment": 3, "source": "speech", "text": "hello"},
        {"item_id": 1, "segment": 0, "source": "speech", "text": "hello"},
    )
    code, _, err = segrec("embed", rooms.path, "--texts", lines, "--model", bert, "--max-tokens", 64)
    assert code == 2
    assert "no segment has content (found: unknown item_id: 1, no such segment in the room: 1)" in err
    assert not (rooms.path / "segments" / "text").exists()


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    program = (
        "import sys; from ranking.cli import build_app; build_app();"
        "print(sorted({'transformers', 'av', 'PIL', 'torch', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
