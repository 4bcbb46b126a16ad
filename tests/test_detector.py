import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medscan import clip, detector
from medscan.errors import DetectorError
from medscan.history import Ancestor
from medscan.normals import Calibration, conformal_threshold
from tests import tiny


def test_a_detector_reads_back_as_it_was_saved(detector_file, backbone):
    read = detector.read(detector_file)
    assert read.name == "tiny-flair"
    assert read.domain == detector.Domain("MR", "BRAIN", "FLAIR", "axial")
    assert len(read.shots["normal"]) == len(read.shots["abnormal"]) == 6
    assert len(read.calibration.normals) == 6
    assert read.calibration.provisional
    method = read.load_method(detector_file, backbone)
    first = method.predict(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    again = read.load_method(detector_file, backbone).predict(
        torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_another_backbone_is_refused(detector_file, tmp_path):
    other = clip.load(f"local-dir:{tiny.write_backbone(tmp_path / 'other', seed=5)}")
    with pytest.raises(DetectorError, match="fit it again or bring that backbone"):
        detector.read(detector_file).load_method(detector_file, other)


@pytest.mark.parametrize("cut", [1, 100, 10**9])
def test_a_truncated_detector_is_refused(detector_file, tmp_path, cut):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(detector_file.read_bytes()[: -min(cut, detector_file.stat().st_size - 4)])
    with pytest.raises(DetectorError, match="damaged"):
        detector.read(path)


def test_what_is_no_detector_is_refused(backbone_folder, tmp_path):
    with pytest.raises(DetectorError, match="not a detector file"):
        detector.read(backbone_folder / "open_clip_model.safetensors")
    with pytest.raises(DetectorError, match="cannot be read"):
        detector.read(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is text and no detector")
    with pytest.raises(DetectorError, match="not a detector file"):
        detector.read(tmp_path / "text")
    with pytest.raises(DetectorError, match="fit one with `medscan fit`"):
        detector.find(tmp_path / "none")


def test_tensors_of_another_shape_are_refused(detector_file, backbone, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(detector_file, "pt") as file:
        metadata = file.metadata()
    state = load_file(detector_file)
    state["det.0.down.weight"] = state["det.0.down.weight"][:, :-1].contiguous()
    path = tmp_path / "narrow.safetensors"
    save_file(state, path, metadata)
    with pytest.raises(DetectorError, match="not those of method mvfa"):
        detector.read(path).load_method(path, backbone)


@pytest.mark.parametrize(
    "field",
    ["method", "settings", "domain", "calibration", "window", "calibration.normals"],
)
def test_missing_facts_are_refused(detector_file, tmp_path, field):
    facts = json.loads(metadata_of(detector_file)["medscan"])
    owner, leaf = owner_of(facts, field)
    del owner[leaf]
    with pytest.raises(DetectorError, match=rf"lacks {field}$"):
        detector.read(with_facts(detector_file, tmp_path, json.dumps(facts)))


TEXT = (3, None, True, ["x"], {"x": 1})
NUMBER = ("0.5", None, True, [0.5], math.nan, math.inf, -math.inf, 10**400)
WRONG = {
    "method": TEXT,
    "protocol": TEXT,
    "organ": TEXT,
    "backbone": TEXT,
    "backbone_digest": TEXT,
    "window": TEXT,
    "selection": TEXT,
    "licence": TEXT,
    "masked": (0, 1, "true", None),
    "seed": (0.5, "0", None, True, math.nan),
    "settings": ([], None, "x"),
    "settings.learning_rate": ([1], {}, math.nan, math.inf),
    "settings.odd": ([1], {"x": 1}, -math.inf),
    "domain": ([], None, "MR"),
    "domain.modality": TEXT,
    "domain.body_part": TEXT,
    "domain.sequence": TEXT,
    "domain.plane": TEXT,
    "domain.mood": ("good",),
    "calibration": ([], None, 3),
    "calibration.normals": ("12", None, 3, {"a": 1}),
    "calibration.normals.0": NUMBER,
    "calibration.abnormals.0": NUMBER,
    "calibration.threshold": NUMBER,
    "calibration.target_fpr": NUMBER,
    "calibration.map_low": NUMBER,
    "calibration.map_high": NUMBER,
    "calibration.provisional": (0, "yes", None),
    "calibration.mood": (1,),
    "shots": ([], None, "x"),
    "shots.normal": ("name", None, {"a": 1}),
    "shots.normal.0": TEXT,
    "fingerprints": ("a", None, {"a": 1}),
    "fingerprints.0": TEXT,
    "versions": ([], None, "1"),
    "versions.torch": TEXT,
    "mood": ("good",),
    "name": ("other",),
    "digest": ("0",),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_field_of_the_wrong_type_is_refused_by_name(detector_file, tmp_path, field, value):
    facts = json.loads(metadata_of(detector_file)["medscan"])
    facts["fingerprints"] = facts["fingerprints"] or ["a"]
    owner, leaf = owner_of(facts, field)
    owner[leaf] = value
    path = with_facts(detector_file, tmp_path, json.dumps(facts))
    with pytest.raises(DetectorError) as refused:
        detector.read(path)
    line = str(refused.value)
    assert line.startswith(f"detector {path} is damaged: {field}: ")
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("field", ["size", "quick_gelu", "text_quick_gelu"])
@pytest.mark.parametrize("value", ["224", 0.5])
def test_what_builds_the_backbone_is_checked_with_the_file(detector_file, tmp_path, field, value):
    facts = json.loads(metadata_of(detector_file)["medscan"])
    facts["settings"][field] = value
    with pytest.raises(DetectorError, match=rf"is damaged: {field}: "):
        detector.read(with_facts(detector_file, tmp_path, json.dumps(facts)))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", '{"format": 2}'])
def test_facts_of_another_format_are_refused(detector_file, tmp_path, text):
    with pytest.raises(DetectorError, match="of a format"):
        detector.read(with_facts(detector_file, tmp_path, text))


def test_only_a_detector_without_normals_has_no_threshold(detector_file, tmp_path):
    facts = json.loads(metadata_of(detector_file)["medscan"])
    facts["calibration"] |= {"normals": [], "threshold": math.nan}
    read = detector.read(with_facts(detector_file, tmp_path, json.dumps(facts)))
    assert math.isnan(read.calibration.threshold)


def test_a_field_with_an_endless_name_fits_a_line(detector_file, tmp_path):
    facts = json.loads(metadata_of(detector_file)["medscan"]) | {"a\n" * 10_000: 1}
    with pytest.raises(DetectorError) as refused:
        detector.read(with_facts(detector_file, tmp_path, json.dumps(facts)))
    assert len(str(refused.value).replace(str(tmp_path), "")) < 250
    assert len(str(refused.value).splitlines()) == 1


def owner_of(facts, field):
    """The object or array that holds a field, and the field's key in it."""
    *owners, leaf = (int(part) if part.isdigit() else part for part in field.split("."))
    for part in owners:
        facts = facts[part]
    return facts, leaf


def with_facts(detector_file, folder, text):
    from safetensors.torch import load_file, save_file

    path = folder / "facts.safetensors"
    save_file(load_file(detector_file), path, metadata_of(detector_file) | {"medscan": text})
    return path


# --- lineage ------------------------------------------------------------------------------------


def test_it_is_written_again_only_from_the_file_that_it_was_read_from(detector_file, tmp_path):
    source, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    source.write_bytes(detector_file.read_bytes())
    found = replace(detector.read(source), organ="Liver")
    saved = found.save_with_tensors_of(out, source)
    assert detector.read(out) == saved
    assert replace(saved, name="a", digest=found.digest) == found
    other = replace(found, organ="Lung").save_with_tensors_of(tmp_path / "c.safetensors", source)
    source.write_bytes((tmp_path / "c.safetensors").read_bytes())
    assert other.digest != found.digest
    with pytest.raises(DetectorError, match="has changed"):
        found.save_with_tensors_of(out, source)
    assert detector.read(out) == saved


PARENT = Ancestor("old", "a" * 64, "CC0", 3, "b" * 64, ("2026-01-02",), 4, 2)


def test_a_lineage_reads_back_and_older_versions_pass_over_it(detector_file, backbone, tmp_path):
    """They look at one key of the metadata, and know every fact under it."""
    read = detector.read(detector_file)
    method = read.load_method(detector_file, backbone)
    path = tmp_path / "child.safetensors"
    replace(read, lineage=(PARENT, replace(PARENT, name="new"))).save(path, method)
    assert [a.name for a in detector.read(path).lineage] == ["old", "new"]
    assert detector.read(path).lineage[0] == PARENT
    old, new = metadata_of(detector_file), metadata_of(path)
    assert "medscan.lineage" not in old
    assert new["medscan"] == old["medscan"]


@pytest.mark.parametrize(
    "told",
    [
        "{",
        "3",
        "[3]",
        '{"name": 1}',
        "[" * 100_000,
        json.dumps([{"name": "only"}]),
        json.dumps([asdict(PARENT) | {"name": ["x"]}]),
        json.dumps([asdict(PARENT) | {"results": "2026"}]),
        json.dumps([asdict(PARENT) | {"results": [1]}]),
        json.dumps([asdict(PARENT) | {"kept": -1}]),
        json.dumps([asdict(PARENT) | {"added": True}]),
    ],
)
def test_a_lineage_that_is_none_is_refused(detector_file, tmp_path, told):
    with pytest.raises(DetectorError, match=r"lacks|damaged"):
        detector.read(with_lineage(detector_file, tmp_path, told))


def test_what_a_newer_version_adds_to_a_lineage_is_passed_over(detector_file, tmp_path):
    told = json.dumps([asdict(PARENT) | {"mood": "good"}])
    assert detector.read(with_lineage(detector_file, tmp_path, told)).lineage == (PARENT,)


def metadata_of(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def with_lineage(detector_file, folder, told):
    from safetensors.torch import load_file, save_file

    path = folder / "told.safetensors"
    save_file(
        load_file(detector_file), path, metadata_of(detector_file) | {"medscan.lineage": told}
    )
    return path


# --- calibration --------------------------------------------------------------------------------

SCORES = st.lists(st.floats(-10, 10), min_size=1, max_size=200)


@given(SCORES, st.floats(0.01, 0.5))
def test_the_threshold_keeps_its_promise_on_the_normals(scores, rate):
    threshold, provisional = conformal_threshold(tuple(scores), rate)
    reached = np.mean([s >= threshold for s in scores])
    assert reached <= rate
    assert provisional == (math.ceil((len(scores) + 1) * (1 - rate)) > len(scores))


def test_the_rate_holds_for_new_normals():
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        threshold, _ = conformal_threshold(tuple(rng.normal(size=39)), 0.1)
        rates.append(np.mean(rng.normal(size=200) >= threshold))
    assert 0.08 < np.mean(rates) <= 0.105


def test_the_promise_is_what_new_normals_do():
    """Its rate is the mean over calibrations, and its interval holds 95 % of them."""
    rng = np.random.default_rng(1)
    flagged = []
    for _ in range(2000):
        threshold, _ = conformal_threshold(tuple(rng.random(39).tolist()), 0.2)
        flagged.append(1 - threshold)
    promise = Calibration(tuple(range(39)), 40.0, 0.2, False, 0, 1).promise
    assert promise.rate == pytest.approx(0.2)
    assert np.mean(flagged) == pytest.approx(promise.rate, abs=0.01)
    inside = [promise.low <= rate <= promise.high for rate in flagged]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.1, 9), (0.2, 4), (0.5, 1)])
def test_the_promise_says_how_many_normals_a_rate_needs(rate, needed):
    for count in (needed, needed - 1):
        threshold, provisional = conformal_threshold(tuple(map(float, range(count))), rate)
        if not count:
            continue
        promise = Calibration(
            tuple(map(float, range(count))), threshold, rate, provisional, 0, 1
        ).promise
        assert promise.needed == needed
        assert provisional == (count < needed)
        assert promise.rate == pytest.approx(1 / (count + 1))


def test_normals_of_few_patients_promise_less():
    many = Calibration(tuple(map(float, range(60))), 57.0, 0.05, False, 0, 1)
    few = replace(many, patients=10)
    assert few.promise.rate == many.promise.rate
    assert few.promise.high > many.promise.high + 0.05


def test_where_stacks_were_scored_the_promise_is_of_stacks():
    slices = tuple(map(float, range(60)))
    calibration = Calibration(slices, 57.0, 0.05, False, 0, 1, stacks=(slices[:30], slices[30:]))
    assert (calibration.promise.level, calibration.promise.normals) == ("stacks", 2)
    assert Calibration((), math.nan, 0.05, True, 0, 1).promise is None


def test_older_versions_can_read_detectors_with_stacks(detector_file, tmp_path, backbone):
    """What they do not know is under a key of its own; without it nothing is known of stacks."""
    found = detector.read(detector_file)
    method = found.load_method(detector_file, backbone)
    stacks = ((0.25, 0.5), (0.125,))
    path = tmp_path / "stacks.safetensors"
    replace(found, calibration=replace(found.calibration, stacks=stacks, patients=2)).save(
        path, method
    )
    assert detector.read(path).calibration.stacks == stacks
    assert detector.read(path).calibration.patients == 2
    facts = json.loads(metadata_of(path)["medscan"])
    assert not {"stacks", "patients"} & facts["calibration"].keys()
    older = metadata_of(path)
    del older["medscan.calibration"]
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path, older)
    assert detector.read(path).calibration == replace(found.calibration, patients=0, stacks=())


def test_a_file_with_several_metadata_is_the_same_every_time(detector_file, tmp_path, backbone):
    """The library would write them in another order each time."""
    found = detector.read(detector_file)
    method = found.load_method(detector_file, backbone)
    path = tmp_path / "same.safetensors"
    told = replace(found, calibration=replace(found.calibration, patients=2))
    assert len({told.save(path, method).digest for _ in range(8)}) == 1


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ('{"stacks": [[]]}', "stacks.0"),
        ('{"stacks": [[1e999]]}', "stacks"),
        ('{"stacks": "x"}', "stacks"),
        ('{"patients": -1}', "patients"),
        ('{"threshold": 1.0}', "twice"),
        ('{"other": 1}', "other"),
        ("[]", "calibration"),
        ("{", "not a detector file"),
    ],
)
def test_a_damaged_newer_half_of_the_calibration_is_one_line(detector_file, tmp_path, told, what):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "told.safetensors"
    metadata = metadata_of(detector_file) | {"medscan.calibration": told}
    save_file(load_file(detector_file), path, metadata)
    with pytest.raises(DetectorError, match=what) as error:
        detector.read(path)
    assert "\n" not in str(error.value)


def test_without_normals_nothing_is_flagged():
    threshold, provisional = conformal_threshold((), 0.05)
    assert math.isnan(threshold)
    assert provisional


def test_percentiles():
    calibration = Calibration((1.0, 2.0, 3.0, 4.0), 4.5, 0.05, True, 0, 1)
    assert calibration.percentile(0.5) == 0
    assert calibration.percentile(2.5) == 50
    assert calibration.percentile(9.0) == 100
    assert math.isnan(calibration.percentile(math.nan))
    assert calibration.at_rate(0.5).threshold == math.nextafter(3.0, math.inf)


def test_a_detector_brings_its_backbone_as_it_was_fitted(detector_file):
    """Scan and evaluate ask the detector, so that neither forgets what a method was fitted with."""
    found = detector.read(detector_file)
    told = {"size": 32, "quick_gelu": False, "text_quick_gelu": True, "tiles": 2}
    changed = replace(found, settings=found.settings | told)
    assert changed.tower == told
    model = changed.load_backbone(device="cpu", precision="fp32").model
    kinds = [type(b.mlp.gelu).__name__ for b in model.transformer.resblocks]
    assert set(kinds) == {"QuickGELU"}
    assert type(model.visual.transformer.resblocks[0].mlp.gelu).__name__ == "GELU"
    assert model.visual.image_size in (32, (32, 32))


def test_older_versions_can_read_a_detector_that_no_acceptance_test_changed(detector_file):
    from medscan.clip import read_header

    metadata = read_header(detector_file).metadata
    assert "accepted" not in metadata["medscan"] + metadata.get("medscan.calibration", "")
