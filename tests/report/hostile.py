"""Results whose every text would like to be a script, a formula or another text."""

import dataclasses

from tests.report import make

SCRIPT = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
RTL = "\u202egnp.exe\u2066"
WORDS = f"{SCRIPT}{RTL}</script><!--{{{{7*7}}}}'\"`${{1}}"


def studies():
    """Scripts and right-to-left overrides everywhere, 10,000 characters, bytes that are no text."""
    info = {"modality": WORDS, "body_part": WORDS, "notes": [WORDS], "description": WORDS}
    names = {"detector": WORDS, "plane": WORDS, "sequence": WORDS, "SeriesInstanceUID": WORDS}
    stack = make.stack("s1", 0.9, 3, **info, **names)
    stack = dataclasses.replace(stack, path=[WORDS] * 3, sop_instance_uid=[WORDS] * 3)
    long = make.stack("s1", 0.8, 3, description="A" * 10_000)
    names = ("path", "patient", "patient_id", "accession_number", "age", "sex", "date")
    texts = dict.fromkeys(names, WORDS)
    return [
        make.study("aaa", [stack], modality=WORDS, skipped=[[WORDS, WORDS]], **texts),
        make.study("bbb", [long], path="B" * 10_000 + "\udcff\x1b[31m"),
        make.study("ccc", StudyInstanceUID=WORDS, skipped=[[WORDS, WORDS]]),
        make.study("..", [dataclasses.replace(stack, key="s 1")], path="/etc/../x"),
    ]


def run():
    """What the file says of itself, as bad."""
    return make.run(
        detectors=[
            make.DETECTOR
            | {"name": WORDS, "licence": WORDS, "domain": WORDS}
            | {"lineage": [dict.fromkeys(("name", "digest", "verdicts"), WORDS)]}
        ],
        failures=[(WORDS, WORDS, WORDS, WORDS)],
        skipped=[(WORDS, WORDS)],
        command=WORDS,
        aggregation=WORDS,
    )
