"""Wide characters take two columns of a terminal."""

from celeryhost.terminal import columns_of, cut, pad


def test_korean_names_keep_columns_straight():
    assert [columns_of(pad(name, 8)) for name in ("worker", "워커", "é")] == [8, 8, 8]
    assert pad("워", 4, right=True) == "  워"
    assert cut("워커일하다", 5) == "워커…"
    assert cut("워커", 4) == "워커"
