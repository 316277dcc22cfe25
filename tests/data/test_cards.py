"""Cards of public sets: complete, honest about what was recalled, and never about how to download."""

import re
import tomllib
from dataclasses import fields

import pytest

from faceloss.data import cards
from faceloss.data.cards import STATUSES, Card, load_card, names
from faceloss.errors import BadInput

NAMED = {"lfw", "calfw", "cplfw", "agedb-30", "cfp-fp", "sllfw", "rfw", "ijb-b", "ijb-c", "megaface", "celeba"}
NAMED |= {"casia-webface", "ms1mv2", "ms1mv3", "ms-celeb-1m", "glint360k", "vggface2", "digiface-1m"}
NAMED |= {"webface260m", "webface42m", "webface4m"}


def test_every_set_of_the_field_has_a_card():
    assert set(names()) >= NAMED


@pytest.mark.parametrize("name", names())
def test_a_card_is_complete_and_offers_no_download(name):
    card = load_card(name)
    assert card.use in ("train", "test")
    assert card.status in STATUSES
    assert len(card.what) > 20
    assert card.what.endswith(".")
    assert card.license
    assert card.files
    assert card.sources
    assert all("faceloss" in command for command in card.how)
    assert card.how
    for count in (card.identities, card.images):
        assert count is None or count >= 100
    assert set(card.recalled) <= {field.name for field in fields(Card)} - {"name", "recalled"}
    text = (cards._FOLDER / f"{name}.toml").read_text()
    assert not re.search(r"https?://|magnet:|drive\.google|pan\.baidu", text)
    if card.status == "withdrawn":
        assert "no owner's page" in card.get


def test_names_are_found_however_they_are_written():
    assert load_card("AgeDB_30").name == "agedb-30"
    assert load_card("ms celeb 1m").status == "withdrawn"
    with pytest.raises(BadInput, match="no set of faces named 'vggface'; did you mean 'vggface2'"):
        load_card("vggface")
    with pytest.raises(BadInput, match="no set of faces"):
        load_card("../cards/lfw")


def test_a_field_without_a_place_in_the_card_is_found():
    assert tomllib.loads((cards._FOLDER / "lfw.toml").read_text()).keys() <= {field.name for field in fields(Card)}
    with pytest.raises(TypeError):
        Card(name="x", wrong=1)
