"""Who gets a page: places in all, for each client, and for those whose browser never comes."""

from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from missioncontrol_nb.dashboard.server.admission import Place, Places, TooManyPagesError
from missioncontrol_nb.dashboard.server.connection_limits import PlainErrors, client_of, is_navigation, visitor_of
from missioncontrol_nb.dashboard.server.settings import kernel_environment
from missioncontrol_nb.dashboard.server.websocket import is_widget_message


class World:
    """Places, and the kernels that live."""

    def __init__(self, most: int, most_each: int) -> None:
        self.now, self.kernels = 100.0, set()
        self.places = Places(most, most_each, unreached_seconds=25.0, now=lambda: self.now)

    def open(self, client: str | None, kernel_id: str, *, reached: bool = False) -> str | None:
        """Opens a page; the kernel that had to give way."""
        place, ending = self.places.take(client, self.kernels)
        self.kernels.discard(ending)
        place.kernel_id = kernel_id
        self.kernels.add(kernel_id)
        self.places.hand_out(place)
        if reached:
            self.places.note_reached(kernel_id)
        return ending


def test_place_is_taken_before_its_page_is_made() -> None:
    places = Places(2, 2, 25.0)
    assert [places.take("a", ())[0].client for _ in range(2)] == ["a", "a"]
    with pytest.raises(TooManyPagesError, match="try again later"):
        Places.take(places, None, ())


def test_place_of_a_page_that_could_not_be_made_is_free() -> None:
    places = Places(1, 1, 25.0)
    place, _ = places.take("a", ())
    places.hand_out(place)
    assert isinstance(places.take("a", ())[0], Place)


def test_place_is_free_when_the_kernel_has_ended() -> None:
    world = World(1, 1)
    world.open("a", "k1", reached=True)
    world.kernels.clear()
    assert world.open("b", "k2") is None


def test_one_client_has_its_share() -> None:
    world = World(4, 2)
    world.open("a", "k1", reached=True)
    world.open("a", "k2", reached=True)
    with pytest.raises(TooManyPagesError, match="at your address"):
        world.open("a", "k3")
    assert world.open("b", "k4") is None


def test_clients_that_are_not_known_share_all_places() -> None:
    world = World(4, 2)
    assert [world.open(None, f"k{number}") for number in range(4)] == [None] * 4


def test_page_that_nobody_came_for_gives_way_to_another_client() -> None:
    world = World(2, 2)
    world.open("a", "k1")
    world.open("a", "k2")
    assert world.open("b", "k3") == "k1"
    with pytest.raises(TooManyPagesError):
        world.open("c", "k4")  # a and b have no more than c would


def test_page_that_somebody_looks_at_gives_way_to_nobody() -> None:
    world = World(2, 2)
    world.open("a", "k1", reached=True)
    world.open("a", "k2", reached=True)
    with pytest.raises(TooManyPagesError):
        world.open("b", "k3")


def test_page_is_unreached_after_its_time() -> None:
    world = World(3, 3)
    world.open("a", "k1", reached=True)
    world.open("a", "k2")
    world.places.take("a", world.kernels)  # still being made
    world.now += 24
    assert world.places.unreached() == []
    world.now += 2
    assert world.places.unreached() == ["k2"]


def test_page_whose_browser_asks_whether_it_lives_is_waited_for_five_minutes() -> None:
    world = World(3, 3)
    world.open("a", "k1")
    world.open("a", "k2")
    for _ in range(14):
        world.now += 20
        world.places.note_waiting("k1")
        assert "k1" not in world.places.unreached()
    assert world.places.unreached() == ["k2"]
    for _ in range(3):
        world.now += 20
        world.places.note_waiting("k1")
    assert world.places.unreached() == ["k1", "k2"]


def test_page_that_is_turned_away_is_asked_for_anew() -> None:
    handler = type("Handler", (PlainErrors, Mock), {})()
    handler._reason = "Too many pages are open"
    handler.write_error(503)
    handler.set_header.assert_called_with("Retry-After", "30")
    assert '<meta http-equiv="refresh" content="30">' in handler.finish.call_args.args[0]
    handler.write_error(404)
    assert "refresh" not in handler.finish.call_args.args[0]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("10.0.0.7", "10.0.0.7"),
        (" 10.0.0.7 ", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("::1", "::1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", None),
        ("unknown", None),
        ("10.0.0.7:80", None),
    ],
)
def test_client_is_an_address_or_its_network(address: str, client: str | None) -> None:
    assert client_of(address) == client


def request(**headers: str) -> HTTPServerRequest:
    given = HTTPHeaders({"Host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()})
    made = HTTPServerRequest(headers=given, connection=Mock(), start_line=RequestStartLine("GET", "/", "HTTP/1.1"))
    made.remote_ip = "10.0.0.1"
    return made


def test_visitor_is_who_the_proxy_says_and_nobody_else() -> None:
    forged = request(X_Forwarded_For="1.2.3.4, 10.9.9.9")
    assert visitor_of(forged, is_behind_proxy=False) == "10.0.0.1"
    assert visitor_of(forged, is_behind_proxy=True) == "10.9.9.9"
    assert visitor_of(request(), is_behind_proxy=True) is None


def test_page_is_for_whoever_looks_at_it() -> None:
    assert is_navigation(request())
    assert is_navigation(request(Accept="text/html,*/*;q=0.8", Sec_Fetch_Dest="document", Sec_Fetch_Site="none"))
    assert is_navigation(request(Sec_Fetch_Dest="empty", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors"))
    assert not is_navigation(request(Sec_Fetch_Dest="iframe", Sec_Fetch_Site="same-origin"))
    assert not is_navigation(request(Accept="image/png,*/*"))


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        ({"method": "update", "state": {"value": "x"}}, True),
        ({"method": "update", "state": {"search": "?", "viewport": 1, "opened": 2.0}}, True),
        ({"method": "update", "state": {"index": 1, "children": []}}, False),
        ({"method": "update", "state": {"value": 1}, "buffer_paths": [["value"]]}, False),
        ({"method": "update"}, False),
        ({"method": "custom", "content": {"action": "csv"}}, True),
        ({"method": "custom", "content": {"want": "bundle"}}, False),
        ({"method": "request_state"}, True),
        ({"method": "echo_update", "state": {}}, False),
        ([], False),
        (None, False),
    ],
)
def test_widgets_send_what_their_controls_change(data: object, is_one: bool) -> None:
    assert is_widget_message(data) is is_one


def test_kernel_gets_the_part_of_the_environment_that_it_needs() -> None:
    needed = {"PATH": "/bin", "HOME": "/h", "LANG": "C", "LC_ALL": "C", "PYTHONPATH": "/p", "AWS_PROFILE": "x"}
    needed |= {"MISSIONCONTROL_DATASET": "d", "VOILA_PREHEAT": "True", "JPY_PARENT_PID": "1", "https_proxy": "http://p"}
    others = {"KAFKA_PASSWORD": "x", "GITHUB_TOKEN": "x", "DATABASE_URL": "x", "PATHS": "x"}
    assert kernel_environment(needed | others) == needed
