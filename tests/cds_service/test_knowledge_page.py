"""The page of a service over HTTP, and Markdown as HTML."""

import re
from html.parser import HTMLParser

import pytest

from cds_service.app import create_app
from cds_service.html_page import html_page
from cds_service.settings import Settings

PAGE = "/knowledge/failed-esi"
ATTRIBUTES = f"{PAGE}/source-attributes.json"


class Outline(HTMLParser):
    """Tags, ids and links of a document."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.ids, self.links = [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name == "href"]


@pytest.fixture(scope="module")
def response(app):
    return app.test_client().get(PAGE)


def test_the_page_is_html_without_scripts(response):
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert not {"script", "iframe", "img", "link", "form"} & set(Outline(response.text).tags)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_has_one_title_and_labelled_tables(response):
    tags = Outline(response.text).tags
    assert tags.count("h1") == tags.count("main") == 1
    assert tags.count("table") >= 12
    assert 'lang="en"' in response.text
    assert "<th>" not in response.text
    assert "| --- |" not in response.text


def test_every_link_within_the_page_leads_somewhere(response):
    outline = Outline(response.text)
    assert len(outline.ids) == len(set(outline.ids))
    within = {link.removeprefix("#") for link in outline.links if link.startswith("#")}
    assert within
    assert within <= set(outline.ids)
    assert all(link.startswith(("#", "https://")) for link in outline.links)


def test_the_page_is_the_same_when_asked_again(client, response):
    assert client.get(PAGE).data == response.data


def test_the_source_attributes_are_json(client):
    response = client.get(ATTRIBUTES)
    body = response.get_json()
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert (body["service"], len(body["attributes"])) == ("failed-esi", 13)


def test_page_and_attributes_are_those_of_the_profile_in_force(client):
    site = create_app(settings=Settings(profile="guideline", log_level="error")).test_client()
    row = re.compile(r"<code>block_relief</code></td>\s*<td[^>]*>(\d+)</td>")
    assert row.search(client.get(PAGE).text)[1] == "80"
    assert row.search(site.get(PAGE).text)[1] == "50"
    assert site.get(ATTRIBUTES).get_json()["profile"] == "guideline"


def test_the_page_shows_the_value_sets_of_the_site(tmp_path):
    (tmp_path / "cpt.toml").write_text('[esi.cpt]\n"99999" = { label = "local", region = "lumbar-sacral" }\n')
    site = create_app(settings=Settings(value_sets=tmp_path, log_level="error")).test_client()
    assert ">cpt: 1, icd-10-pcs: 1</td>" in site.get(PAGE).text


@pytest.mark.parametrize(
    "path", ["/knowledge/other", "/knowledge/other/source-attributes.json", "/knowledge", f"{PAGE}/"]
)
def test_an_unknown_service_is_an_operation_outcome(client, path):
    response = client.get(path)
    body = response.get_json()
    assert (response.status_code, body["resourceType"], body["issue"][0]["code"]) == (
        404,
        "OperationOutcome",
        "not-found",
    )


def test_html_in_the_text_is_shown_and_not_obeyed():
    document = html_page("a < b", "<script>x</script>\n\n[x](javascript:x) [y](data:text/html,z)")
    assert "<title>a &lt; b</title>" in document
    assert "script" not in Outline(document).tags
    assert Outline(document).links == []


def test_a_link_to_a_file_keeps_its_text_only():
    document = html_page("t", "[**the file**](pathway.toml), [a place](#there), [a site](https://example.org)")
    assert "<p><strong>the file</strong>, <a" in document
    assert Outline(document).links == ["#there", "https://example.org"]


def test_a_table_is_named_by_its_heading():
    document = html_page("t", "## Two words\n\n| a |\n|---|\n| b |\n")
    assert '<h2 id="two-words">' in document
    assert '<table aria-labelledby="two-words">' in document
    assert '<th scope="col">a</th>' in document


def test_a_cell_knows_its_column_for_narrow_screens():
    document = html_page("t", '| a | "b" |\n|---|---|\n| 1 | 2 |\n| 3 |\n')
    assert '<td data-column="a">1</td>\n<td data-column="&quot;b&quot;">2</td>' in document
    assert '<td data-column="a">3</td>\n<td data-column="&quot;b&quot;"></td>' in document
