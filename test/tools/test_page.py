"""BENCHMARK.md keeps the chapters that were not measured again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import provenance
from benchmarks.page import write_page
from benchmarks.provenance import keep_figures


def test_chapters_without_figures_stay_as_they_are(tmp_path: Path) -> None:
    page, figures = tmp_path / "BENCHMARK.md", tmp_path / "figures"
    figures.mkdir()
    page.write_text(
        "# Benchmark\n\nHead.\n\n## Covariance\n\nOlder code.\n\n## Memory\n\nOlder.\n\n### Part\n\n| a |\n"
    )
    write_page(figures, page)
    kept = page.read_text()
    assert kept.endswith("## Covariance\n\nOlder code.\n\n## Memory\n\nOlder.\n\n### Part\n\n| a |\n")
    soak = {"minutes": 3.0, "rate_hz": 30.0, "statuses": {"OK": 7}, "memory_mb": {"localizer": 160.0}}
    soak["growth_mb"] = {"localizer": 1.25}
    (figures / "soak.json").write_text(json.dumps(soak))
    write_page(figures, page)
    text = page.read_text()
    assert text.startswith(kept.partition("Older.")[0])
    assert "Older." not in text
    assert "+1.2 MB" in text


def test_a_chapter_of_several_sections_is_written_when_all_are_there(tmp_path: Path) -> None:
    page, figures = tmp_path / "BENCHMARK.md", tmp_path / "figures"
    figures.mkdir()
    page.write_text("# Benchmark\n\n## Live, over DDS\n\nOlder.\n")
    (figures / "live_redkitchen.json").write_text("{}")
    write_page(figures, page)
    assert "Older." in page.read_text()


def test_a_chapter_names_the_revision_it_was_measured_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "BENCHMARK.md"
    monkeypatch.setattr(provenance, "FIGURES", tmp_path)
    soak = {"minutes": 20.0, "rate_hz": 30.0, "statuses": {"OK": 7}, "memory_mb": {"localizer": 160.0}}
    keep_figures("soak", {**soak, "growth_mb": {"localizer": 1.25}}, measured_at="0123456789")
    write_page(tmp_path, page)
    assert page.read_text().endswith("\n\nMeasured at `0123456789`.\n")
