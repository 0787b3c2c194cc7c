"""Record decoded text of the library versions that DiffuSeq's authors pin.

    python record_diffuseq_texts.py

Runs by itself where transformers 4.22.2 is installed (Python 3.8 to 3.10, no torch). Writes diffuseq-texts.json:
pieces, and the text that BertTokenizerFast makes of them.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import tokenizers
import transformers

#: As in a BERT vocabulary, whose pieces hold a mark of punctuation alone or none.
PIECES = """[PAD] [UNK] [CLS] [SEP] [MASK] . , ? ! ' " ( ) - : ; / $ % & s t m d ve re ll n o do not nothing note don
won can i you we it he that is are cat dog how what why good ##s ##t ##not ##n ##ing ##' ##."""
TRICKY = (
    "i ' m not sure .",
    "it ' s , i ' ve , you ' re , he ' d , we ' ll !",
    "don ' t you ?",
    "i can n ' t do not note it .",
    "do not",
    "i do nothing . do note that we do ##not do ##n not",
    "what do not i do not do ?",
    "' s ' s ' ' s '",
    "it ' ' s ' ' ' dog '",
    '$ . , % ( is it ? ) " not " !',
    ". . . , , ? ? ! !",
    "[CLS] how are you ? [SEP]",
    "[CLS] cat [SEP] [PAD] dog [PAD] . [SEP]",
    "[CLS] it [UNK] ' s [MASK] . [SEP] [SEP]",
    "##s ##ing cat ##s ' ##s",
    "i ' ve ##n ' t ##s",
    "do ' not ' do not ' m ' re ' s",
    "' m",
    "m ' s - re : ve ; t / d & ll",
)


def main() -> None:
    """Write the file beside this one."""
    chosen = random.Random(7)
    vocabulary = list(dict.fromkeys([*PIECES.split(), *(piece for line in TRICKY for piece in line.split())]))
    often = [piece for piece in PIECES.split() if len(piece) < 4 and not piece.startswith("#")] + [
        "do",
        "not",
        "nothing",
    ] * 3
    drawn = [" ".join(chosen.choices(PIECES.split(), k=chosen.randint(1, 14))) for _ in range(100)]
    drawn += [" ".join(chosen.choices(often, k=chosen.randint(2, 20))) for _ in range(200)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.txt"
        file.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        tokenizer = transformers.BertTokenizerFast(str(file))
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    texts = {line: tokenizer.decode([ids[piece] for piece in line.split()]) for line in (*TRICKY, *drawn)}
    facts = {
        "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "vocabulary": vocabulary,
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items()]
    each = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in texts.items())
    content = "{\n" + ",\n".join(lines) + ',\n"texts": {\n' + each + "\n}\n}\n"
    (Path(__file__).parent / "diffuseq-texts.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
