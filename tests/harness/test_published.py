from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.published import PublishedFigure, read_published

GROUP = {"checkpoint": "big", "dataset": "text8", "source": "README", "fields": {"estimator": "dce", "steps": 4}}


def only(**figure):
    (found,) = read_published([{**GROUP, "figures": [figure]}], "card.yaml")
    return found


def test_a_figure_has_what_its_group_says_and_its_own_words_on_top():
    found = only(metric="bits_per_char", value="1.30", fields={"steps": 8, "split": "test"}, certainty="recalled")
    assert (found.checkpoints, found.dataset, found.source) == (("big",), "text8", "README")
    assert found.fields == {"estimator": "dce", "steps": 8, "split": "test"}
    assert found.certainty == "recalled"


def test_a_list_by_a_field_is_one_figure_for_each_value():
    group = {**GROUP, "figures": [{"metric": "gen_ppl", "by": "steps", "values": {16: "90.1", 32: "70"}}]}
    found = read_published([group], "card.yaml")
    assert [(f.fields["steps"], f.value) for f in found] == [(16, "90.1"), (32, "70")]
    assert all(f.fields["estimator"] == "dce" for f in found)


@pytest.mark.parametrize(("given", "names"), [("a", ("a",)), (["a", "b"], ("a", "b")), (None, ())])
def test_the_checkpoint_is_a_name_a_list_of_names_or_none(given, names):
    assert only(metric="gen_ppl", value="1", checkpoint=given).checkpoints == names


@pytest.mark.parametrize(
    ("more", "reach"),
    [
        ({"value": "1.30"}, (1.295, 1.305)),
        ({"value": "1.3"}, (1.25, 1.35)),
        ({"value": "160", "tolerance": 5}, (155, 165)),
        ({"value": "0.24", "scale": 100}, (23.5, 24.5)),
        ({"value": "0.24", "scale": 100, "low": 0.2, "high": 0.3}, (20, 30)),
    ],
    ids=["two digits", "one digit", "tolerance", "scale", "interval"],
)
def test_a_printed_figure_stands_for_all_that_round_to_it(more, reach):
    assert only(metric="bleu", **more).reach == pytest.approx(reach)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"metric": "bleu", "value": 1.30}, "write it as printed, in quotes"),
        ({"metric": "bleu", "value": "about 3"}, "write it as printed"),
        ({"metric": "bleu", "value": "NaN"}, "write it as printed"),
        ({"metric": "bleu", "value": "1", "certainty": "sure"}, "certainty is 'sure', not one of read, recalled"),
        ({"metric": "bleu", "value": "1", "colour": "red"}, "colour"),
        ({"value": "1"}, "metric"),
    ],
)
def test_a_figure_that_is_not_as_it_should_be_is_refused(figure, message):
    with pytest.raises(UserError, match=message):
        only(**figure)


def test_a_group_without_figures_gives_none():
    assert read_published([GROUP], "card.yaml") == ()
    assert isinstance(only(metric="bleu", value="1"), PublishedFigure)
