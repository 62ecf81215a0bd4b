"""The contact sheet: every picture in its place, no label over a picture or off the paper."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sampling import Appearance, contact_sheet
from sampling.sheet import wrapped

LOOK = Appearance()
RED, BLUE = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("RGB", (64, 64), (0, 0, 255))


def places(sheet, colour):
    """(left, top, right, bottom) of all pixels of one colour."""
    ys, xs = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def ink(sheet):
    """Where the sheet is neither paper nor one of the two pictures."""
    pixels = np.asarray(sheet).astype(int)
    plain = [(pixels == colour).all(axis=2) for colour in (LOOK.paper, (255, 0, 0), (0, 0, 255), LOOK.rule)]
    return ~np.logical_or.reduce(plain)


def test_pictures_stand_in_rows_and_columns_at_the_asked_size():
    sheet = contact_sheet([("a", [RED, BLUE]), ("b", [BLUE, BLUE])], ["1", "2"])
    left, top, right, bottom = places(sheet, (255, 0, 0))
    assert (right - left, bottom - top) == (LOOK.picture, LOOK.picture)
    pitch = LOOK.picture + LOOK.gap
    assert places(sheet, (0, 0, 255)) == (left, top, left + pitch + LOOK.picture, top + pitch + LOOK.picture)
    assert sheet.size == (left + pitch + LOOK.picture + LOOK.margin, top + pitch + LOOK.picture + LOOK.margin)


@pytest.mark.parametrize("change", [{"picture": 96}, {"gap": 20}, {"margin": 60}, {"title_size": 40}, {"note_size": 30},
                                    {"label_size": 24}, {"widest_label": 60}, {"paper": (0, 9, 0)}, {"ink": (9, 0, 0)},
                                    {"faint_ink": (9, 9, 0)}, {"rule": (9, 9, 9)}], ids=str)  # fmt: skip
def test_every_part_of_the_appearance_changes_the_sheet(change):
    def drawn(look):
        return contact_sheet(
            [("a row\nof pictures", [RED, BLUE])], ["one", "two"], "A title", note="n", appearance=look
        )

    plain, changed = drawn(LOOK), drawn(replace(LOOK, **change))
    assert plain.size != changed.size or plain.tobytes() != changed.tobytes()


def test_a_picture_keeps_its_shape():
    sheet = contact_sheet([("", [Image.new("RGB", (64, 32), (255, 0, 0))])])
    left, top, right, bottom = places(sheet, (255, 0, 0))
    assert (right - left, bottom - top) == (LOOK.picture, LOOK.picture // 2)


def test_enlarging_is_smooth():
    halves = Image.new("RGB", (64, 64), (0, 0, 0))
    halves.paste((200, 200, 200), (32, 0, 64, 64))
    row = np.asarray(contact_sheet([("", [halves])]))[LOOK.margin + 50, :, 0]
    assert any(20 < value < 180 for value in row[LOOK.margin : LOOK.margin + LOOK.picture])


def test_labels_never_touch_a_picture_or_the_edge():
    long = "an extremely longwinded label_without_any_place_to_break_it_whatsoever_and_more \n with a second part"
    rows = [(long, [RED, BLUE]), ("short", [BLUE, RED])]
    sheet = contact_sheet(rows, [long, long], "A title that is wider than all of the pictures " * 3, note="a note")
    written = ink(sheet)
    assert written.any()
    edge = LOOK.margin - 2
    inside = np.zeros_like(written)
    inside[edge : written.shape[0] - edge, edge : written.shape[1] - edge] = True
    assert not (written & ~inside).any()
    for colour in ((255, 0, 0), (0, 0, 255)):
        pixels = (np.asarray(sheet) == colour).all(axis=2).sum()
        assert pixels == 2 * LOOK.picture**2


def test_each_label_and_title_is_drawn_where_it_belongs():
    plain = contact_sheet([("", [RED])])
    labelled = contact_sheet([("row", [RED])], ["col"], "Title", note="note")
    assert not ink(plain).any()
    left, top, right, _ = places(labelled, (255, 0, 0))
    written = ink(labelled)
    assert written[top : top + LOOK.picture, :left].any()
    assert written[:top, left:right].any()
    assert written[LOOK.margin : LOOK.margin + LOOK.title_size + 6, :left].any()


def test_a_sheet_is_a_function_of_its_input():
    def drawn():
        return contact_sheet([("a", [RED, BLUE])], ["1", "2"], "Title")

    before = RED.tobytes()
    assert drawn().tobytes() == drawn().tobytes()
    assert RED.tobytes() == before


def test_labels_break_at_spaces_and_mark_their_second_part():
    assert wrapped("", 100, 14) == []
    assert wrapped("one\ntwo", 100, 14) == [("one", False), ("two", True)]
    lines = wrapped("a small purple triangle", 80, 14)
    assert len(lines) > 1
    assert " ".join(line for line, _ in lines) == "a small purple triangle"
    assert wrapped("unbreakable" * 5, 60, 14)[0][0].endswith("…")


def test_rows_may_be_shorter_than_the_columns_but_not_longer():
    contact_sheet([("a", [RED])], ["1", "2"])
    contact_sheet([("a", [RED]), ("b", [RED, BLUE])])
    with pytest.raises(ValueError, match="row 'a' has more pictures than the 1 columns"):
        contact_sheet([("a", [RED, RED])], ["1"])
    for rows in ([], [("a", [])]):
        with pytest.raises(ValueError, match="at least one row with a picture"):
            contact_sheet(rows, ["1"])


def test_a_legend_stands_below_the_pictures_within_the_paper_and_moves_nothing():
    rows = [("a", [RED, BLUE])]
    plain, told = contact_sheet(rows), contact_sheet(rows, legend=["Recipe: papercut + lcm", "Seed: 7"])
    assert places(told, (255, 0, 0)) == places(plain, (255, 0, 0))
    assert told.height > plain.height
    bottom = places(plain, (255, 0, 0))[3]
    rows_with_ink = np.nonzero(ink(told)[bottom + 2 :].any(axis=1))[0]
    assert rows_with_ink.size
    assert rows_with_ink.max() < told.height - bottom - 2 - LOOK.margin // 4
    assert not np.array_equal(np.asarray(told), np.asarray(contact_sheet(rows, legend=["Recipe: other", "Seed: 7"])))


def test_a_long_legend_is_broken_to_the_width_of_the_sheet():
    text = "a prompt of very many words " * 12
    short, long = (contact_sheet([("a", [RED])], legend=[words]) for words in ("short", text))
    assert (long.width, long.height > short.height) == (short.width, True)
    assert short.width >= LOOK.narrowest_legend
    narrow = contact_sheet([("a", [RED])], legend=[text], appearance=replace(LOOK, narrowest_legend=200))
    assert (narrow.width < long.width, narrow.height > long.height) == (True, True)
