"""How annotations are checked while the tests run: shapes by jaxtyping, types by beartype."""

from beartype import BeartypeConf, beartype

# PEP 484: where a float is asked, an int is welcome
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
