"""Parts of every page: breadcrumbs, freshness, and messages shown in its place while it is read or fails."""

from datetime import UTC, datetime

from missioncontrol_nb.dashboard import messages
from missioncontrol_nb.dashboard.html.html import link, message, skeleton, tag, text
from missioncontrol_nb.dashboard.query import DEFAULT, Query


def top(query: Query, data_up_to: datetime | None, stale_after_seconds: float) -> str:
    """The top of a page: breadcrumbs, and how fresh the data is."""
    crumbs = _crumbs(query)
    steps = [tag("div", link(href, text(label))) for label, href in crumbs[:-1]]
    last = crumbs[-1][0]
    steps.append(tag("div", tag("h1", text(last), aria_current="page")))
    nav = tag("nav", *steps, css="mc-crumbs", aria_label="Where you are")
    skip = tag("a", "Skip to the content", css="mc-skip", href="#mc-main", data_mc_action="skip")
    # Screen readers do not announce the ticking clock; the page's script writes here when fresh becomes stale, or back.
    news = tag("span", css="mc-hidden mc-fresh-news", role="status")
    return tag("header", skip, nav, freshness(data_up_to, stale_after_seconds), news, css="mc-top")


def _crumbs(query: Query) -> list[tuple[str, str]]:
    """Labels and addresses from the front page to the current page."""
    product = query.product
    home = query.link(view="overview", channel=product.channels[0].name)
    steps = [("Mission Control", DEFAULT.search)] if product is not DEFAULT.product else []
    steps += [("Mission Control" if not steps else product.label, home)]
    steps.append((product.channel(query.channel).label, query.link(view="overview")))
    if query.view != "overview":
        steps.append((messages.platform_label(query), query.link(view="table")))
    if query.view == "detail":
        steps.append((messages.measure_label(query.measure), query.search))
    return steps


def freshness(data_up_to: datetime | None, stale_after_seconds: float, now: datetime | None = None) -> str:
    """The freshness clock as of now; the page's script keeps it ticking, even after the kernel has ended."""
    if data_up_to is None:
        return tag("span", "No data yet", css="mc-fresh mc-stale")
    now = now or datetime.now(UTC)
    is_stale = (now - data_up_to).total_seconds() > stale_after_seconds
    moment = f"{data_up_to:%H:%M:%S}" if data_up_to.date() == now.date() else f"{data_up_to:%Y-%m-%d %H:%M:%S}"
    return tag(
        "span",
        text(f"{'Data stopped at' if is_stale else 'Data up to'} {moment} UTC"),
        css="mc-fresh mc-stale" if is_stale else "mc-fresh",
        data_mc_up_to=int(data_up_to.timestamp() * 1000),
        data_mc_stale_after=int(stale_after_seconds),
    )


def loading(view: str) -> str:
    """A grey placeholder of the same size as the page, shown while its data are read."""
    if view == "overview":
        one = tag(
            "article",
            tag("header", tag("h3", "Reading"), tag("p", "the data set")),
            tag("section", tag("div", skeleton(), css="mc-wide")),
            css="mc-panel mc-card mc-wait",
        )
        return tag("section", one * 4, css="mc-cards", aria_busy="true")
    return tag("div", skeleton((40, 100, 100, 100, 100, 100)), css="mc-panel mc-wait", aria_busy="true")


def still_reading(title: str, sentence: str) -> str:
    """A message that replaces a page whose data take long to read."""
    said = tag("div", message(title, sentence), role="status")  # outside of the busy element, which is not read out
    return tag("div", said, tag("div", skeleton(), aria_busy="true"), css="mc-panel")


NO_RELEASE = (
    "This page fills by itself as soon as pings of a version on the release calendar arrive, or of another one "
    "that has 1 % of the channel's usage in some hour. Which calendar it is says the server's --releases."
)
NO_RELEASE_WITHOUT_CALENDAR = (
    "This page fills by itself as soon as pings of a version arrive that has 1 % of the channel's usage in some hour."
)


def no_release(query: Query) -> str:
    """A message that replaces cards, a table or a chart when no release has any ping there."""
    where = f"the {messages.channel_words(query)} channel"
    if query.view != "overview":
        where += f" for {messages.platform_label(query)}"
    sentence = NO_RELEASE if query.product.calendar else NO_RELEASE_WITHOUT_CALENDAR
    return tag("div", message(f"No version on {where} has sent a ping yet", sentence), css="mc-panel")


def failure(title: str, sentence: str) -> str:
    """A message that replaces a view that could not be drawn."""
    return tag("div", message(title, sentence, error=True), css="mc-panel", role="alert")
