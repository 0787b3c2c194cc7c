"""One file over HTTP: whole or not at all, resumed where it broke off, never a mixture of two versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.weights import ranged
from harness.weights.ranged import FIRST_TRIES, TRIES, Address, Unreachable
from tests.weights.site import PAGE, Site

BODY = bytes(range(256)) * 4000
PATH = "/folder/weights.bin"


@pytest.fixture
def address(site: Site) -> Address:
    return Address(site.url + PATH, "the weights")


def left(target: Path) -> list[str]:
    """Names of what lies in the folder."""
    return sorted(path.name for path in target.parent.iterdir())


def broken_off(site: Site, address: Address, target: Path, count: int) -> None:
    """An earlier command that got `count` bytes."""
    site.files[PATH].breaks = [count, *[0] * TRIES]
    with pytest.raises(Unreachable, match=r"the connection broke.* What came is kept, and the same command goes on"):
        address.download(target)
    site.files[PATH].breaks = []
    site.asked.clear()
    assert target.with_name("w.part").stat().st_size == count


def test_a_whole_file_in_one_request(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    target = tmp_path / "new" / "w"
    address.download(target, len(BODY))
    assert target.read_bytes() == BODY
    assert left(target) == ["w"]
    assert len(site.gets(PATH)) == 1
    assert "Range" not in site.gets(PATH)[0]


def test_a_broken_connection_is_resumed_by_itself(site: Site, address: Address, tmp_path: Path) -> None:
    served = site.add(PATH, BODY, breaks=[300_000, 200_000])
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert [asked.get("Range") for asked in site.gets(PATH)] == [None, "bytes=300000-", "bytes=500000-"]
    assert {asked["If-Range"] for asked in site.gets(PATH)[1:]} == {served.marks["ETag"]}


def test_the_next_command_goes_on(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    broken_off(site, address, tmp_path / "w", 400_000)
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert [asked["Range"] for asked in site.gets(PATH)] == ["bytes=400000-"]
    assert left(tmp_path / "w") == ["w"]


def test_a_file_that_changed_in_between_is_fetched_anew(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    broken_off(site, address, tmp_path / "w", 400_000)
    site.add(PATH, BODY[::-1])
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY[::-1]


def test_a_date_marks_a_version_too_and_a_weak_etag_does_not(site: Site, address: Address, tmp_path: Path) -> None:
    marks = {"ETag": 'W/"1"', "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
    site.add(PATH, BODY, validators=marks)
    broken_off(site, address, tmp_path / "w", 400_000)
    address.download(tmp_path / "w")
    assert site.gets(PATH)[0]["If-Range"] == marks["Last-Modified"]
    assert (tmp_path / "w").read_bytes() == BODY


@pytest.mark.parametrize("has_digest", [False, True])
def test_without_a_mark_only_a_known_sha256_lets_it_go_on(
    site: Site, address: Address, tmp_path: Path, has_digest: bool
) -> None:
    site.add(PATH, BODY, validators={}, breaks=[400_000])
    address.download(tmp_path / "w", has_digest=has_digest)
    assert (tmp_path / "w").read_bytes() == BODY
    assert site.gets(PATH)[1].get("Range") == ("bytes=400000-" if has_digest else None)


def test_a_server_that_gives_no_parts_starts_again(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY, ranges=False, breaks=[400_000])
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY


def test_a_server_that_gives_another_part_than_asked_for(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    broken_off(site, address, tmp_path / "w", 400_000)
    site.files[PATH].wrong_part = True
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert [asked.get("Range") for asked in site.gets(PATH)] == ["bytes=400000-", None]


def test_a_file_that_became_shorter_than_what_came(site: Site, address: Address, tmp_path: Path) -> None:
    marks = {"ETag": '"always the same"'}
    site.add(PATH, BODY, validators=marks)
    broken_off(site, address, tmp_path / "w", 400_000)
    site.add(PATH, BODY[:1000], validators=marks)
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY[:1000]


def test_what_came_whole_before_a_kill_needs_no_request(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    broken_off(site, address, tmp_path / "w", 400_000)
    with open(tmp_path / "w.part", "ab") as file:
        file.write(BODY[400_000:])
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert site.asked == []


def test_it_gives_up_after_a_few_breaks_and_says_what_is_kept(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY, breaks=[1000] * 50)
    with pytest.raises(Unreachable, match=r"the weights cannot be fetched: .* goes on from there") as caught:
        address.download(tmp_path / "w")
    assert "\n" not in str(caught.value)
    assert len(site.gets(PATH)) == TRIES
    assert left(tmp_path / "w") == ["w.part", "w.part.json"]


def test_a_long_transfer_may_break_often(
    site: Site, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks with something new between them are not counted together."""
    monkeypatch.setattr(ranged, "STEP", 50_000)
    site.add(PATH, BODY, breaks=[50_000] * 15)
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert len(site.gets(PATH)) == 16


def test_nothing_answers(tmp_path: Path, site: Site) -> None:
    address = Address("http://127.0.0.1:1/w", "the weights")
    with pytest.raises(Unreachable, match=r"^the weights cannot be fetched: no connection, or it broke\.$"):
        address.download(tmp_path / "w")
    assert left(tmp_path / "w") == []


@pytest.mark.parametrize(("status", "tries"), [(503, FIRST_TRIES), (429, FIRST_TRIES), (404, 1), (403, 1)])
def test_only_what_may_pass_is_tried_again(
    site: Site, address: Address, tmp_path: Path, status: int, tries: int
) -> None:
    site.add(PATH, b"no", status=status)
    with pytest.raises(Unreachable, match=f"the weights cannot be fetched: .*{status}"):
        address.download(tmp_path / "w")
    assert len(site.gets(PATH)) == tries


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "401, it wants a login. Set a token.$"),
        (403, "403, access is refused. Set a token.$"),
        (404, "404, there is no such file. Set a token.$"),
        (407, "407, a proxy wants a name and a password, as HTTPS_PROXY="),
        (410, "410, it was taken away.$"),
        (418, "418, "),
        (511, "511, this network wants a log-in, in a browser, first.$"),
    ],
)
def test_what_a_status_means(site: Site, tmp_path: Path, status: int, message: str) -> None:
    site.add(PATH, b"no", status=status)
    with pytest.raises(Unreachable, match=message):
        Address(site.url + PATH, "the weights", hint="Set a token.").download(tmp_path / "w")


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", None])
def test_a_log_in_page_is_no_file(site: Site, address: Address, tmp_path: Path, content_type: str | None) -> None:
    site.add(PATH, b"\n " + PAGE, headers={"Content-Type": content_type})
    with pytest.raises(Unreachable, match=r"gave a web page instead of the file\. A proxy, or the log-in page"):
        address.download(tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_log_in_page_does_not_cost_what_came_before(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    broken_off(site, address, tmp_path / "w", 400_000)
    site.add(PATH, PAGE, headers={"Content-Type": "text/html"})
    with pytest.raises(Unreachable, match="web page"):
        address.download(tmp_path / "w")
    site.add(PATH, BODY)
    address.download(tmp_path / "w")
    assert [asked.get("Range") for asked in site.gets(PATH)] == ["bytes=400000-"] * 2


def test_a_size_that_is_not_the_expected_one(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    with pytest.raises(Unreachable, match=f"the weights has {len(BODY)} bytes, and 12 are expected"):
        address.download(tmp_path / "w", 12)
    assert not (tmp_path / "w").exists()


def test_a_server_that_announces_no_length(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY, headers={"Content-Length": None})
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY


def test_an_answer_that_ends_early_without_an_error(
    site: Site, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older libraries take a closed connection."""
    import requests

    site.add(PATH, BODY)
    chunks = requests.Response.iter_content
    first = [True]

    def half(self: requests.Response, size: int) -> Iterator[bytes]:
        for i, chunk in enumerate(chunks(self, size)):
            if first and i == 300:
                first.clear()
                return
            yield chunk

    monkeypatch.setattr(requests.Response, "iter_content", half)
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert len(site.gets(PATH)) == 2


def test_a_redirect_takes_no_token_to_another_host(site: Site, tmp_path: Path) -> None:
    port = site.url.rpartition(":")[2]
    site.add("/start", b"", status=302, headers={"Location": f"http://localhost:{port}{PATH}?X-Signature=secret"})
    site.add(PATH, BODY)
    Address(f"{site.url}/start", "the weights", {"Authorization": "Bearer hf_secret"}).download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY
    assert site.gets("/start")[0]["Authorization"] == "Bearer hf_secret"
    assert "Authorization" not in site.gets(PATH)[0]


def test_no_message_has_a_secret(site: Site, tmp_path: Path) -> None:
    site.add("/start", b"", status=302, headers={"Location": f"{site.url}/gone?X-Signature=secret"})
    with pytest.raises(Unreachable) as caught:
        Address(f"{site.url}/start?token=secret", "the weights").download(tmp_path / "w")
    assert "secret" not in str(caught.value)


def test_a_proxy_that_does_not_answer(
    site: Site, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")
    with pytest.raises(Unreachable, match="the proxy refuses or does not answer: see HTTPS_PROXY") as caught:
        address.download(tmp_path / "w")
    assert "secret" not in str(caught.value)


def test_an_unknown_certificate(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy signs with a CA of its own."""
    import requests

    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.SSLError("certificate verify failed: self-signed certificate in chain")

    monkeypatch.setattr(requests.Session, "get", refuse)
    with pytest.raises(Unreachable, match=r"its certificate is not trusted.*REQUESTS_CA_BUNDLE=FILE"):
        Address("https://example.org/w", "the weights").download(tmp_path / "w")


def test_a_folder_that_cannot_be_written(site: Site, address: Address, tmp_path: Path) -> None:
    site.add(PATH, BODY)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write into .*file.*TDBENCH_CACHE=FOLDER"):
        address.download(tmp_path / "file" / "w")


def test_ctrl_c_keeps_what_came(site: Site, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add(PATH, BODY * 4)

    class Bar:
        n = total = 0

        def update(self, count: int) -> None:
            self.n += count
            if self.n:
                raise KeyboardInterrupt

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(ranged, "_bar", lambda _: Bar())
        with pytest.raises(KeyboardInterrupt):
            address.download(tmp_path / "w")
    came = (tmp_path / "w.part").stat().st_size
    assert 0 < came < len(BODY) * 4
    address.download(tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == BODY * 4
    assert site.gets(PATH)[1]["Range"] == f"bytes={came}-"


def test_the_size_beforehand(site: Site, address: Address) -> None:
    assert address.size() is None
    site.add(PATH, BODY)
    assert address.size() == len(BODY)
    site.add(PATH, PAGE, headers={"Content-Type": "text/html"})
    assert address.size() is None
    assert Address("http://127.0.0.1:1/w", "w").size() is None
    assert site.gets(PATH) == []
