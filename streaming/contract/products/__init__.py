"""The products that every dataset knows. To add one, write a file like `firefox.py`, and list it in PRODUCTS.

A product can also be declared in a TOML file, without changing the package: see `product_file`.
"""

from streaming.contract.products.firefox import FIREFOX
from streaming.contract.products.product import (
    NOT_CARRIED,
    BuildRules,
    Channel,
    Platform,
    Product,
    Products,
)

PRODUCTS = (FIREFOX,)
PACKAGED_PRODUCTS = Products(PRODUCTS)

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
]
