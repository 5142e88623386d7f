"""Learn what people want from a few sentences of each kind, and answer "none of these" to what is like none.

    python examples/ten_sentences.py questions.csv    # columns for sentence and label
    python examples/ten_sentences.py                  # twelve sentences to a bank

Then type a sentence a line; an empty one ends.
"""

from __future__ import annotations

import argparse
import sys

import innerloop as il

BANK = {
    "card lost": [
        "I cannot find my card",
        "my card was stolen",
        "I lost my bank card on the train",
        "where is my card?",
    ],
    "balance": ["how much money do I have?", "what is my balance", "show me my account", "is my salary there yet?"],
    "transfer": [
        "send 20 euros to Anna",
        "pay my rent to the landlord",
        "I want to transfer money",
        "move 100 to savings",
    ],
}


def main() -> None:
    """Learn, then answer what comes in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="a table with a column of sentences and one of labels")
    asked = parser.parse_args()
    if asked.file is None:
        X = [sentence for sentences in BANK.values() for sentence in sentences]
        y = [intent for intent, sentences in BANK.items() for _ in sentences]
    else:
        own = il.data.read_own(asked.file).labeled()
        X, y = own.X, list(own.y)
    few = il.FewShotClassifier().fit(X, y)
    print(f"{len(X)} sentences, {len(few.classes_)} kinds; head {few.head_!r}; accuracy to expect {few.accuracy_:.1%}")
    error = max(0.1, 1.01 / (len(X) + 1))
    for line in map(str.strip, sys.stdin):
        if not line:
            break
        (answer,), (proba,) = few.predict([line], unknown="reject", error=error), few.predict_proba([line])
        likely = sorted(zip(proba, few.classes_, strict=True), reverse=True)[:3]
        shown = ", ".join(f"{label} {share:.0%}" for share, label in likely)
        print(f"  {answer if answer is not None else 'none of these'}  ({shown})")


if __name__ == "__main__":
    main()
