"""How much of a request is taken."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.protocol.errors import BadRequest
from cds_service.trust.limits import is_deeper_than, read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('[]{}"\\a', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\a', max_size=4), inner, max_size=3),
    max_leaves=30,
)


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(value=JSON, limit=st.integers(0, 12))
def test_the_depth_is_exact_whatever_the_strings_hold(value, limit):
    assert is_deeper_than(orjson.dumps(value), limit) is (depth_of(value) > limit)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_the_deepest_allowed_body_is_taken_and_the_next_is_not(opening):
    closing = "]" if opening == "[" else "}"
    inner = "" if opening == "[" else "1"
    assert read_json(f"{opening * 64}{inner}{closing * 64}".encode(), 64)
    with pytest.raises(BadRequest, match="more than 64 levels"):
        read_json(f"{opening * 65}{inner}{closing * 65}".encode(), 64)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1,}',
        b"NaN",
        b"[Infinity]",
        b"[1e999]",
        b'["\\ud800"]',
        b"\xff",
        b"// comment\n{}",
        b"[" * 100_000,
    ],
)
def test_what_is_not_json_is_refused_without_quoting_it(body):
    with pytest.raises(BadRequest) as error:
        read_json(body, 64)
    assert error.value.text.startswith("The body is not JSON: it breaks at line")


def test_of_duplicate_names_the_last_one_counts():
    assert read_json(b'{"a": 1, "a": 2}', 64) == {"a": 2}
