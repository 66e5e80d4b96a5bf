"""Products that were declared to a dataset, besides those of the package; stored in the properties of a table."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from streaming import contract
from streaming.contract.products.product_file import as_document, product_of
from streaming.errors import MissionControlError

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties

TABLE = contract.ERROR_AGGREGATES
_PROPERTY = "missioncontrol.products"


def stored_products(delta: "DeltaTable | None") -> tuple[contract.Product, ...]:
    """The products that were declared to a dataset, read from its TABLE; empty where that table does not exist.

    A declaration that this version cannot read is ignored.
    """
    text = delta.metadata().configuration.get(_PROPERTY) if delta is not None else None
    return _read(text) if text else ()


@lru_cache(16)
def _read(text: str) -> tuple[contract.Product, ...]:
    try:
        documents = json.loads(text)
    except ValueError:
        return ()
    found = []
    for document in documents if isinstance(documents, list) else []:
        with suppress(MissionControlError, TypeError, AttributeError):
            found.append(product_of(document))
    return tuple(found)


def known_products(delta: "DeltaTable | None") -> contract.Products:
    """The products of the package, and those that were declared to a dataset."""
    return _with_stored(stored_products(delta))


@lru_cache(16)
def _with_stored(stored: tuple[contract.Product, ...]) -> contract.Products:
    return contract.with_declared(stored)


def store_products(
    delta: "DeltaTable",
    declared: Sequence[contract.Product],
    properties: "Callable[[DeltaTable], CommitProperties | None]",
    after: "PostCommitHookProperties | None" = None,
) -> None:
    """Stores declarations in a dataset's TABLE, where they replace stored ones; one commit, none if nothing changes.

    Fails with Delta's CommitFailedError where another writer has committed in the meantime. Raises as `with_declared`.
    """
    stored = stored_products(delta)
    products = tuple(each for each in contract.with_declared(stored, declared) if each not in contract.PRODUCTS)
    if products != stored:
        delta.alter.set_table_properties(
            {_PROPERTY: json.dumps([as_document(product) for product in products])},
            raise_if_not_exists=False,
            commit_properties=properties(delta),
            post_commithook_properties=after,
        )
