"""The products that every dataset knows. To add one, write a file like `firefox.py`, and list it in PRODUCTS.

A product can also be declared in a TOML file, without changing the package: see `product_file`.
"""

from collections.abc import Iterable, Sequence

from streaming.contract.products.firefox import FIREFOX
from streaming.contract.products.mobile import FENIX, FIREFOX_IOS
from streaming.contract.products.product import (
    NOT_CARRIED,
    BuildRules,
    Channel,
    Platform,
    Product,
    Products,
)
from streaming.contract.products.thunderbird import THUNDERBIRD
from streaming.errors import MissionControlError

PRODUCTS = (FIREFOX, FENIX, FIREFOX_IOS, THUNDERBIRD)
PACKAGED_PRODUCTS = Products(PRODUCTS)


def with_declared(stored: Iterable[Product], declared: Sequence[Product] = ()) -> Products:
    """The products of the package, those that a dataset has stored, and those that a user declares.

    A declared product replaces a stored one that it collides with, and both replace one of the package other than
    Firefox. Raises MissionControlError where a declared product takes the name or the pings of Firefox, or of another
    declared one; stored products that do are left out.
    """
    known = [FIREFOX]
    for product in declared:
        if other := next((each for each in known if _collide(each, product)), None):
            raise MissionControlError(
                f"the product {product.name!r} has the name, the word in URLs ({product.word}) or an application "
                f"of the product {other.name!r}: give it others"
            )
        known.append(product)
    kept = [each for each in stored if not any(_collide(each, other) for other in known)]
    own = [*kept, *declared]
    return Products((*(each for each in PRODUCTS if not any(_collide(each, other) for other in own)), *own))


def _collide(one: Product, other: Product) -> bool:
    return one.name == other.name or one.word == other.word or not set(one.applications).isdisjoint(other.applications)


__all__ = [
    "FIREFOX",
    "NOT_CARRIED",
    "PACKAGED_PRODUCTS",
    "PRODUCTS",
    "BuildRules",
    "Channel",
    "Platform",
    "Product",
    "Products",
    "with_declared",
]
