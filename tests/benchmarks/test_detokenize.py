"""Detokenisers: pairs recorded from ours where they equalled RADD's functions (commit 60b772df), and RADD's itself."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.corpora.detokenize import DETOKENIZERS
from tests.checkouts import checkout_of

# Odd on purpose: shared spaces, nested and unclosed brackets, repeated marks, the literal slashes.
PAIRS: dict[str, list[tuple[str, str]]] = {
    "wikitext": [
        (" = Robert Boulter = \n", " = Robert Boulter =\n"),
        (" = = Career = = \n", " == Career ==\n"),
        (" = = = = Deep = = = = \n", " ==== Deep ====\n"),
        ("", ""),
        (
            " The lobster 's claws ( 24 in ) weigh 6 @.@ 5 kg , or 13 @,@ 000 lb ; a well @-@ known fact : yes ! no ? ",
            " The lobster's claws (24 in) weigh 6.5 kg, or 13,000 lb; a well-known fact: yes! no? ",
        ),
        (
            " He said \" hello \" and ' bye ' to the dogs ' owner .\n",
            " He said \"hello\" and 'bye' to the dogs' owner .\n",
        ),
        ("an [ inner ] and { braced } ( nested ( one ) ) text", "an [inner] and {braced} (nested ( one) ) text"),
        ("at 40 ° north , N people \n met", "at 40°north, 1 people\nmet"),
        ("/' 5/ and /' 7//' 8/", "/'[0-9]/ and /'[0-9]//'[0-9]/"),
        ("' a ' b ' c '", "'a' b 'c'"),
        ("tabs (\t\xa0x\u2003) and (  ) empty", "tabs (x) and () empty"),
        (" . . . , , : : ", ". .., ,: : "),
        ("= =", "=="),
        ("the boss 's ' house", "the boss's' house"),
    ],
    "ptb": [
        (" no it was n't black monday \n", " no it wasn't black monday \n"),
        (" <unk> 's N N N N N N N N N N N N N shares \n", " ?'s 1 1 1 1 1 1 1 1 1 1 1 1 1 shares \n"),
        ("the dogs ' house cost $ N or # N million", "the dogs' house cost $1 or #1 million"),
        ("a 1\\/2 and N\\/8 N ", "a 1/2 and N/8 1 "),
        ("$ 1 # 1 <unk>", "$1 #1 ?"),
        ("", ""),
        ("workers ' n't 's", "workers'n't's"),
    ],
    "lm1b": [
        ('He said : " It \'s a test , " and left .', 'He said: "It\'s a test," and left.'),
        ("http : / / www.x.com / y and https : / / z", "http://www.x.com/y and https://z"),
        ("What ? No ! Yes ; ok ? ", "What? No! Yes; ok? "),
        ("end ?\n", "end?\n"),
        ("( a ) [ b ] ' c ' \" d \"", "(a) [b] 'c' \"d\""),
        ("$ 5 or £ 6 , 1 / 2", "$5 or £6, 1/2"),
        ("a . b . c . d .", "a . b. c . d."),
        (" ? ? ! ! , , : : ; ; ", "? ?! !, ,: :; ; "),
        ("the U.S. 's 'quote 'x . ", "the U.S.'s'quote'x . "),
        ("é 'ö _ 'a ( ) [ ]", "é'ö _'a ( ) [ ]"),
        ("", ""),
    ],
    "lambada": [
        ("  “ she said ” ‘ so ’ \n", '\n" she said " ‘ so ’'),
        ("plain", "\nplain"),
        ("", "\n"),
        ("“”", '\n""'),
    ],
}
THEIRS = {name: f"{name if name != 'wikitext' else 'wt'}_detokenizer" for name in PAIRS}
ATOMS = [
    *" '\"()[]{}=/\\.,:;!?$£#1N\n\t",
    *(" . ", " , ", " ? ", " ! ", " : ", " ; ", " / ", " N ", "$ ", "# ", "s '", "s ' ", " 's", " n't", "<unk>", "= ="),
    *(" @-@ ", " @,@ ", " @.@ ", " ° ", "“", "”", "http : / / ", "/' 5/", "word", "é", "_", "\u00a0", "\u2003"),
]  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_recorded_pairs(name: str) -> None:
    for text, expected in PAIRS[name]:
        assert DETOKENIZERS[name](text) == expected


def test_none_changes_nothing() -> None:
    assert DETOKENIZERS["none"](" a @-@ b \n") == " a @-@ b \n"


def theirs(source: str) -> dict[str, Callable[[str], str]]:
    """The detokenisers of RADD's data.py, without its imports."""
    wanted = [node for node in ast.parse(source).body if getattr(node, "name", None) in THEIRS.values()]
    space: dict[str, Any] = {"re": re}
    exec(compile(ast.Module(wanted, []), "data.py", "exec"), space)
    return {name: space[function] for name, function in THEIRS.items()}


def test_equal_to_radd_on_random_text() -> None:
    functions = theirs((checkout_of("radd") / "data.py").read_text(encoding="utf-8"))
    rng = random.Random(0)
    for _ in range(5_000):
        text = "".join(rng.choices(ATOMS, k=rng.randint(0, 14)))
        for name, function in functions.items():
            assert DETOKENIZERS[name](text) == function(text), (name, text)
