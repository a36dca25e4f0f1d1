"""`vloc map view` writes one page."""

from vloc_ros.cli.main import main


def test_page_is_written(scene_folder, tmp_path, capsys):
    page = tmp_path / "pages" / "map.html"
    assert main(["map", "view", str(scene_folder.map), "--out", str(page)]) == 0
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert str(page) in capsys.readouterr().out


def test_a_missing_map_is_one_line(tmp_path, capsys):
    assert main(["map", "view", str(tmp_path / "gone"), "--out", str(tmp_path / "map.html")]) == 1
    assert str(tmp_path / "gone") in capsys.readouterr().err
    assert not (tmp_path / "map.html").exists()
