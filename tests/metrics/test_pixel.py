"""Figures of pixels against scikit-learn, a brute-force oracle and numbers from published code."""

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from medscan import metrics
from medscan.metrics import PixelCurves


def _regions(mask):
    """8-connected regions as lists of pixels, by flood fill."""
    left, regions = {tuple(p) for p in np.argwhere(mask).tolist()}, []
    while left:
        region, front = [], [left.pop()]
        while front:
            y, x = front.pop()
            region.append((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return regions


def _brute_aupro(maps, masks, limit):
    """Every distinct score a threshold, each region by itself, a line cut at the limit."""
    regions = [
        np.array([m[p] for p in r]) for m, k in zip(maps, masks, strict=True) for r in _regions(k)
    ]
    normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    curve = [
        (np.mean(normal >= t), np.mean([np.mean(r >= t) for r in regions]))
        for t in np.unique(maps)[::-1]
    ]
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise([(0.0, 0.0), *curve]):
        end = min(x1, limit)
        if end > x0:
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit


def _curves(maps, masks, **given):
    curves = PixelCurves(**{"low": 0.0, "high": 1.0} | given)
    for number, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        curves.add(scores, mask, group=f"p{number}")
    return curves


def _figures(curves):
    return np.array([curves.auroc(), curves.average_precision(), curves.aupro()])


@given(
    hnp.arrays(np.float32, (2, 7, 6), elements=st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.9, 1.0])),
    hnp.arrays(bool, (2, 7, 6)),
    st.sampled_from([0.05, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_pixel_figures_equal_brute_force(maps, masks, limit):
    curves = _curves(maps, masks)
    assert curves.regions == sum(len(_regions(mask)) for mask in masks)
    if masks.all() or not masks.any():
        assert np.isnan(_figures(curves)).all()
        return
    flat = masks.ravel(), maps.ravel()
    assert curves.auroc() == pytest.approx(roc_auc_score(*flat), abs=1e-12)
    assert curves.average_precision() == pytest.approx(average_precision_score(*flat), abs=1e-12)
    assert curves.aupro(limit) == pytest.approx(_brute_aupro(maps, masks, limit), abs=1e-12)


# Three 16 x 16 maps in thousandths and, the coarse ones, in tenths (a is 10), with the figures that
# metrics of published code and brute force gave for them.
ORDINARY = (
    "541575616606585531479474411432490504451338391432429430484480509526550567448452441486380328"
    "374409394428475549537517602552530453423519435372355344349369445595563453451442566600567648"
    "540524413373408448543743675532507531643683636711596536431399503559647797770699637604568607"
    "531656626578494486525608676749712689672733615526494639585558515536494682736714629556540565"
    "565441479535590544423429601772734726530479474444471414481505534580543558637859740623431408"
    "458372379311383383493513487491559686615621502540575460342250321331415468532541558671688666"
    "552441511453443355401401479551585509544532532615568512460437446404410387479561658571504551"
    "525619507429421443527448459412528561641499521550515597511487376307373343377313427391527442"
    "400459509629512430342333365408513462429339377359458579542504455433375431509554558523588549"
    "423446569552497363370356412454524553593485441483529600676658541352372381407455475515599541"
    "506477492618696644490406443510492599542549546530473486509671535530493599658653454475412453"
    "395483452503428561535476534609632637505454412462423492452507486542509512579636581574401355"
    "358439382389379450458525691670633585467542422530495527449386487417523558630718636681497461"
    "304542559574446394494455492566530559474528441423346524537524394362562557621542392563511492"
    "412385405450498520423442560657544467395411381398436445441424394463403509590628550454347429"
    "483519511531494466332420387587644620466356232249350553601575451435377378357422537495449313"
    "243395409529460537447453422409448448587479369260282420400534490519397448528500482406539541"
    "439386879883492479573603536409440497524511554563499448901917482514470472445414483607595575"
    "479543488553574550415411338358306395468578486614598722620687509512451499500479406469527678"
    "573620539645549651511481397470596564463389489573483483494642607618462405349452542508490432"
    "569582600531549651617607544517458485445427520450530448474439522694738712452455481511423390"
    "520463515421442447509712699699453505499504943890605467526393372388446663572634276382459529"
    "972895500470546528465488502668495455321392407455878843479536551552463455502641551464357397"
    "382463776809452569574669577558504638618526485418316292626757450609633698652653617613608507"
    "499446448406752832500594626659693699654562545441444453540405834915529607541571607650698531"
    "463314381466633574657673673542465476527478475423389323"
)
COARSE = (
    "5666655544555344445555564545434444588786554544433448877466665544445a987567676544566aa99666"
    "5766555677777a8556665557776658845565446877555454555656697644544344555567665565323345556777"
    "645544667885555665544466789656565444547678955656554343434454455654334455434456555444566565"
    "446654444556654556775444455565555676544556555555575556775545455546555666554545555555666644"
    "444445557766554555445456676755356644555656554435554466654655444555446755444444444545665534"
    "555555344666542246665444445543244555454444654334455544555455448855665445556654885555445666"
    "555665443434565667675555554557665657554566545655566654355554666557665555445554545777555544"
    "555444577755558865544447663455985555555755344587556655566544457756676656655433564667776665"
    "544467566777765445547856566775534566777555555443"
)
BOXES = [(0, 2, 6, 3, 7), (0, 6, 8, 7, 9), (0, 11, 14, 10, 15), (2, 0, 2, 0, 2), (2, 8, 15, 4, 6)]


def _published():
    masks = np.zeros((3, 16, 16), bool)
    for image, top, bottom, left, right in BOXES:
        masks[image, top:bottom, left:right] = True
    thousandths = np.array([int(ORDINARY[i : i + 3]) for i in range(0, len(ORDINARY), 3)])
    tenths = np.array([int(digit, 16) for digit in COARSE])
    return masks, (thousandths / 1000).reshape(3, 16, 16), (tenths / 10).reshape(3, 16, 16)


def test_pixel_figures_equal_the_published_numbers():
    masks, ordinary, coarse = _published()
    expected = [
        (ordinary, 0.7688085499406254, 0.4797106642078637, 0.6367715617715616),
        (coarse, 0.955904472885605, 0.7062452125492875, 0.8784167692006675),
        (np.full_like(coarse, 0.5), 0.5, 0.06901041666666667, 0.15),
    ]
    for maps, *figures in expected:
        for keep in ({}, {"exact_to": 0}):
            curves = _curves(maps, masks, **keep)
            assert curves.regions == 4  # two of the five boxes touch at a corner
            assert _figures(curves) == pytest.approx(figures, abs=1e-9 if keep else 1e-12)


def _scene(count=12, size=64, seed=0, power=1.0):
    """Smooth maps that find round lesions more or less well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    maps, masks = [], []
    for _ in range(count):
        cy, cx, r = (*rng.uniform(8, size - 8, 2), rng.uniform(2, 7))
        distance = np.hypot(y - cy, x - cx)
        masks.append(distance < r)
        found = 0.4 * np.exp(-((distance / (1.5 * r)) ** 2)) + 0.6 * rng.random((size, size))
        maps.append((found**power).astype(np.float32))
    return np.array(maps), np.array(masks)


@pytest.mark.parametrize("power", [1.0, 12.0, 0.25, 1 / 12])
def test_histogram_agrees_with_exact_and_keeps_no_pixels(power):
    maps, masks = _scene(power=power)
    exact = _curves(maps, masks)
    streamed = _curves(maps, masks, exact_to=3 * 64 * 64)
    assert np.abs(_figures(exact) - _figures(streamed)).max() < 1e-4
    assert streamed.regions == exact.regions == 12
    assert streamed._histogram.shape == (3, 2**18)
    assert not streamed._stored


def test_memory_does_not_grow_with_pixels():
    maps, masks = _scene(4)
    curves = _curves(maps, masks, exact_to=0)
    tracemalloc.start()
    for _ in range(5):
        for scores, mask in zip(maps, masks, strict=True):
            curves.add(scores, mask, group="p0")
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 2 * 3 * 2**18 * 8
    assert peak < 8 * 3 * 2**18 * 8


def test_scores_outside_the_range_go_to_the_end_bins():
    maps, masks = _scene()
    wide = np.where(maps > 0.9, maps + 5, np.where(maps < 0.1, maps - 5, maps))
    for scores in (np.clip(wide, 0, 1), wide):
        curves = _curves(scores, masks, exact_to=0)
        assert _figures(curves) == pytest.approx(
            _figures(_curves(np.clip(wide, 0, 1), masks)), abs=1e-4
        )
    with pytest.raises(ValueError, match="below"):
        PixelCurves(1.0, 1.0)
    with pytest.raises(ValueError, match="finite"):
        PixelCurves(0.0, math.inf)


@pytest.mark.parametrize("exact_to", [0, 2**22])
def test_one_class_only_is_nan_and_constant_maps_are_chance(exact_to):
    curves = PixelCurves(0, 1, exact_to=exact_to)
    assert np.isnan([*_figures(curves), *curves.interval("aupro", draws=5)]).all()
    curves.add(np.zeros((0, 4)), np.zeros((0, 4)))
    curves.add(np.full((4, 4), 0.3), np.zeros((4, 4)), inside=np.zeros((4, 4)))
    assert np.isnan(_figures(curves)).all()
    curves.add(np.full((4, 4), 0.3), np.zeros((4, 4)), group="a")
    assert np.isnan([*_figures(curves), *curves.interval("auroc", draws=5)]).all()
    curves.add(np.full((4, 4), 0.3), np.ones((4, 4)), group="b")
    assert _figures(curves) == pytest.approx([0.5, 0.5, 0.15])
    assert curves.interval("aupro", draws=20) == pytest.approx((0.15, 0.15))


def test_a_region_of_one_pixel_weighs_as_much_as_a_large_one():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[18, 18] = True
    scores = np.where(mask, 0.0, 0.5)
    scores[18, 18] = 1.0  # only the small one is found
    curves = _curves([scores], [mask])
    assert curves.regions == 2
    assert curves.aupro() == pytest.approx(_brute_aupro(np.array([scores]), [mask], 0.3))
    assert curves.aupro() == pytest.approx(0.5)
    assert curves.auroc() == pytest.approx(1 / 101)


def test_regions_touch_at_corners_but_not_across_images():
    mask = np.eye(6, dtype=bool)
    mask[0, 5] = True
    curves = _curves(np.zeros((2, 6, 6)), [mask, mask])
    assert curves.regions == 4


def test_padding_is_ignored_even_if_its_scores_are_not_finite():
    maps, masks = _scene(3)
    inside = np.zeros((3, 80, 80), bool)
    inside[:, 8:72, 8:72] = True
    padded, marked = np.full((3, 80, 80), np.nan), np.ones((3, 80, 80), bool)
    padded[inside], marked[inside] = maps.ravel(), masks.ravel()
    curves = PixelCurves(0, 1)
    for scores, mask, counts in zip(padded, marked, inside, strict=True):
        curves.add(scores, mask, counts)
    assert (_figures(curves) == _figures(_curves(maps, masks))).all()
    assert curves.pixels == maps.size
    with pytest.raises(ValueError, match="finite"):
        curves.add(padded[0], marked[0])
    with pytest.raises(ValueError, match="shapes"):
        curves.add(padded[0], masks[0])
    with pytest.raises(ValueError, match="shapes"):
        curves.add(padded, marked, inside)
    assert curves.pixels == maps.size


@pytest.mark.parametrize("exact_to", [0, 20_000, 2**22])
def test_the_order_of_adding_does_not_matter(exact_to):
    maps, masks = _scene(8)
    there, back = PixelCurves(0, 1, exact_to=exact_to), PixelCurves(0, 1, exact_to=exact_to)
    for n in range(8):
        there.add(maps[n], masks[n], group=n // 2)
        back.add(maps[7 - n], masks[7 - n], group=(7 - n) // 2)
    assert _figures(there) == pytest.approx(_figures(back), abs=1e-12)
    for name in ("auroc", "average_precision", "aupro"):
        assert there.interval(name, 30) == pytest.approx(back.interval(name, 30), abs=1e-6)


def test_what_was_added_may_change_afterwards():
    maps, masks = _scene(2)
    curves = _curves(maps, masks)
    before = _figures(curves)
    maps[:] = 0
    assert (_figures(curves) == before).all()


@pytest.mark.parametrize("name", ["auroc", "average_precision", "aupro"])
def test_pixel_intervals_are_those_of_redrawn_patients(name):
    maps, masks = _scene(10)
    curves = _curves(maps, masks)
    names = sorted(f"p{n}" for n in range(10))

    def redrawn(indices):
        number = [int(names[i][1:]) for i in indices]
        return getattr(_curves(maps[number], masks[number]), name)()

    expected = metrics.bootstrap(names, redrawn, draws=40, seed=3)
    assert curves.interval(name, draws=40, seed=3) == pytest.approx(expected, abs=2e-3)
    assert curves.interval(name, 40, 3) == curves.interval(name, 40, 3)
    assert curves.interval(name, 40, 3) != curves.interval(name, 40, 4)
    low, high = curves.interval(name)
    assert low < getattr(curves, name)() < high


def test_pixel_intervals_are_wider_by_patient_when_slices_repeat():
    maps, masks = _scene(6)
    by_patient, by_slice = PixelCurves(0, 1), PixelCurves(0, 1)
    for n in range(24):
        by_patient.add(maps[n % 6], masks[n % 6], group=n % 6)
        by_slice.add(maps[n % 6], masks[n % 6], group=n)
    wide, narrow = by_patient.interval("aupro", 300), by_slice.interval("aupro", 300)
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
