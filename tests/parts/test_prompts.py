import torch

from medscan.parts import prompts


def test_the_ensemble_is_the_normalised_mean_of_unit_sentences(backbone):
    found = prompts.ensemble(backbone, "Brain")
    assert found.shape == (2, 24)
    assert torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-6)
    sentences = [
        template.format(state.format("Brain"))
        for state in prompts.ABNORMAL
        for template in prompts.TEMPLATES
    ]
    assert len(set(sentences)) == 175
    features = [backbone.encode_text(backbone.prompts([s]))[0] for s in sentences]
    unit = torch.nn.functional.normalize(torch.stack(features), dim=-1).mean(0)
    assert torch.allclose(found[1], unit / unit.norm(), atol=1e-5)


def test_the_list_has_no_repeats():
    assert len(set(prompts.TEMPLATES)) == 35
    assert len(prompts.NORMAL) == 7
    assert len(prompts.ABNORMAL) == 5
