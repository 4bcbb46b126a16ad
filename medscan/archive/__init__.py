"""Files on disk -> studies, series, stacks and frames; every file in exactly one bucket."""

import medscan.archive.offline  # noqa: F401 - before anything imports pydicom
from medscan.archive.beside import describing
from medscan.archive.bids import BidsName, bids_name, study_path
from medscan.archive.copies import Decoded
from medscan.archive.dicom import BURNED_IN
from medscan.archive.facts import (
    DESCRIBING,
    DEVICE_KEYWORDS,
    FACTS,
    FILE_NAME,
    TERMS,
    Facts,
    age_group,
)
from medscan.archive.fragments import check_count
from medscan.archive.geometry import (
    Cut,
    DisplayTransform,
    cut_geometry,
    display_transform,
    nearest_plane,
    normal_of,
)
from medscan.archive.grouping import group, key_of
from medscan.archive.header import (
    NOTHING,
    Header,
    Layer,
    Record,
    Sidecar,
    Stated,
    from_json,
    to_json,
)
from medscan.archive.indexing import HeaderCache, index, walk_all
from medscan.archive.layers import facts_of
from medscan.archive.layout import Packing, VolumeLayout
from medscan.archive.mosaic import is_mosaic, mosaic_of
from medscan.archive.opening import open_below, open_regular
from medscan.archive.patients import contradict, identity_of, names_nobody
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.read import read_header
from medscan.archive.shard import shard_number
from medscan.archive.sidecar import DOMAIN_KEYS, stated_domain
from medscan.archive.snapshot import digest_of
from medscan.archive.sniff import content_of, is_litter
from medscan.archive.types import (
    MAKER,
    REASONS,
    TRANSIENT_REASONS,
    ArchiveFile,
    Bucket,
    Catalogue,
    Frame,
    Kind,
    Outcome,
    Reason,
    Series,
    Stack,
    Study,
)
from medscan.archive.values import BROKEN, text
from medscan.archive.volume import volume_layout
from medscan.archive.walk import walk

__all__ = [
    "BROKEN",
    "BURNED_IN",
    "DESCRIBING",
    "DEVICE_KEYWORDS",
    "DOMAIN_KEYS",
    "FACTS",
    "FILE_NAME",
    "MAKER",
    "NOTHING",
    "REASONS",
    "TERMS",
    "TRANSIENT_REASONS",
    "ArchiveFile",
    "BidsName",
    "Bucket",
    "Catalogue",
    "Cut",
    "Decoded",
    "DisplayTransform",
    "Facts",
    "Frame",
    "Header",
    "HeaderCache",
    "Kind",
    "Layer",
    "Outcome",
    "Packing",
    "Pseudonyms",
    "Reason",
    "Record",
    "Series",
    "Sidecar",
    "Stack",
    "Stated",
    "Study",
    "VolumeLayout",
    "age_group",
    "bids_name",
    "check_count",
    "content_of",
    "contradict",
    "cut_geometry",
    "describing",
    "digest_of",
    "display_transform",
    "facts_of",
    "from_json",
    "group",
    "identity_of",
    "index",
    "is_litter",
    "is_mosaic",
    "key_of",
    "mosaic_of",
    "names_nobody",
    "nearest_plane",
    "normal_of",
    "open_below",
    "open_regular",
    "read_header",
    "shard_number",
    "stated_domain",
    "study_path",
    "text",
    "to_json",
    "volume_layout",
    "walk",
    "walk_all",
]
