"""The contract of a store: what whoever calls it relies on, whichever database is behind it.

A subclass says in `database` where its stores live. Only the Store protocol is used in
the parts, and every store opened on a database is closed before the next one is opened.
"""

from tests.stores.contract_claims import Claiming
from tests.stores.contract_figures import Figuring
from tests.stores.contract_gates import Gating
from tests.stores.contract_life import Living
from tests.stores.contract_lists import Listing
from tests.stores.contract_storing import Storing


class StoreContract(Storing, Claiming, Listing, Living, Gating, Figuring):
    """Run by every store."""
