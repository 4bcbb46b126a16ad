"""The table of what can be pulled or imported, against the libraries that it is about."""

import open_clip
import pytest
import timm
import torch
from typer.testing import CliRunner

from medscan.backbones import COLUMNS, VISION_METHODS, available, licence_of
from medscan.cli.app import app
from medscan.clip.build import VisionOnly, _model
from medscan.clip.store import hub_repository, timm_weights
from medscan.methods import METHODS

MADE, ROWS = available()
SAMPLE = [row for row in ROWS if float(row["parameters"]) < 100][::23]


def test_it_says_when_and_from_what_it_was_made():
    assert MADE[:2] == "20"
    assert "open_clip_torch" in MADE
    assert "timm" in MADE


def test_every_cell_is_filled():
    assert all(set(row) == set(COLUMNS) and all(row.values()) for row in ROWS)
    assert len({row["name"] for row in ROWS}) == len(ROWS)


def test_methods_are_methods():
    assert set(VISION_METHODS.split()) <= METHODS.keys()
    needing = {name for name, system in METHODS.items() if system.method.needs}
    assert set(VISION_METHODS.split()) == METHODS.keys() - needing
    assert {row["methods"] for row in ROWS} == {"all", "all but conrad", VISION_METHODS}


def test_the_libraries_know_every_name_where_it_is_and_its_licence():
    for row in ROWS:
        assert hub_repository(row["name"]) == row["source"]
        if row["name"].startswith("timm:"):
            known = timm_weights(row["name"].removeprefix("timm:"))
            assert row["licence"] == (known.license or "see its card")
            assert int(row["size"]) == known.input_size[-1]


def test_all_that_open_clip_publishes_as_dinov2_siglip_and_pe_is_in_it():
    listed = {row["name"] for row in ROWS}
    for name in timm.list_pretrained(["vit_*dinov2*", "vit_*dinov3*", "vit_pe_*", "vit_*tipsv2*"]):
        assert f"timm:{name}" in listed
    for architecture, tag in open_clip.list_pretrained():
        if architecture.startswith(("ViT-B-16-SigLIP", "PE-Core", "EVA02")):
            assert f"{architecture}/{tag}" in listed


@pytest.mark.parametrize("row", SAMPLE, ids=lambda row: row["name"])
def test_a_tower_has_as_many_parameters(row):
    with torch.device("meta"):
        if row["architecture"] in open_clip.list_models():
            visual = _model(open_clip.get_model_config(row["architecture"])).visual
        else:
            visual = VisionOnly(timm.create_model(row["architecture"], num_classes=0)).visual
    assert f"{sum(p.numel() for p in visual.parameters()) / 1e6:.1f}" == row["parameters"]


def test_licences_of_names_are_found():
    assert licence_of("ViT-L-14-336-quickgelu/openai") == "mit"
    assert licence_of("hf-hub:facebook/dinov3-vits16-pretrain-lvd1689m") == "dinov3-license"
    assert licence_of("ViT-L-14-CLIPA/datacomp1b") is None
    assert licence_of("mine/own") is None


def test_the_command_shows_all_of_it():
    shown = CliRunner().invoke(app, ["weights", "list", "--available"])
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert len(lines) == len(ROWS) + 2
    (dinov3,) = [line for line in lines if "facebook/dinov3-vitb16-" in line]
    assert dinov3.split()[1:5] == ["85.7", "224", "dinov3-license", "yes"]
