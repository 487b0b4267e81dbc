"""Apps that stay on a host when they are taken out of celery_apps."""

from __future__ import annotations

from celeryhost.states.left_apps import bring


def test_only_what_celeryhost_has_made_and_nobody_describes(tmp_path, root):
    made = (root / "templates" / "celery.conf.j2").read_text()
    (tmp_path / "shop-celery.conf").write_text(made)
    (tmp_path / "mysite-celery.conf").write_text(made)
    (tmp_path / "theirs-celery.conf").write_text("[program:theirs]\ncommand=celery\n")
    found = bring({"folder": str(tmp_path), "apps": ["mysite"]}, True)
    (line,) = found["lines"]
    assert line.startswith("App shop is not in celery_apps")
    assert f"rm -f {tmp_path}/shop-celery.conf " in line
    assert not found["changed"]
    assert bring({"folder": str(tmp_path / "none"), "apps": []}, True)["lines"] == []
