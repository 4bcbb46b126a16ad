import pytest

from medscan.errors import UsageError
from medscan.pacs import Login, Peer, own_title, peer, read_login, web_address

SECRET = "correct-horse"  # noqa: S105


def written(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_says_who_medscan_is(tmp_path):
    path = written(tmp_path / "login", f'user = "ms"\npassword = "{SECRET}"\n')
    assert read_login(path, {}) == Login("ms", SECRET)
    assert read_login(None, {"MEDSCAN_PACS_LOGIN": str(path)}) == Login("ms", SECRET)
    assert read_login(path, {"MEDSCAN_PACS_USER": "other"}).user == "other"
    assert read_login(None, {"MEDSCAN_PACS_TOKEN": SECRET}) == Login(token=SECRET)
    assert read_login(None, {}) == Login()


def test_a_login_shows_no_secret():
    assert SECRET not in repr(Login("ms", SECRET, SECRET))


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('token = "correct-horse"', 0o640, "others may read it"),
        ("token = correct-horse", 0o600, "is not TOML"),
        ('tokn = "correct-horse"', 0o600, "tokn: choose one of user, password"),
        ('token = ["correct-horse"]', 0o600, "token must be a text"),
        ('token = "correct-horse\\n"', 0o600, "token must be a text"),
        ('password = "correct-horse"', 0o600, "needs both"),
        ('user = "a"\npassword = "correct-horse"\ntoken = "b"', 0o600, "one of them"),
        ('token = "correct-horse"\nca = "nowhere.pem"', 0o600, "there is no file nowhere.pem"),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(tmp_path, text, mode, words):
    with pytest.raises(UsageError, match=words) as raised:
        read_login(written(tmp_path / "login", text, mode), {})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://ms:correct-horse@pacs/dicom-web",
        "https://ms:correct-horse@[pacs/dicom-web",
        "https://pacs/dicom-web?token=correct-horse",
        "ftp://pacs/dicom-web",
        "https:///dicom-web",
        "pacs/dicom-web",
        "https://pacs:port/",
        "https://pacs/dicom web",
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError) as raised:
        web_address(address, Login())
    assert SECRET not in str(raised.value) or "?" in address


def test_credentials_go_over_an_encrypted_network_alone():
    login = Login("ms", SECRET)
    with pytest.raises(UsageError, match="https:// addresses only"):
        web_address("http://pacs/dicom-web", login)
    assert web_address("http://pacs/dicom-web/", Login()).url == "http://pacs/dicom-web"
    assert web_address("http://127.0.0.1:8042/dicom-web", login).host == "127.0.0.1:8042"
    assert web_address("https://pacs:8443/dicom-web", login).host == "pacs:8443"


def test_a_peer_has_title_host_and_port():
    assert peer("ORTHANC@pacs.example:4242") == Peer("ORTHANC", "pacs.example", 4242)
    assert peer("A@[::1]:104").name == "::1"
    for text in ("pacs:104", "A@pacs", "A@pacs:0", "A@pacs:70000", "A B@pacs:1", "A" * 17 + "@p:1"):
        with pytest.raises(UsageError, match="AET@host:port"):
            peer(text)
    with pytest.raises(UsageError, match="1 to 16"):
        own_title("medscan at work!!")
