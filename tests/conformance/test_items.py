"""The list itself: complete, and no item without a test or a reason."""

import pytest

from tests.conformance.items import items, numbers_of_tests

ITEMS = items()


def test_the_items_are_numbered_without_gaps_and_no_test_names_another():
    assert [item.number for item in ITEMS] == list(range(1, 81))
    assert numbers_of_tests() <= {item.number for item in ITEMS}


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item.number))
def test_an_item_has_a_test_or_a_reason(item):
    assert item.level in {"shall", "should", "may"}
    assert bool(item.tests) is not bool(item.not_ours) or (item.later and not item.tests)
    assert not (item.later and item.not_ours)
