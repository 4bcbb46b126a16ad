"""Links to another program lead where the user said, and nowhere else."""

import pytest

from medscan.errors import UsageError
from medscan.links import LONGEST, UID_PLACE, link_to, parse_template

GOOD = "https://viewer.example/studies/{StudyInstanceUID}"


@pytest.mark.parametrize(
    ("template", "link"),
    [
        (GOOD, "https://viewer.example/studies/1.2.3"),
        ("http://10.0.0.1:8042/{StudyInstanceUID}", "http://10.0.0.1:8042/1.2.3"),
        ("HTTPS://[::1]/v?a=b&u={StudyInstanceUID}#top", "HTTPS://[::1]/v?a=b&u=1.2.3#top"),
        ("https://viewer#{StudyInstanceUID}", "https://viewer#1.2.3"),
    ],
)
def test_a_template_leads_to_a_study(template, link):
    assert parse_template(template) == template
    assert link_to("1.2.3", template) == link


@pytest.mark.parametrize(
    "template",
    [
        "javascript:alert('{StudyInstanceUID}')",
        "JaVaScRiPt://x/%0aalert({StudyInstanceUID})",
        "data:text/html,<script>{StudyInstanceUID}",
        "file:///etc/{StudyInstanceUID}",
        "//viewer/{StudyInstanceUID}",
        "https:///{StudyInstanceUID}",
        "https://{StudyInstanceUID}/",
        "https://viewer.{StudyInstanceUID}/",
        "https://viewer{StudyInstanceUID}",
        "https://user:secret@viewer/{StudyInstanceUID}",
        "https://viewer/",
        "https://viewer/{StudyInstanceUID}/{StudyInstanceUID}",
        "https://viewer/{StudyInstanceUID}{PatientID}",
        "https://viewer/{studyinstanceuid}x{",
        'https://viewer/"onclick="alert(1)"{StudyInstanceUID}',
        "https://viewer/<b>{StudyInstanceUID}",
        "https://viewer/ {StudyInstanceUID}",
        "https://viewer/{StudyInstanceUID}\n",
        "\x1b[31mhttps://viewer/{StudyInstanceUID}",
        "https://vi\u0435wer/{StudyInstanceUID}",
        "https://viewer\\x/{StudyInstanceUID}",
        f"https://viewer/{'a' * LONGEST}{UID_PLACE}",
    ],
)
def test_anything_else_is_refused_and_makes_no_link(template):
    with pytest.raises(UsageError) as refused:
        parse_template(template)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300
    assert link_to("1.2.3", template) == ""


def test_a_uid_cannot_leave_its_place():
    link = link_to("../1?a=b#c\"'><script>javascript:", GOOD)
    assert link == (
        "https://viewer.example/studies/..%2F1%3Fa%3Db%23c%22%27%3E%3Cscript%3Ejavascript%3A"
    )
