"""The same figures again: what makes each row of the tables, what was found, and whether it is found again."""

from innerloop.reproduction.compare import Compared, compared
from innerloop.reproduction.figures import Figure, figures
from innerloop.reproduction.printed import Printed
from innerloop.reproduction.tables import chosen, read_tables, write_page
from innerloop.reproduction.trained import Row, Trained

__all__ = [
    "Compared",
    "Figure",
    "Printed",
    "Row",
    "Trained",
    "chosen",
    "compared",
    "figures",
    "read_tables",
    "write_page",
]
