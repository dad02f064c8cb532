"""The fields that a framework keeps with the items that it records."""

from __future__ import annotations

import pytest

from rtllm.adapters import carried_in, fields_to_keep, mark_in


@pytest.mark.parametrize("mark", ["mark", None])
@pytest.mark.parametrize("carried", [b'{"call":{}}', None])
def test_what_is_kept_comes_back(mark: str | None, carried: bytes | None) -> None:
    fields = fields_to_keep(mark, carried)
    assert (fields is None) is (mark is None and carried is None)
    assert (mark_in(fields), carried_in(fields)) == (mark, carried)


@pytest.mark.parametrize(
    "strange",
    [None, "text", {}, {"rtllm": "text"}, {"rtllm": {"mark": 1, "carried": b"x"}}],
    ids=["none", "a text", "empty", "another's", "other types"],
)
def test_fields_that_are_not_ours_have_nothing(strange: object) -> None:
    assert (mark_in(strange), carried_in(strange)) == (None, None)
